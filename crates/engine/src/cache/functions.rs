//! Compiled functions, kept for the next component that contains them.
//!
//! Components made by one SDK for JavaScript or Python consist almost entirely
//! of the same interpreter, in another place of another file. Cranelift compiles
//! one function at a time from an intermediate form that names everything
//! relatively; equal forms give equal code. Beside the entry of a component,
//! `….functions` keeps the code of those functions that no other such file had
//! when it was compiled. The next component with an equal interpreter is put
//! together from them instead of being compiled.
//!
//! Only compilers read these files. They are trusted as far as entries are: made
//! by this user and this build, in a folder nobody else can write to; and each
//! function is compared with its digest when it is read. A file that is damaged,
//! also one that a crash of the machine left incomplete, costs its functions and
//! nothing else. For that reason nothing waits until it is on disk.

mod segment;

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fs_err as fs;

use super::entry_file::{self, OpenError};
use super::evict::is_functions;
use super::lock::Lock;
use super::{Cache, seen};
use crate::Fingerprint;
use segment::{KEY, Segment, Writer};

/// Most files that one compilation searches: those used last. Each costs the
/// reading of its index, about a megabyte for an interpreter.
const MOST_SEGMENTS: usize = 32;

/// The functions that a compilation may use, and those it makes.
#[derive(Debug)]
pub struct Functions {
    known: Vec<Known>,
    made: Mutex<Made>,
    hits: AtomicU64,
}

/// A file of an earlier compilation.
#[derive(Debug)]
struct Known {
    segment: Segment,
    path: PathBuf,
    used: AtomicBool,
}

/// What this compilation makes; written as it comes.
#[derive(Debug)]
struct Made {
    folder: Arc<OwnedFd>,
    /// The name that its file will have.
    name: String,
    segment: PathBuf,
    fingerprint: Fingerprint,
    writer: Option<Writer>,
    /// After an error nothing more is written.
    given_up: bool,
}

/// How much of a compilation was done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Functions whose code was there already.
    pub found: u64,
    /// Functions that were compiled and are there for the next component.
    pub added: u64,
}

impl Lock<'_> {
    /// The node's functions, for the compilation this lock is held for.
    ///
    /// Files that cannot be used are removed. Problems with any of it are logged
    /// and make a compilation slower, nothing else.
    pub fn functions(&self) -> Arc<Functions> {
        let (cache, digest) = self.held_for();
        let name = format!("{}.functions", digest.to_hex());
        let known = known(cache).unwrap_or_else(|error| {
            tracing::warn!(%error, "functions of other components cannot be used");
            Vec::new()
        });
        let made = Made {
            folder: Arc::clone(&cache.folder_fd),
            segment: cache.folder.join(&name),
            name,
            fingerprint: cache.fingerprint.clone(),
            writer: None,
            given_up: false,
        };
        Arc::new(Functions { known, made: Mutex::new(made), hits: AtomicU64::new(0) })
    }
}

/// The files in the cache's folder, those used last first.
fn known(cache: &Cache) -> io::Result<Vec<Known>> {
    let mut files = Vec::new();
    for file in fs::read_dir(&cache.folder)? {
        let path = file?.path();
        if is_functions(&path) {
            // It may have been evicted in the meantime.
            let used = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            files.push((used.unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    files.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
    files.truncate(MOST_SEGMENTS);
    Ok(files.into_iter().filter_map(|(_, path)| open(cache, path)).collect())
}

fn open(cache: &Cache, path: PathBuf) -> Option<Known> {
    let opened =
        entry_file::open(cache.folder_fd.as_fd(), path.file_name()?).and_then(|(file, size)| {
            Segment::read(file, size, &cache.fingerprint)
                .map_err(OpenError::Io)?
                .ok_or(OpenError::Untrusted("it is truncated or of another kind"))
        });
    match opened {
        Ok(segment) => return Some(Known { segment, path, used: AtomicBool::new(false) }),
        Err(OpenError::Absent) => {}
        Err(OpenError::Io(error)) => {
            tracing::warn!(path = %path.display(), %error, "cannot read functions");
        }
        Err(OpenError::Untrusted(why)) => {
            tracing::warn!(path = %path.display(), why, "removing functions from the code cache");
            let _ = fs::remove_file(&path);
        }
    }
    None
}

impl Functions {
    /// Ends the compilation: what it made is there for the next one, whatever
    /// becomes of its own entry.
    ///
    /// # Errors
    /// Fails when the file system does; the functions are lost then, the
    /// compilation itself is complete.
    pub fn keep(&self) -> io::Result<Reuse> {
        for known in self.known.iter().filter(|known| known.used.load(Ordering::Relaxed)) {
            seen::touch(&known.path);
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reuse = Reuse { found: self.hits.load(Ordering::Relaxed), added: 0 };
        // A component whose entry was evicted finds its own functions; what it adds to them
        // is not worth losing them.
        if let Some(writer) = made.writer.take()
            && !made.segment.exists()
        {
            reuse.added = writer.finish(&made.fingerprint, made.folder.as_fd(), &made.name)?;
        }
        Ok(reuse)
    }
}

impl Made {
    fn add(&mut self, key: &[u8; KEY], code: &[u8]) -> io::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(Writer::create(self.folder.as_fd())?),
        };
        writer.append(key, code)
    }
}

impl wasmtime::CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let key = key.try_into().ok()?;
        for known in &self.known {
            match known.segment.get(key) {
                Ok(None) => {}
                Ok(Some(code)) => {
                    known.used.store(true, Ordering::Relaxed);
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    return Some(code.into());
                }
                Err(error) => {
                    tracing::warn!(path = %known.path.display(), %error, "removing functions");
                    let _ = fs::remove_file(&known.path);
                }
            }
        }
        None
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        let Ok(key) = key.try_into() else { return false };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.given_up {
            return false;
        }
        if let Err(error) = made.add(key, &code) {
            tracing::warn!(%error, "functions of this component are not kept");
            (made.writer, made.given_up) = (None, true);
        }
        !made.given_up
    }
}

#[cfg(test)]
mod tests;
