//! Keeping the cache within its size.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;

use super::lock::{FileLock, remove_if_present};

/// Entries used more recently than this are not evicted: between an insertion
/// and the lookup that it was made for there may be another insertion.
const GRACE: Duration = Duration::from_mins(1);

/// Which part of the cache the functions for later compilations may take: they
/// save time only where a component is new, entries at every start.
const FUNCTIONS_PART: u64 = 4;

/// One entry, or the functions kept beside one, of whatever fingerprint.
#[derive(Debug)]
pub(super) struct Entry {
    path: PathBuf,
    pub(super) bytes: u64,
    used: SystemTime,
}

/// All entries and kept functions below the cache's root.
pub(super) fn entries(root: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in files(root)? {
        if !is_digest(&path) && !is_functions(&path) {
            continue;
        }
        // It may have been evicted in the meantime.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let seen = is_digest(&path).then(|| fs::symlink_metadata(path.with_extension("seen")).ok());
        let used = seen.flatten().as_ref().unwrap_or(&metadata).modified()?;
        entries.push(Entry { path, bytes: metadata.len(), used });
    }
    Ok(entries)
}

/// Removes what crashed makers left and then, oldest use first, kept functions
/// until they fit their part of `max_bytes`, and entries and functions until all
/// of it fits; never `keep`, and none of the last [`GRACE`].
pub(super) fn evict(root: &Path, max_bytes: u64, keep: &Path) -> io::Result<()> {
    sweep(root)?;
    let mut entries = entries(root)?;
    entries.retain(|entry| entry.path != keep);
    let kept = fs::symlink_metadata(keep).map_or(0, |metadata| metadata.len());
    entries.sort_by_key(|entry| entry.used);
    let (functions, others): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| is_functions(&entry.path));
    let mut left = shrink(functions, max_bytes / FUNCTIONS_PART)?;
    left.extend(others);
    left.sort_by_key(|entry| entry.used);
    shrink(left, max_bytes.saturating_sub(kept))?;
    Ok(())
}

/// Removes the first of `entries` until the others fit; those that are left.
fn shrink(entries: Vec<Entry>, max_bytes: u64) -> io::Result<Vec<Entry>> {
    let now = SystemTime::now();
    let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let mut left = Vec::new();
    for entry in entries {
        // A time in the future, after the clock was set back, says nothing.
        let unused = now.duration_since(entry.used).unwrap_or(Duration::MAX);
        if bytes <= max_bytes || unused < GRACE {
            left.push(entry);
            continue;
        }
        tracing::debug!(entry = %entry.path.display(), "evicting from the code cache");
        if is_functions(&entry.path) {
            remove_if_present(&entry.path)?;
        } else {
            remove_entry(&entry.path)?;
        }
        bytes = bytes.saturating_sub(entry.bytes);
    }
    Ok(left)
}

/// Removes an entry and its mark.
pub(super) fn remove_entry(path: &Path) -> io::Result<()> {
    remove_if_present(path)?;
    remove_if_present(&path.with_extension("seen"))
}

/// Removes partial files and locks whose makers are gone, and marks without an
/// entry.
fn sweep(root: &Path) -> io::Result<()> {
    for path in files(root)? {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("partial" | "lock") => {
                // Held by a live maker: none of our business.
                if let Some(_lock) = FileLock::take(&path.with_extension("lock"), false)? {
                    remove_if_present(&path.with_extension("partial"))?;
                }
            }
            Some("seen") if !path.with_extension("").exists() => remove_if_present(&path)?,
            _ => {}
        }
    }
    Ok(())
}

/// Every file in the folders of all fingerprints. Names of other kinds than ours
/// are left alone.
fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in fs::read_dir(root)? {
        let folder = folder?.path();
        if !is_digest(&folder) || !fs::symlink_metadata(&folder)?.is_dir() {
            continue;
        }
        for file in fs::read_dir(&folder)? {
            let file = file?.path();
            if is_digest(&file.with_extension("")) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Whether `path` is that of functions for later compilations.
pub(super) fn is_functions(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "functions")
        && is_digest(&path.with_extension(""))
}

fn is_digest(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
        name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}
