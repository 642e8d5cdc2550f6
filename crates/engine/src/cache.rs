//! The node's cache of compiled code.
//!
//! `<root>/<fingerprint>/<sha256 of the source>` is one compiled component with
//! a [trailer](mapping) behind it. Beside an entry may lie:
//!
//! - `….seen`: that the entry's whole content was verified since the machine
//!   started, and, by its modification time, when it was last used;
//! - `….functions`: code of its functions, for compilers of components that
//!   contain some of them too;
//! - `….lock`: held by whoever is making the entry;
//! - `….partial`: what a holder of the lock has written so far.
//!
//! Code of the first tier has a fingerprint of its own, and so a folder of its own:
//! it never stands where optimized code is looked for.
//!
//! Entries appear whole, by rename, and are never changed: a mapped file stays
//! valid when its entry is evicted or replaced. The directories belong to one
//! user and nobody else can write to them; anything in an entry's place that
//! this user did not write, or that does not verify, is removed and counts as a
//! miss.

mod entry_file;
mod evict;
#[cfg(feature = "compile")]
mod functions;
mod lock;
mod mapping;
mod seen;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use app::Digest;
use fs_err as fs;
use rustix::fs::{Mode, OFlags};

use crate::{Fingerprint, Tier};
use entry_file::OpenError;

#[cfg(feature = "compile")]
pub use functions::{Functions, Reuse};
pub use lock::Lock;
pub use mapping::{CompiledCode, LoadError, NativeCode, load};

/// How large the cache may grow unless told otherwise: 4 GiB.
pub const DEFAULT_MAX_BYTES: u64 = 4 << 30;

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or folder could not be read or written; the source names it.
    #[error("code cache cannot be used")]
    Io(#[from] io::Error),
    /// The cache belongs to somebody else or others may write to it: native code
    /// from it would not be trustworthy.
    #[error(
        "code cache {path} is not safe: expected a folder owned by user {expected} that group and \
         others cannot write to"
    )]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// The effective user id of this process.
        expected: u32,
    },
    /// Somebody else is still making the entry.
    #[error("code for {digest} is still being made by another process")]
    Locked {
        /// Digest of the component's source.
        digest: Digest,
    },
}

/// The entries of one cache that fit this build and this machine.
///
/// Any number of processes and threads may use the same cache. What a user other
/// than the cache's owner may do with it: nothing.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    folder: PathBuf,
    folder_fd: Arc<OwnedFd>,
    fingerprint: Fingerprint,
    max_bytes: u64,
}

impl Cache {
    /// Opens the cache in the folder `root`, which is made if it does not exist.
    /// Insertions evict what was not used for longest once all entries and
    /// functions together, those of other fingerprints included, are over
    /// `max_bytes`; nothing that was used within the last minute.
    ///
    /// # Errors
    /// [`CacheError::UnsafeFolder`] when the folder belongs to another user or is
    /// writable by others; otherwise when it cannot be made or opened.
    pub fn open(root: &Path, max_bytes: u64) -> Result<Self, CacheError> {
        Self::open_for(root, max_bytes, Fingerprint::current())
    }

    fn open_for(
        root: &Path,
        max_bytes: u64,
        fingerprint: &Fingerprint,
    ) -> Result<Self, CacheError> {
        let folder = root.join(fingerprint.as_str());
        if let Some(parent) = root.parent() {
            create(parent, 0o755)?;
        }
        for path in [root, &folder] {
            create(path, 0o700)?;
            check_folder(path, &fs::symlink_metadata(path)?)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder_fd = rustix::fs::open(&folder, flags, Mode::empty())
            .map_err(|errno| named(errno.into(), "open folder", &folder))?;
        // Once more, on what was opened.
        let opened = File::from(folder_fd.try_clone()?).metadata()?;
        check_folder(&folder, &opened)?;
        Ok(Self {
            root: root.to_path_buf(),
            folder,
            folder_fd: Arc::new(folder_fd),
            fingerprint: fingerprint.clone(),
            max_bytes,
        })
    }

    /// The first-tier code in the same cache.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn first_tier(&self) -> Result<Self, CacheError> {
        Self::open_for(&self.root, self.max_bytes, Fingerprint::of_tier(Tier::First))
    }

