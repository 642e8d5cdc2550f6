//! Archive layers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::PackError;
use crate::blob::Blob;

/// One tar.gz of all files of a component. The same files always give the same
/// bytes: sorted, without times and owners.
pub(super) fn write(component: &str, files: &BTreeMap<&str, &Blob>) -> Result<Blob, PackError> {
    let failed = |source| PackError::Archive { component: component.to_owned(), source };
    let file = tempfile::tempfile().map_err(failed)?;
    let packer = GzBuilder::new().mtime(0).write(file, Compression::default());
    let mut archive = tar::Builder::new(packer);
    let mut folders = BTreeSet::new();
    for (path, blob) in files {
        for (end, _) in path.match_indices('/') {
            let folder = path.get(..=end).unwrap_or_default();
            if folders.insert(folder) {
                append(&mut archive, folder, EntryType::Directory, 0, io::empty())
                    .map_err(failed)?;
            }
        }
        let content = Verified::new(blob)?;
        append(&mut archive, path, EntryType::Regular, blob.size(), content).map_err(failed)?;
    }
    let packer = archive.into_inner().map_err(failed)?;
    let file = packer.finish().map_err(failed)?;
    Blob::opened(file).map_err(failed)
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    kind: EntryType,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(size);
    header.set_mtime(0);
    archive.append_data(&mut header, path, content)
}

/// The content of a blob that fails at its end when it is not what was promised.
struct Verified {
    inner: io::Take<crate::blob::BlobReader>,
    hasher: Option<app::Hasher>,
    digest: app::Digest,
}

impl Verified {
    fn new(blob: &Blob) -> Result<Self, PackError> {
        Ok(Self {
            inner: blob.open()?.take(blob.size()),
            hasher: Some(app::Hasher::new()),
            digest: blob.digest(),
        })
    }
}

impl Read for Verified {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..length).unwrap_or_default());
        }
        if length == 0
            && !buffer.is_empty()
            && let Some(hasher) = self.hasher.take()
            && hasher.finish() != self.digest
        {
            return Err(io::Error::other(format!("{} changed while it was read", self.digest)));
        }
        Ok(length)
    }
}
