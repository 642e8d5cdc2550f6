//! Finding a carried program, unpacking it on first use.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use crate::append::Hashing;
use crate::format::{Program, Table};
use crate::{PayloadError, format};

/// Permissions of an unpacked program, those of any installed one.
const PROGRAM_MODE: u32 = 0o755;
/// This process's own file, also when it has been replaced on disk since.
const OWN_FILE: &str = "/proc/self/exe";

/// The path of `program`, ready to be executed.
///
/// If the file of this process carries programs, this is
/// `<state_dir>/programs/<sha256>/<program>`: unpacked on first use, verified by
/// its digest while it is unpacked, owned by the effective user and writable by
/// nobody else. Concurrent callers unpack it once. Later calls check owner,
/// permissions and size only (some ten microseconds).
///
/// If it carries nothing, as after `cargo build`, it is the file of that name in
/// the folder of this process's own file.
///
/// # Errors
/// Fails when the program is found in neither place, when the carrying file is
/// damaged, and when the state directory cannot be written or is writable by
/// others.
pub fn locate(state_dir: &Path, program: &str) -> Result<PathBuf, PayloadError> {
    locate_in(Path::new(OWN_FILE), state_dir, program)
}

fn locate_in(own_file: &Path, state_dir: &Path, program: &str) -> Result<PathBuf, PayloadError> {
    if !format::is_name(program) {
        return Err(PayloadError::Name(program.to_owned()));
    }
    let file = fs::File::open(own_file)?;
    let Some(table) = Table::read(file.file(), own_file)? else {
        return sibling(own_file, program);
    };
    let entry = table.programs.iter().find(|entry| entry.name == program).ok_or_else(|| {
        PayloadError::NotCarried { path: real_path(own_file), program: program.to_owned() }
    })?;
    unpacked(file.file(), own_file, state_dir, entry)
}

fn sibling(own_file: &Path, program: &str) -> Result<PathBuf, PayloadError> {
    let own_file = real_path(own_file);
    let path = own_file.with_file_name(program);
    if path.is_file() {
        return Ok(path);
    }
    Err(PayloadError::NotFound { path: own_file, program: program.to_owned() })
}

/// What `own_file` stands for if it is a link such as `/proc/self/exe`.
fn real_path(own_file: &Path) -> PathBuf {
    fs::read_link(own_file).unwrap_or_else(|_| own_file.to_path_buf())
}

fn unpacked(
    carrier: &File,
    carrier_path: &Path,
    state_dir: &Path,
    entry: &Program,
) -> Result<PathBuf, PayloadError> {
    let folders = [
        state_dir.to_path_buf(),
        state_dir.join("programs"),
        state_dir.join("programs").join(&entry.sha256),
    ];
    let [_, _, folder] = &folders;
    let path = folder.join(&entry.name);
    if is_ready(&path, entry)? {
        folders.iter().try_for_each(|folder| check_folder(folder))?;
        return Ok(path);
    }
    create_folders(folder)?;
    folders.iter().try_for_each(|folder| check_folder(folder))?;

    // Released by the kernel however this process ends.
    let lock = fs::File::open(folder)?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from)?;
    if is_ready(&path, entry)? {
        return Ok(path);
    }
    let partial = folder.join(format!("{}.partial", entry.name));
    match unpack(carrier, carrier_path, entry, &partial) {
        Ok(()) => {
            fs::rename(&partial, &path)?;
            lock.sync_all()?;
            Ok(path)
        }
        Err(error) => {
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

/// Like `create_dir_all`, but never group-writable, whatever the umask is.
fn create_folders(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot create folder {}: {error}", folder.display()))
    })
}

/// Whether `path` is what [`unpack`] leaves.
fn is_ready(path: &Path, entry: &Program) -> Result<bool, PayloadError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    Ok(metadata.is_file()
        && metadata.uid() == effective_user()
        && metadata.mode() & 0o7777 == PROGRAM_MODE
        && metadata.size() == entry.length)
}

fn check_folder(path: &Path) -> Result<(), PayloadError> {
    let metadata = fs::symlink_metadata(path)?;
    let safe =
        metadata.is_dir() && metadata.uid() == effective_user() && metadata.mode() & 0o022 == 0;
    if safe {
        return Ok(());
    }
    Err(PayloadError::UnsafeFolder { path: path.to_path_buf(), expected: effective_user() })
}

fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn unpack(
    carrier: &File,
    carrier_path: &Path,
    entry: &Program,
    partial: &Path,
) -> Result<(), PayloadError> {
    // What a killed predecessor left; it held the lock we hold now.
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial)?;
    let mut carrier = carrier;
    carrier.seek(SeekFrom::Start(entry.offset))?;
    let mut hashing =
        Hashing { out: io::BufWriter::with_capacity(1 << 20, &file), hasher: Sha256::new() };
    io::copy(&mut carrier.take(entry.length), &mut hashing)?;
    let Hashing { out, hasher } = hashing;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if hex::encode(hasher.finalize()) != entry.sha256 {
        return Err(PayloadError::Damaged {
            path: real_path(carrier_path),
            problem: "the digest of a carried program does not match",
        });
    }
    file.set_permissions(std::fs::Permissions::from_mode(PROGRAM_MODE))?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests;
