//! Unpacking archive layers: a stream of files, found again by their digest.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::{Component, Path};
use std::rc::Rc;

use app::{Digest, Hasher};
use flate2::read::GzDecoder;
use tar::EntryType;

use crate::blob::{Blob, BlobError};
use crate::limits;

/// An archive layer that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Its blob is damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Its bytes are no valid archive, or exceed a limit.
    #[error("archive layer {digest} cannot be unpacked")]
    Unpack {
        /// Its digest.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has an entry that is not accepted.
    #[error("archive layer {digest} has an entry {name:?} that {reason}")]
    Entry {
        /// Its digest.
        digest: Digest,
        /// The entry.
        name: String,
        /// What is wrong with the entry.
        reason: &'static str,
    },
}

/// Streams every regular file of the archive `blob` through `take`, which must
/// read its reader to the end. Names of entries are checked but not used.
///
/// Only regular files and folders with relative names that stay below their root
/// are accepted. The archive itself is verified at its end: what was taken must
/// not be used when this fails.
///
/// # Errors
///
/// [`ArchiveError`].
pub(crate) fn for_each_file(
    blob: &Blob,
    mut take: impl FnMut(&mut dyn Read) -> io::Result<()>,
) -> Result<(), ArchiveError> {
    let digest = blob.digest();
    let unpack = |source| ArchiveError::Unpack { digest, source };
    let mut packed =
        Packed { inner: blob.open()?, hasher: Hasher::new(), count: Rc::new(Cell::new(0)) };
    let count = Rc::clone(&packed.count);
    {
        let unpacked = Unpacked { inner: GzDecoder::new(&mut packed), packed: count, count: 0 };
        let mut archive = tar::Archive::new(unpacked);
        let mut met = 0;
        // Raw: the library would read long names and extended headers whole,
        // however long they say they are.
        for entry in archive.entries().map_err(unpack)?.raw(true) {
            let mut entry = entry.map_err(unpack)?;
            met += 1;
            if met > limits::ARCHIVE_ENTRIES {
                return Err(unpack(limit("entries", limits::ARCHIVE_ENTRIES)));
            }
            match check(&mut entry) {
                Ok(Kind::File) => take(&mut entry).map_err(unpack)?,
                Ok(Kind::Other) => {}
                Err(Refusal::Read(source)) => return Err(unpack(source)),
                Err(Refusal::Entry(name, reason)) => {
                    return Err(ArchiveError::Entry { digest, name, reason });
                }
            }
        }
    }
    io::copy(&mut packed, &mut io::sink()).map_err(unpack)?;
    let found = packed.count.get();
    if found != blob.size() {
        return Err(BlobError::Size { digest, expected: blob.size(), found }.into());
    }
    let found = packed.hasher.finish();
    if found != digest {
        return Err(BlobError::Digest { expected: digest, found }.into());
    }
    Ok(())
}

/// What an entry is.
enum Kind {
    File,
    Other,
}

/// Why an entry is refused.
enum Refusal {
    Read(io::Error),
    Entry(String, &'static str),
}

fn check<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Kind, Refusal> {
    let kind = entry.header().entry_type();
    let size = entry.size();
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    match kind {
        EntryType::Regular | EntryType::Continuous => {
            check_name(name)?;
            if size > limits::FILE_BYTES {
                return Err(Refusal::Read(limit("bytes of one file", limits::FILE_BYTES)));
            }
            Ok(Kind::File)
        }
        EntryType::Directory => {
            check_name(name)?;
            Ok(Kind::Other)
        }
        EntryType::GNULongName => {
            let extension = extension(entry)?;
            let long = String::from_utf8_lossy(&extension);
            check_name(long.trim_end_matches('\0').to_owned())?;
            Ok(Kind::Other)
        }
        EntryType::XHeader | EntryType::XGlobalHeader => {
            let extension = extension(entry)?;
            for record in tar::PaxExtensions::new(&extension) {
                let record = record.map_err(Refusal::Read)?;
                if record.key_bytes() == b"path" {
                    check_name(String::from_utf8_lossy(record.value_bytes()).into_owned())?;
                }
            }
            Ok(Kind::Other)
        }
        EntryType::Symlink | EntryType::Link | EntryType::GNULongLink => {
            Err(Refusal::Entry(name, "is a link; only files and folders are accepted"))
        }
        _ => Err(Refusal::Entry(name, "is neither a file nor a folder")),
    }
}

/// The content of a name extension.
fn extension<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, Refusal> {
    if entry.size() > limits::ARCHIVE_EXTENSION_BYTES {
        return Err(Refusal::Read(limit("bytes of one name", limits::ARCHIVE_EXTENSION_BYTES)));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(Refusal::Read)?;
    Ok(bytes)
}

fn check_name(name: String) -> Result<(), Refusal> {
    let mut depth = 0;
    for component in Path::new(&name).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) if part.len() <= 255 => depth += 1,
            Component::Normal(_) => return Err(Refusal::Entry(name, "has too long a name")),
            Component::ParentDir => return Err(Refusal::Entry(name, "climbs out of its root")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(Refusal::Entry(name, "is absolute"));
            }
        }
    }
    if depth > 64 || name.len() > 1024 {
        return Err(Refusal::Entry(name, "is too deep or too long"));
    }
    Ok(())
}

fn limit(what: &str, limit: u64) -> io::Error {
    io::Error::other(format!("it has more than {limit} {what}"))
}

/// The compressed bytes, hashed and counted as they are read.
struct Packed<R> {
    inner: R,
    hasher: Hasher,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        self.count.set(self.count.get() + length as u64);
        Ok(length)
    }
}

/// The unpacked bytes, counted so that a small archive cannot become huge.
struct Unpacked<R> {
    inner: R,
    packed: Rc<Cell<u64>>,
    count: u64,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.count += length as u64;
        if self.count > limits::UNPACKED_BYTES {
            return Err(limit("bytes unpacked", limits::UNPACKED_BYTES));
        }
        let allowed = self.packed.get().saturating_mul(limits::UNPACK_RATIO);
        if self.count > limits::RATIO_FREE_BYTES.max(allowed) {
            return Err(io::Error::other(format!(
                "it unpacks to more than {} times its size",
                limits::UNPACK_RATIO
            )));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
