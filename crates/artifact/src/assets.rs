//! The files of a component on disk: written once per content, then reused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use app::{Digest, FilePathError, Hasher, check_file_path};
use tempfile::TempDir;

use crate::archive::{self, ArchiveError};
use crate::artifact::{Artifact, ComponentContent, FileContent, Mount};
use crate::blob::{Blob, BlobError};
use crate::limits;

/// Names of folders that are being written start with this.
const INCOMING: &str = "incoming-";
/// After this time a folder that is being written belongs to nobody any more.
const ABANDONED: Duration = Duration::from_hours(1);
/// Mode of every file.
const FILE_MODE: u32 = 0o444;
/// Mode of every folder; its owner may remove it.
const FOLDER_MODE: u32 = 0o755;

/// Why the files of a component cannot be put on disk.
#[derive(Debug, thiserror::Error)]
pub enum AssetsError {
    /// The app has no such component.
    #[error("the app has no component {component:?}")]
    NoSuchComponent {
        /// The component.
        component: String,
    },
    /// A file's content is damaged.
    #[error("file {path:?} of component {component:?} cannot be used")]
    Blob {
        /// The component.
        component: String,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// An archive layer cannot be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file has a path that must not be used.
    #[error(transparent)]
    Path(#[from] FilePathError),
    /// Files are in no layer and in no archive.
    #[error(
        "files of component {component:?} are in no layer of the image and in none of its \
         archives: {}",
        paths.join(", ")
    )]
    Missing {
        /// The component.
        component: String,
        /// Paths and digests of the files.
        paths: Vec<String>,
    },
    /// The files are too many or too large.
    #[error("the files of component {component:?} exceed {limit} {what}")]
    Limit {
        /// The component.
        component: String,
        /// What is too much.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The disk refuses.
    #[error("cannot write the files of component {component:?}")]
    Write {
        /// The component.
        component: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Puts the files of a component below `root`, unless a folder with exactly this
/// content is there already, and says what to mount for its guest: nothing for a
/// component without files, one folder at `/` for one with files, its folders as
/// they are for one with [mounts](ComponentContent::mounts).
///
/// A folder is named by the digest over its paths and contents. It appears
/// complete and synchronised with the disk or not at all, whatever other
/// processes do at the same time and whenever the machine stops. Its files are
/// read-only; nobody changes it later.
///
/// # Errors
///
/// [`AssetsError`]; nothing is left behind then, except after a crash, what a
/// later call removes.
pub fn materialize(
    artifact: &Artifact,
    component: &str,
    root: &Path,
) -> Result<Vec<Mount>, AssetsError> {
    let Some(content) = artifact.components.get(component) else {
        return Err(AssetsError::NoSuchComponent { component: component.to_owned() });
    };
    if !content.mounts.is_empty() {
        return Ok(content.mounts.clone());
    }
    if content.files.is_empty() {
        return Ok(Vec::new());
    }
    let tree = Tree::new(component, content)?;
    let folder = root.join(tree.key().to_hex());
    if !folder.is_dir() {
        tree.write(&artifact.archives, root, &folder)?;
    }
    Ok(vec![Mount { host: folder, guest: "/".to_owned() }])
}

/// The files to write, by path.
struct Tree<'a> {
    component: &'a str,
    files: BTreeMap<&'a str, (Digest, &'a FileContent)>,
}

impl<'a> Tree<'a> {
    fn new(component: &'a str, content: &'a ComponentContent) -> Result<Self, AssetsError> {
        if content.files.len() > limits::FILES {
            let limit = limits::FILES as u64;
            return Err(AssetsError::Limit {
                component: component.to_owned(),
                what: "files",
                limit,
            });
        }
        let mut files = BTreeMap::new();
        let mut bytes = 0;
        for file in &content.files {
            check_file_path(&file.path)?;
            bytes += file.size().unwrap_or(0);
            files.insert(file.path.as_str(), (file.digest, &file.content));
        }
        let tree = Self { component, files };
        tree.check_bytes(bytes)?;
        Ok(tree)
    }

    /// The digest over all paths and contents.
    fn key(&self) -> Digest {
        let mut hasher = Hasher::new();
        for (path, (digest, _)) in &self.files {
            hasher.update(&(path.len() as u64).to_le_bytes());
            hasher.update(path.as_bytes());
            hasher.update(digest.as_bytes());
        }
        hasher.finish()
    }

    fn write(&self, archives: &[Blob], root: &Path, folder: &Path) -> Result<(), AssetsError> {
        let failed = |source| self.failed(source);
        fs_err::create_dir_all(root).map_err(failed)?;
        remove_abandoned(root);
        let staging = incoming(root).map_err(failed)?;
        set_mode(staging.path(), FOLDER_MODE).map_err(failed)?;
        let first_paths = self.write_blobs(staging.path())?;
        self.write_archived(archives, root, staging.path(), first_paths)?;
        synchronise(staging.path()).map_err(failed)?;
        match fs_err::rename(staging.path(), folder) {
            Ok(()) => {
                // It is no longer there under its temporary name.
                let _ = staging.keep();
            }
            // Somebody else was faster, with the same content.
            Err(_) if folder.is_dir() => {}
            Err(error) => return Err(failed(error)),
        }
        fs_err::File::open(root).and_then(|root| root.sync_all()).map_err(failed)
    }

