//! Making a file that carries programs.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use sha2::{Digest as _, Sha256};

use crate::PayloadError;
use crate::format::{Program, Table, is_name};

/// Writes `base` followed by `programs` (name, file) to `out`, with the
/// permissions of `base`. What `base` itself already carries is left out.
///
/// `out` is replaced in one step and may be the same file as `base`.
///
/// # Errors
/// Fails when a name is not made of letters, digits, `-` and `_` or occurs
/// twice, and when a file cannot be read or written; `out` is then unchanged.
pub fn append(base: &Path, programs: &[(&str, &Path)], out: &Path) -> Result<(), PayloadError> {
    let mut names = BTreeSet::new();
    for (name, _) in programs {
        if !is_name(name) || !names.insert(name) {
            return Err(PayloadError::Name((*name).to_owned()));
        }
    }
    let base_file = fs::File::open(base)?;
    let own_length = own_length(base_file.file(), base)?;

    let partial = partial_name(out);
    let result = write(&base_file, own_length, programs, &partial)
        .and_then(|()| Ok(fs::rename(&partial, out)?));
    if result.is_err() {
        let _ = fs::remove_file(&partial);
    }
    result
}

/// How many bytes of `base` are not carried programs.
fn own_length(base: &std::fs::File, path: &Path) -> Result<u64, PayloadError> {
    let carried = Table::read(base, path)?.unwrap_or_default();
    let first = carried.programs.iter().map(|program| program.offset).min();
    Ok(first.map_or_else(|| base.metadata().map(|metadata| metadata.len()), Ok)?)
}

fn partial_name(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    out.with_file_name(name)
}

fn write(
    base: &fs::File,
    own_length: u64,
    programs: &[(&str, &Path)],
    partial: &Path,
) -> Result<(), PayloadError> {
    let file = fs::File::create(partial)?;
    let mut out = io::BufWriter::with_capacity(1 << 20, &file);
    let mut offset = io::copy(&mut base.take(own_length), &mut out)?;
    let mut table = Table::default();
    for (name, path) in programs {
        let mut hashing = Hashing { out: &mut out, hasher: Sha256::new() };
        let length = io::copy(&mut fs::File::open(path)?, &mut hashing)?;
        let sha256 = hex::encode(hashing.hasher.finalize());
        table.programs.push(Program { name: (*name).to_owned(), offset, length, sha256 });
        offset += length;
    }
    table.write(offset, &mut out)?;
    out.flush()?;
    drop(out);
    file.set_permissions(base.metadata()?.permissions())?;
    file.sync_all()?;
    Ok(())
}

/// Digests what passes through it.
pub(crate) struct Hashing<W> {
    pub(crate) out: W,
    pub(crate) hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
