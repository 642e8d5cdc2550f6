//! Writing image layouts.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use app::{Digest, Hasher};
use tempfile::{NamedTempFile, TempDir};

use super::{LayoutError, REF_NAME, blob_path, read_limited};
use crate::blob::{Blob, BlobError};
use crate::media_type;
use crate::oci::{Descriptor, ImageIndex, ImageManifest};

/// What every layout says about itself.
const LAYOUT_VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes an image into a layout folder.
///
/// A new folder appears complete or not at all. In a folder that is a layout
/// already, blobs are added first and the index is replaced last, each at once, so
/// that a reader sees the old index or the new one.
#[derive(Debug)]
pub struct LayoutWriter {
    /// The layout that is wanted.
    target: PathBuf,
    /// Where it is being written: `target`, or a new folder beside it.
    place: PathBuf,
    staging: Option<TempDir>,
}

impl LayoutWriter {
    /// Starts to write into `target`: a layout, or a folder that does not exist or
    /// is empty.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] when `target` is anything else or cannot be written.
    pub fn create(target: &Path) -> Result<Self, LayoutError> {
        let failed = |source| io_error("write", target, source);
        if target.join("index.json").is_file() {
            return Self::at(target.to_owned(), target.to_owned(), None);
        }
        let is_occupied = match fs_err::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        if is_occupied {
            let reason = "the folder has other things in it";
            return Err(LayoutError::NotLayout { path: target.to_owned(), reason });
        }
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs_err::create_dir_all(parent).map_err(failed)?;
        let staging =
            tempfile::Builder::new().prefix(".incoming-").tempdir_in(parent).map_err(failed)?;
        Self::at(target.to_owned(), staging.path().to_owned(), Some(staging))
    }

    fn at(target: PathBuf, place: PathBuf, staging: Option<TempDir>) -> Result<Self, LayoutError> {
        let writer = Self { target, place, staging };
        let blobs = writer.place.join("blobs").join("sha256");
        fs_err::create_dir_all(blobs).map_err(|source| writer.failed(source))?;
        Ok(writer)
    }

    /// Whether the layout has this blob, complete as far as its size tells.
    pub fn has(&self, digest: Digest, size: u64) -> bool {
        fs_err::metadata(blob_path(&self.place, digest))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
    }

    /// Adds a blob unless it is there already; it is verified on the way.
    ///
    /// # Errors
    ///
    /// [`LayoutError`]; the layout is then without the blob.
    pub fn add(&self, blob: &Blob) -> Result<(), LayoutError> {
        if self.has(blob.digest(), blob.size()) {
            return Ok(());
        }
        let mut writer = self.blob(blob.digest(), blob.size())?;
        blob.copy_to(&mut writer)?;
        writer.finish()
    }

    /// Starts to add a blob piece by piece.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] when the layout cannot be written.
    pub fn blob(&self, digest: Digest, size: u64) -> Result<BlobWriter, LayoutError> {
        let path = blob_path(&self.place, digest);
        let file = self.temporary(path.parent().unwrap_or(&self.place))?;
        let target = self.target.clone();
        Ok(BlobWriter { file, path, digest, size, written: 0, hasher: Hasher::new(), target })
    }

