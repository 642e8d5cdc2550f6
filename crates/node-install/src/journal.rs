//! What an installation changed on a node, written down on the node.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Root;
use crate::content::Content;
use crate::root::Attributes;

const FOLDER: &str = "/var/lib/spinlet/install";
const FILE: &str = "/var/lib/spinlet/install/journal.json";

/// Every file that was written, with what was there before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) entries: Vec<Entry>,
    /// Folders that were made, each before those in it.
    #[serde(default)]
    pub(crate) folders: Vec<PathBuf>,
}

/// One written file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    /// Digest of what was written.
    pub(crate) written: String,
    /// Whether there was a file before; its content is in the backup.
    pub(crate) existed: bool,
    /// Of the file that was there before.
    #[serde(flatten)]
    pub(crate) attributes: Attributes,
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
        root.replace(Path::new(FILE), &mut text.as_slice(), Attributes::PRIVATE)
    }

    pub(crate) fn entry(&self, path: &Path) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// Writes a file and notes it first, with what is there now. What was there
    /// before the first installation stays kept. Attributes are those of the file
    /// that is there, or else the given ones.
    pub(crate) fn replace(
        &mut self,
        root: &Root,
        path: &Path,
        content: Content<'_>,
        attributes: Attributes,
    ) -> io::Result<()> {
        let there = root.attributes(path)?;
        let attributes = there.unwrap_or(attributes);
        let written = content.digest()?;
        let folders = [Path::new(FILE), path].map(|path| root.missing_folders(path));
        self.folders.extend(folders.into_iter().flatten());
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.path == path) {
            entry.written = written;
        } else {
            if let Some(mut before) = root.open(path)? {
                root.replace(&backup(path), &mut before, Attributes::PRIVATE)?;
            }
            let existed = there.is_some();
            self.entries.push(Entry { path: path.to_owned(), written, existed, attributes });
        }
        self.write(root)?;
        root.replace(path, &mut content.open()?, attributes)
    }

    /// Makes a file what it was before the first installation.
    pub(crate) fn restore(root: &Root, entry: &Entry) -> io::Result<()> {
        if !entry.existed {
            return root.remove(&entry.path).map(|_| ());
        }
        let backup = backup(&entry.path);
        let mut before = root.open(&backup)?.ok_or_else(|| {
            let text = format!("the backup {} is gone", backup.display());
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        root.replace(&entry.path, &mut before, entry.attributes)
    }

    /// Removes the journal, all backups, and the folders that were made as far as
    /// nothing else is in them.
    pub(crate) fn discard(self, root: &Root) -> io::Result<()> {
        for entry in &self.entries {
            root.remove(&backup(&entry.path))?;
        }
        root.remove(Path::new(FILE))?;
        root.remove_empty(Path::new(FOLDER));
        for folder in self.folders.iter().rev() {
            root.remove_empty(folder);
        }
        Ok(())
    }
}

fn backup(path: &Path) -> PathBuf {
    let name: String = path.to_string_lossy().replace('/', "%");
    Path::new(FOLDER).join(format!("{name}.before"))
}
