//! Blobs: content with a promised digest and size.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use app::{Digest, Hasher};
use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes moved at once.
const CHUNK: usize = 128 << 10;

/// Content with a promised digest and size. Making one reads nothing; the promise
/// is checked when the content is read.
#[derive(Debug, Clone)]
pub struct Blob {
    digest: Digest,
    size: u64,
    place: Place,
}

/// Where the content is.
#[derive(Debug, Clone)]
enum Place {
    Bytes(Arc<[u8]>),
    /// A file that nobody changes in place.
    Stored(PathBuf),
    /// A file that somebody may be editing.
    Edited(PathBuf),
    /// A part of an open file.
    Range {
        file: Arc<File>,
        offset: u64,
    },
}

/// Content that cannot be read or is not what was promised.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The content is shorter or longer than promised.
    #[error("blob {digest} has {found} bytes where {expected} were promised")]
    Size {
        /// The promised digest.
        digest: Digest,
        /// The promised size.
        expected: u64,
        /// How long it is, as far as it was read.
        found: u64,
    },
    /// The content has another digest.
    #[error("blob {expected} holds other content: its digest is {found}")]
    Digest {
        /// The promised digest.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// The content is larger than the reader accepts.
    #[error("blob {digest} has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its digest.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The content cannot be read.
    #[error("cannot read blob {digest}")]
    Read {
        /// Its digest.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content cannot be copied to where it is needed.
    #[error("cannot copy blob {digest}")]
    Write {
        /// Its digest.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Blob {
    /// A blob of these bytes; its digest is computed.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), size: bytes.len() as u64, place: Place::Bytes(bytes) }
    }

    /// Bytes that somebody promised to have this digest and size.
    pub fn promised_bytes(digest: Digest, size: u64, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { digest, size, place: Place::Bytes(bytes.into()) }
    }

    /// A file of a content-addressed store, which nobody changes in place.
    pub fn stored(digest: Digest, size: u64, path: impl Into<PathBuf>) -> Self {
        Self { digest, size, place: Place::Stored(path.into()) }
    }

    /// `size` bytes of an open file from `offset` on, promised to have this digest.
    pub fn range(digest: Digest, size: u64, file: Arc<File>, offset: u64) -> Self {
        Self { digest, size, place: Place::Range { file, offset } }
    }

    /// A file that somebody may edit. It is read once to compute its digest; when
    /// it has changed since, later reads fail.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn edited(path: &Path) -> io::Result<Self> {
        let (digest, size) = digest_of(&mut fs_err::File::open(path)?)?;
        Ok(Self { digest, size, place: Place::Edited(path.to_owned()) })
    }

    /// The whole of an open file that somebody may still be writing to, under the
    /// conditions of [`Blob::edited`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn opened(file: File) -> io::Result<Self> {
        let file = Arc::new(file);
        let mut reader = RangeReader { file: Arc::clone(&file), offset: 0, left: u64::MAX };
        let (digest, size) = digest_of(&mut reader)?;
        Ok(Self::range(digest, size, file, 0))
    }

    /// The promised digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The promised size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file that holds it, if it has one of its own.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Stored(path) | Place::Edited(path) => Some(path),
            Place::Bytes(_) | Place::Range { .. } => None,
        }
    }

    /// The content, not verified.
    ///
    /// # Errors
    ///
    /// [`BlobError::Read`] when it cannot be opened, [`BlobError::Size`] when its
    /// file is of another size than promised.
    pub fn open(&self) -> Result<BlobReader, BlobError> {
        let inner = match &self.place {
            Place::Bytes(bytes) => {
                self.check_size(bytes.len() as u64)?;
                Inner::Bytes { bytes: Arc::clone(bytes), at: 0 }
            }
            Place::Stored(path) | Place::Edited(path) => Inner::File(self.open_file(path)?),
            Place::Range { file, offset } => Inner::Range(RangeReader {
                file: Arc::clone(file),
                offset: *offset,
                left: self.size,
            }),
        };
        Ok(BlobReader(inner))
    }

    /// All bytes, after they were checked.
    ///
    /// # Errors
    ///
    /// [`BlobError`]; [`BlobError::TooLarge`] without reading anything when the
    /// promised size is beyond `limit`.
    pub fn read_verified(&self, limit: u64) -> Result<Vec<u8>, BlobError> {
        if self.size > limit {
            return Err(BlobError::TooLarge { digest: self.digest, size: self.size, limit });
        }
        let mut bytes = Vec::new();
        self.copy_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Copies the content to `to` and checks it on the way: what was written must
    /// not be used unless this succeeds.
    ///
    /// # Errors
    ///
    /// [`BlobError`].
    pub fn copy_to(&self, to: &mut dyn Write) -> Result<(), BlobError> {
        let mut reader = self.open()?;
        let mut hasher = Hasher::new();
        let mut chunk = vec![0; CHUNK.min(usize::try_from(self.size).unwrap_or(CHUNK).max(1))];
        let mut copied = 0;
        loop {
            let length = match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(BlobError::Read { digest: self.digest, source }),
            };
            copied += length as u64;
            if copied > self.size {
                return Err(self.wrong_size(copied));
            }
            let piece = chunk.get(..length).unwrap_or_default();
            hasher.update(piece);
            to.write_all(piece)
                .map_err(|source| BlobError::Write { digest: self.digest, source })?;
        }
        self.check_size(copied)?;
        let found = hasher.finish();
        if found != self.digest {
            return Err(BlobError::Digest { expected: self.digest, found });
        }
        Ok(())
    }

    /// A file open for reading at offset 0 whose content was checked and cannot
    /// change any more: the file itself where it belongs to a store, else a sealed
    /// copy in memory.
    ///
    /// # Errors
    ///
    /// [`BlobError`].
    pub fn open_verified(&self) -> Result<File, BlobError> {
        if let Place::Stored(path) = &self.place {
            let mut file = self.open_file(path)?.into_parts().0;
            // Hash through this very descriptor.
            let same = file
                .try_clone()
                .map_err(|source| BlobError::Read { digest: self.digest, source })?;
            Self::range(self.digest, self.size, Arc::new(same), 0).copy_to(&mut io::sink())?;
            file.rewind().map_err(|source| BlobError::Read { digest: self.digest, source })?;
            return Ok(file);
        }
        let failed = |error: io::Error| BlobError::Write { digest: self.digest, source: error };
        let memory =
            rustix::fs::memfd_create("blob", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
                .map_err(|error| failed(error.into()))?;
        let mut file = File::from(memory);
        self.copy_to(&mut file)?;
        file.rewind().map_err(failed)?;
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )
        .map_err(|error| failed(error.into()))?;
        Ok(file)
    }

    /// The first bytes, at most `length`, not verified.
    ///
    /// # Errors
    ///
    /// [`BlobError`].
    pub fn peek(&self, length: usize) -> Result<Vec<u8>, BlobError> {
        let mut bytes = Vec::new();
        self.open()?
            .take(length as u64)
            .read_to_end(&mut bytes)
            .map_err(|source| BlobError::Read { digest: self.digest, source })?;
        Ok(bytes)
    }

    fn open_file(&self, path: &Path) -> Result<fs_err::File, BlobError> {
        let failed = |source| BlobError::Read { digest: self.digest, source };
        let file = fs_err::File::open(path).map_err(failed)?;
        self.check_size(file.metadata().map_err(failed)?.len())?;
        Ok(file)
    }

    fn check_size(&self, found: u64) -> Result<(), BlobError> {
        if found == self.size { Ok(()) } else { Err(self.wrong_size(found)) }
    }

    fn wrong_size(&self, found: u64) -> BlobError {
        BlobError::Size { digest: self.digest, expected: self.size, found }
    }
}

/// Reads a blob's content, not verified.
#[derive(Debug)]
pub struct BlobReader(Inner);

#[derive(Debug)]
enum Inner {
    Bytes { bytes: Arc<[u8]>, at: usize },
    File(fs_err::File),
    Range(RangeReader),
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Bytes { bytes, at } => {
                let mut rest = bytes.get(*at..).unwrap_or_default();
                let length = rest.read(buffer)?;
                *at += length;
                Ok(length)
            }
            Inner::File(file) => file.read(buffer),
            Inner::Range(range) => range.read(buffer),
        }
    }
}

/// Reads a part of a file without moving its offset.
#[derive(Debug)]
struct RangeReader {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most) else { return Ok(0) };
        let length = self.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

/// Reads everything, and tells its digest and size.
fn digest_of(reader: &mut dyn Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut size = 0;
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(length) => {
                size += length as u64;
                hasher.update(chunk.get(..length).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