    /// Adds the manifest `json` under the name `reference` in place of an image
    /// that has the name already, and makes the layout visible. Gives back the
    /// manifest's digest.
    ///
    /// # Errors
    ///
    /// [`LayoutError`], also when a blob that the manifest names is not there.
    pub fn finish(mut self, reference: Option<&str>, json: &[u8]) -> Result<Digest, LayoutError> {
        let manifest = ImageManifest::parse(json)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if !self.has(blob.digest, blob.size) {
                let path = self.target.clone();
                return Err(LayoutError::NoBlob { path, digest: blob.digest });
            }
        }
        let blob = Blob::from_bytes(json);
        self.add(&blob)?;
        let media_type = manifest.media_type.as_deref().unwrap_or(media_type::IMAGE_MANIFEST);
        let mut entry = Descriptor::new(media_type, blob.digest(), blob.size());
        entry.annotations =
            reference.map(|name| (REF_NAME.to_owned(), name.to_owned())).into_iter().collect();
        self.add_to_index(entry)?;
        self.replace("oci-layout", LAYOUT_VERSION.as_bytes())?;
        if let Some(staging) = self.staging.take() {
            self.publish(staging)?;
        }
        Ok(blob.digest())
    }

    fn add_to_index(&self, entry: Descriptor) -> Result<(), LayoutError> {
        let path = self.place.join("index.json");
        let mut index = if path.is_file() {
            ImageIndex::parse(&read_limited(&path).map_err(|source| self.failed(source))?)?
        } else {
            ImageIndex {
                schema_version: 2,
                media_type: Some(media_type::IMAGE_INDEX.to_owned()),
                manifests: Vec::new(),
                annotations: BTreeMap::new(),
            }
        };
        let name = entry.annotations.get(REF_NAME);
        index.manifests.retain(|other| match name {
            Some(_) => other.annotations.get(REF_NAME) != name,
            None => other.digest != entry.digest,
        });
        index.manifests.push(entry);
        let json = serde_json::to_vec(&index).map_err(|error| self.failed(error.into()))?;
        self.replace("index.json", &json)
    }

    /// Replaces a file at once.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        let mut file = self.temporary(&self.place)?;
        let path = self.place.join(name);
        file.write_all(content)
            .and_then(|()| persist(file, &path))
            .map_err(|source| self.failed(source))
    }

    /// Moves the new folder to its place.
    fn publish(&self, staging: TempDir) -> Result<(), LayoutError> {
        let failed = |source| self.failed(source);
        for folder in [self.place.join("blobs/sha256"), self.place.join("blobs")] {
            sync(&folder).map_err(failed)?;
        }
        sync(&self.place).map_err(failed)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(&self.place, mode).map_err(failed)?;
        // Succeeds only over an empty folder.
        fs_err::rename(&self.place, &self.target).map_err(failed)?;
        // It is no longer there under its temporary name.
        let _ = staging.keep();
        sync(self.target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
            .map_err(failed)
    }

    fn temporary(&self, folder: &Path) -> Result<NamedTempFile, LayoutError> {
        tempfile::Builder::new()
            .prefix(".incoming-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> LayoutError {
        io_error("write", &self.target, source)
    }
}

/// Adds one blob to a layout, piece by piece. Dropping it adds nothing.
#[derive(Debug)]
pub struct BlobWriter {
    file: NamedTempFile,
    path: PathBuf,
    digest: Digest,
    size: u64,
    written: u64,
    hasher: Hasher,
    target: PathBuf,
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.written + buffer.len() as u64 > self.size {
            return Err(io::Error::other(format!(
                "blob {} is longer than the {} bytes promised",
                self.digest, self.size
            )));
        }
        let length = self.file.write(buffer)?;
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        self.written += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobWriter {
    /// Checks what was written and adds it to the layout.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Blob`] when it is not what was promised.
    pub fn finish(self) -> Result<(), LayoutError> {
        let Self { digest, size, written, .. } = self;
        if written != size {
            return Err(BlobError::Size { digest, expected: size, found: written }.into());
        }
        let found = self.hasher.finish();
        if found != digest {
            return Err(BlobError::Digest { expected: digest, found }.into());
        }
        persist(self.file, &self.path).map_err(|source| io_error("write", &self.target, source))
    }
}

/// Brings a temporary file to the disk and gives it its name.
fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    fs_err::File::open(folder)?.sync_all()
}

fn io_error(attempt: &'static str, path: &Path, source: io::Error) -> LayoutError {
    LayoutError::Io { attempt, path: path.to_owned(), source }
}
