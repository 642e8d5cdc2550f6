//! What an installation changed on a node, written down on the node.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Root;

const FOLDER: &str = "/var/lib/spinlet/install";
const FILE: &str = "/var/lib/spinlet/install/journal.json";

/// Every file that was written, with what was there before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) entries: Vec<Entry>,
}

/// One written file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Digest of what was written.
    pub(crate) written: String,
    /// Whether there was a file before; its content is in the backup.
    pub(crate) existed: bool,
    pub(crate) mode: u32,
}

impl Journal {
    /// The journal of the node; empty when nothing is installed.
    pub(crate) fn read(root: &Root) -> io::Result<Self> {
        match root.read(Path::new(FILE))? {
            Some(text) => serde_json::from_slice(&text).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} is damaged: {error}"))
            }),
            None => Ok(Self::default()),
        }
    }

    pub(crate) fn write(&self, root: &Root) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        root.replace(Path::new(FILE), &text, 0o600)
    }

    pub(crate) fn entry(&self, path: &Path) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// Notes that a file is about to be written, and keeps what is there. What
    /// was there before the first installation stays kept.
    pub(crate) fn note(
        &mut self,
        root: &Root,
        path: &Path,
        content: &[u8],
        mode: u32,
    ) -> io::Result<()> {
        let written = digest(content);
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.path == path) {
            entry.written = written;
            return self.write(root);
        }
        let before = root.read(path)?;
        let existed = before.is_some();
        let mode = if existed { root.mode(path)? } else { mode };
        if let Some(before) = before {
            root.replace(&backup(path), &before, 0o600)?;
        }
        self.entries.push(Entry { path: path.to_owned(), written, existed, mode });
        self.write(root)
    }

    /// What was at a path before the first installation.
    pub(crate) fn original(root: &Root, entry: &Entry) -> io::Result<Option<Vec<u8>>> {
        if !entry.existed {
            return Ok(None);
        }
        root.read(&backup(&entry.path))?.map(Some).ok_or_else(|| {
            let text = format!("the backup {} is gone", backup(&entry.path).display());
            io::Error::new(io::ErrorKind::NotFound, text)
        })
    }

    /// Removes the journal and all backups.
    pub(crate) fn discard(self, root: &Root) -> io::Result<()> {
        for entry in &self.entries {
            root.remove(&backup(&entry.path))?;
        }
        root.remove(Path::new(FILE))?;
        root.remove_empty(Path::new(FOLDER));
        Ok(())
    }
}

fn backup(path: &Path) -> PathBuf {
    let digest = digest(path.as_os_str().as_encoded_bytes());
    Path::new(FOLDER).join(format!("{}.before", digest.chars().take(16).collect::<String>()))
}

pub(crate) fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