    /// Writes what has a blob of its own; gives back where each content is.
    fn write_blobs(&self, staging: &Path) -> Result<BTreeMap<Digest, PathBuf>, AssetsError> {
        let mut written: BTreeMap<Digest, PathBuf> = BTreeMap::new();
        for (path, (digest, content)) in &self.files {
            let FileContent::Blob(blob) = content else { continue };
            let target = staging.join(path);
            self.prepare(staging, path)?;
            if let Some(first) = written.get(digest) {
                duplicate(first, &target).map_err(|source| self.failed(source))?;
                continue;
            }
            let mut file = fs_err::File::create_new(&target).map_err(|error| self.failed(error))?;
            blob.copy_to(&mut file).map_err(|source| AssetsError::Blob {
                component: self.component.to_owned(),
                path: (*path).to_owned(),
                source,
            })?;
            set_mode(&target, FILE_MODE).map_err(|source| self.failed(source))?;
            written.insert(*digest, target);
        }
        Ok(written)
    }

    /// Writes what is in archives, reading each archive once.
    fn write_archived(
        &self,
        archives: &[Blob],
        root: &Path,
        staging: &Path,
        mut written: BTreeMap<Digest, PathBuf>,
    ) -> Result<(), AssetsError> {
        let mut wanted: BTreeMap<Digest, Vec<&str>> = BTreeMap::new();
        for (path, (digest, content)) in &self.files {
            if matches!(content, FileContent::Archived) {
                wanted.entry(*digest).or_default().push(path);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let parts = incoming(root).map_err(|source| self.failed(source))?;
        let lacking: BTreeSet<Digest> =
            wanted.keys().filter(|digest| !written.contains_key(digest)).copied().collect();
        self.extract(archives, parts.path(), lacking, &mut written)?;
        let mut missing = Vec::new();
        for (digest, paths) in wanted {
            let Some(first) = written.get(&digest) else {
                missing.extend(paths.iter().map(|path| format!("{path} ({digest})")));
                continue;
            };
            for path in paths {
                self.prepare(staging, path)?;
                duplicate(first, &staging.join(path)).map_err(|source| self.failed(source))?;
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(AssetsError::Missing { component: self.component.to_owned(), paths: missing })
    }

    /// Unpacks the wanted contents into `parts`, each under its digest.
    fn extract(
        &self,
        archives: &[Blob],
        parts: &Path,
        mut wanted: BTreeSet<Digest>,
        written: &mut BTreeMap<Digest, PathBuf>,
    ) -> Result<(), AssetsError> {
        let mut kept = 0;
        for archive in archives {
            if wanted.is_empty() {
                break;
            }
            archive::for_each_file(archive, |reader| {
                let part = parts.join("part");
                let mut file = fs_err::File::create(&part)?;
                let mut hashing = Hashing { hasher: Hasher::new(), to: &mut file };
                let length = io::copy(reader, &mut hashing)?;
                let digest = hashing.hasher.finish();
                if wanted.remove(&digest) {
                    kept += length;
                    let place = parts.join(digest.to_hex());
                    set_mode(&part, FILE_MODE)?;
                    fs_err::rename(&part, &place)?;
                    written.insert(digest, place);
                }
                Ok(())
            })?;
            self.check_bytes(kept)?;
        }
        Ok(())
    }

    /// Makes the folders above `path`.
    fn prepare(&self, staging: &Path, path: &str) -> Result<(), AssetsError> {
        let Some((folders, _)) = path.rsplit_once('/') else { return Ok(()) };
        fs_err::create_dir_all(staging.join(folders)).map_err(|source| self.failed(source))
    }

    fn check_bytes(&self, bytes: u64) -> Result<(), AssetsError> {
        let limit = limits::ASSETS_BYTES;
        if bytes > limit {
            return Err(AssetsError::Limit {
                component: self.component.to_owned(),
                what: "bytes",
                limit,
            });
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> AssetsError {
        AssetsError::Write { component: self.component.to_owned(), source }
    }
}

/// A folder to write into, removed again unless it is kept.
fn incoming(root: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(INCOMING).tempdir_in(root)
}

/// A second name for a read-only file, or a copy where that is not possible.
fn duplicate(from: &Path, to: &Path) -> io::Result<()> {
    if fs_err::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs_err::copy(from, to).map(|_| ())
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Brings a folder and everything in it to the disk. Called after everything was
/// written, so that most of it is on its way already.
fn synchronise(folder: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_mode(&entry.path(), FOLDER_MODE)?;
            synchronise(&entry.path())?;
        } else {
            fs_err::File::open(entry.path())?.sync_all()?;
        }
    }
    fs_err::File::open(folder)?.sync_all()
}

/// Removes what a crash left behind. Failing to do so harms nobody.
fn remove_abandoned(root: &Path) {
    let Ok(entries) = fs_err::read_dir(root) else { return };
    for entry in entries.flatten() {
        let abandoned = entry.file_name().to_string_lossy().starts_with(INCOMING)
            && entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|modified| SystemTime::now().duration_since(modified).ok())
                .is_some_and(|age| age > ABANDONED);
        if abandoned && let Err(error) = fs_err::remove_dir_all(entry.path()) {
            tracing::warn!(%error, "cannot remove an abandoned folder");
        }
    }
}

/// Hashes what passes through.
struct Hashing<W> {
    hasher: Hasher,
    to: W,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let length = self.to.write(buffer)?;
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests;