    /// Removes what [`Self::first_tier`] has for `digest`, if anything: to be
    /// called when there is optimized code.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn remove_first_tier(&self, digest: &Digest) -> Result<bool, CacheError> {
        let folder = self.root.join(Fingerprint::of_tier(Tier::First).as_str());
        let entry = folder.join(digest.to_hex());
        let there = entry.exists();
        evict::remove_entry(&entry)?;
        Ok(there)
    }

    /// Where below the cache's root the entry for `digest` is, or would be.
    pub fn entry(&self, digest: &Digest) -> PathBuf {
        Path::new(self.fingerprint.as_str()).join(digest.to_hex())
    }

    /// The code of the component whose source has `digest`, from a `file` that the
    /// supervisor of this process has opened in the cache: for a process that has lost
    /// access to it, and in whose user namespace its owner may have no number. Reads
    /// all of it. None: it is not an entry for `digest` in this cache.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn receive(&self, file: File, digest: &Digest) -> Result<Option<CompiledCode>, CacheError> {
        let code = match CompiledCode::of_file(file, digest, &self.fingerprint) {
            Ok(code) => code,
            Err(OpenError::Io(error)) => return Err(error.into()),
            Err(OpenError::Absent | OpenError::Untrusted(_)) => return Ok(None),
        };
        Ok(code.verify()?.then_some(code))
    }

    /// The code of the component whose source has `digest`; none if the cache
    /// lacks it. An entry that cannot be trusted is removed and is none.
    ///
    /// The first lookup after the machine started, and the first after the
    /// entry's file was touched in any way, reads and verifies the whole entry;
    /// others take some ten microseconds.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn lookup(&self, digest: &Digest) -> Result<Option<CompiledCode>, CacheError> {
        let name = digest.to_hex();
        let path = self.folder.join(&name);
        let opened =
            CompiledCode::open(self.folder_fd.as_fd(), name.as_str(), digest, &self.fingerprint);
        let code = match opened {
            Ok(code) => code,
            Err(OpenError::Absent) => return Ok(None),
            Err(OpenError::Io(error)) => return Err(named(error, "open", &path).into()),
            Err(OpenError::Untrusted(why)) => return Ok(self.discard(digest, why)),
        };
        let seen = self.folder.join(format!("{name}.seen"));
        if seen::is_current(&seen, &code) {
            seen::touch(&seen);
            return Ok(Some(code));
        }
        if !code.verify().map_err(|error| named(error, "read", &path))? {
            return Ok(self.discard(digest, "its content does not match its digest"));
        }
        seen::write(&seen, &code);
        Ok(Some(code))
    }

    /// Whether the whole content of `code` is what was inserted. [`Self::lookup`]
    /// does this by itself when it is needed.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn verify(&self, code: &CompiledCode) -> Result<bool, CacheError> {
        Ok(code.verify()?)
    }

    /// Removes the entry for `digest`, if there is one. Code that was loaded from
    /// it stays valid.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn remove(&self, digest: &Digest) -> Result<(), CacheError> {
        Ok(evict::remove_entry(&self.folder.join(digest.to_hex()))?)
    }

    /// Takes the right to make the entry for `digest`, waiting for whoever holds
    /// it until `deadline`, or for as long as it takes. The kernel gives it back
    /// when the holder dies, however it dies.
    ///
    /// # Errors
    /// [`CacheError::Locked`] at the deadline; otherwise when the file system
    /// fails.
    pub fn lock(&self, digest: &Digest, deadline: Option<Instant>) -> Result<Lock<'_>, CacheError> {
        Lock::take(self, digest, deadline)
    }

    /// Bytes of all entries and functions, those of other fingerprints included.
    ///
    /// # Errors
    /// Fails when the file system does.
    pub fn size(&self) -> Result<u64, CacheError> {
        Ok(evict::entries(&self.root)?.iter().map(|entry| entry.bytes).sum())
    }

    /// Whether entries are on disk when their insertion ends.
    fn is_durable(&self) -> bool {
        self.fingerprint != *Fingerprint::of_tier(Tier::First)
    }

    fn discard(&self, digest: &Digest, why: &'static str) -> Option<CompiledCode> {
        tracing::warn!(%digest, why, "removing an entry of the code cache");
        if let Err(error) = self.remove(digest) {
            tracing::warn!(%digest, %error, "cannot remove it");
        }
        None
    }
}

/// Adds the path to an error of a call that does not name it.
fn named(error: io::Error, action: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {action} {}: {error}", path.display()))
}

/// Makes a folder and those above it unless it is there. Unlike
/// `create_dir_all` it leaves nothing to the umask but taking rights away.
fn create(folder: &Path, mode: u32) -> io::Result<()> {
    // Before anything else: a read-only file system may hold a full cache.
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(folder)
        .map_err(|error| named(error, "create folder", folder))
}

fn check_folder(path: &Path, metadata: &std::fs::Metadata) -> Result<(), CacheError> {
    let user = effective_user();
    if metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(CacheError::UnsafeFolder { path: path.to_path_buf(), expected: user })
}

fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests;
