//! The cache of compiled code in a state directory.

use std::os::unix::fs::DirEntryExt as _;
use std::path::Path;

use fs_err as fs;

/// Name, the digest of the source, and inode of every compiled component. What is
/// not there yet or goes away meanwhile is passed over.
pub fn cache_entries(state: &Path) -> Vec<(String, u64)> {
    let read = |folder: &Path| -> Vec<fs::DirEntry> {
        fs::read_dir(folder).map(|all| all.filter_map(Result::ok).collect()).unwrap_or_default()
    };
    read(&state.join("cache"))
        .iter()
        .flat_map(|folder| read(&folder.path()))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.ino()))
        .filter(|(name, _)| name.len() == 64)
        .collect()
}
