//! One maker per entry.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs::File, thread};

use app::Digest;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Cache, CacheError, CompiledCode, NativeCode, entry_file, evict, named, seen};

/// How often a waiter with a deadline looks again. One without a deadline is
/// woken by the kernel.
const RETRY: Duration = Duration::from_millis(20);

/// The right to make one entry; given back when dropped.
#[derive(Debug)]
pub struct Lock<'a> {
    cache: &'a Cache,
    digest: Digest,
    _file: FileLock,
}

impl<'a> Lock<'a> {
    pub(super) fn take(
        cache: &'a Cache,
        digest: &Digest,
        deadline: Option<Instant>,
    ) -> Result<Self, CacheError> {
        let path = cache.folder.join(format!("{}.lock", digest.to_hex()));
        let file = loop {
            match FileLock::take(&path, deadline.is_none())? {
                Some(file) => break file,
                None => match deadline {
                    Some(deadline) if Instant::now() < deadline => {
                        thread::sleep(RETRY.min(deadline - Instant::now()));
                    }
                    _ => return Err(CacheError::Locked { digest: *digest }),
                },
            }
        };
        Ok(Self { cache, digest: *digest, _file: file })
    }

    /// The cache it is a lock of, and the source it is held for.
    #[cfg(feature = "compile")]
    pub(super) fn held_for(&self) -> (&'a Cache, &Digest) {
        (self.cache, &self.digest)
    }

    /// Stores `code`, which must have been compiled from the source with this
    /// lock's digest, and evicts older entries if the cache has become too large.
    ///
    /// The entry appears whole or not at all, also after a crash of the machine.
    /// It replaces one that is there already. First-tier code, which somebody waits
    /// for and which is soon replaced, is neither read back nor waited for until it is
    /// on disk: a crash of the machine may damage it, which the first lookup
    /// afterwards finds.
    ///
    /// # Errors
    /// Fails when the file system does, for example when it is full; the cache is
    /// then as before.
    pub fn insert(&self, code: &NativeCode) -> Result<CompiledCode, CacheError> {
        let name = self.digest.to_hex();
        let entry = self.cache.folder.join(&name);
        let partial = self.cache.folder.join(format!("{name}.partial"));
        let stored = self.write(code, &partial).and_then(|stored| {
            fs::rename(&partial, &entry)?;
            Ok(stored)
        });
        if stored.is_err() {
            let _ = fs::remove_file(&partial);
        }
        let stored = stored?;
        if self.cache.is_durable() {
            rustix::fs::fsync(&self.cache.folder_fd)
                .map_err(|errno| named(errno.into(), "sync folder", &self.cache.folder))?;
        }

        seen::write(&entry.with_extension("seen"), &stored);
        if let Err(error) = evict::evict(&self.cache.root, self.cache.max_bytes, &entry) {
            tracing::warn!(%error, "cannot shrink the code cache");
        }
        Ok(stored)
    }

    /// Writes the complete entry to `partial`, and reads it back if it is to last.
    fn write(&self, code: &NativeCode, partial: &Path) -> io::Result<CompiledCode> {
        // What a killed predecessor left; it held the lock that we hold now.
        remove_if_present(partial)?;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial)?;
        code.write(&self.digest, &self.cache.fingerprint, &mut file)?;
        // On the descriptor, so that no umask applies.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry_file::MODE))
            .map_err(|errno| named(errno.into(), "change permissions of", partial))?;
        if self.cache.is_durable() {
            file.sync_all()?;
        }
        drop(file);

        let Cache { folder_fd, fingerprint, .. } = self.cache;
        let name = partial.file_name().unwrap_or_default();
        CompiledCode::open(folder_fd.as_fd(), name, &self.digest, fingerprint)
            .ok()
            .filter(|stored| !self.cache.is_durable() || stored.verify().is_ok_and(|equal| equal))
            .ok_or_else(|| {
                let error = io::Error::other("the content differs from what was written");
                named(error, "read back", partial)
            })
    }
}

/// A lock file that exists while it is held.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock at `path`; none if it is held and `wait` is false.
    pub(super) fn take(path: &Path, wait: bool) -> io::Result<Option<Self>> {
        let operation = if wait {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        loop {
            let file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(path)?
                .into_file();
            match rustix::fs::flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(named(errno.into(), "lock", path)),
            }
            // The last holder may have removed the file between open and lock.
            if file.metadata()?.nlink() > 0 {
                return Ok(Some(Self { file, path: path.to_path_buf() }));
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // While it is still held: whoever waits on this file finds it gone and
        // starts over with a new one. Closing the file releases the lock.
        let _ = fs::remove_file(&self.path);
        let _ = &self.file;
    }
}

pub(super) fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
