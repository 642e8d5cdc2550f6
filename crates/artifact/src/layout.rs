//! OCI image layouts: a folder, or a tar file of one.

mod tar_index;
mod write;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use app::Digest;

use crate::assemble::{BlobSource, BoxError, Image};
use crate::blob::{Blob, BlobError};
use crate::oci::{Descriptor, ImageIndex, ImageManifest, ManifestError};
use crate::pack::Packed;
use crate::{limits, media_type};

pub use write::{BlobWriter, LayoutWriter};

/// The annotation that carries a reference.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that carries a full reference in layouts that containerd wrote.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file cannot be read or written.
    #[error("cannot {attempt} the image layout {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The layout.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It is no layout.
    #[error("{} is not an OCI image layout: {reason}", path.display())]
    NotLayout {
        /// The folder or file.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
    },
    /// An image document is broken.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A blob is missing or damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A blob is missing.
    #[error("the image layout {} has no blob {digest}", path.display())]
    NoBlob {
        /// The layout.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// It has no image of that name, or no single one.
    #[error(
        "the image layout {} has {what}; it has: {}",
        path.display(),
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    )]
    Choice {
        /// The layout.
        path: PathBuf,
        /// What is the matter.
        what: String,
        /// The images it has.
        names: Vec<String>,
    },
}

/// An OCI image layout, open for reading.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    index: ImageIndex,
    store: Store,
}

/// Where the blobs of a layout are.
#[derive(Debug)]
enum Store {
    Folder,
    Tar { file: Arc<File>, blobs: tar_index::Blobs },
}

impl Layout {
    /// Opens a layout: a folder with an `index.json`, or an uncompressed tar file
    /// of one.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] when it is neither.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let failed = |source| LayoutError::Io { attempt: "read", path: path.to_owned(), source };
        if !fs_err::metadata(path).map_err(failed)?.is_dir() {
            let file = Arc::new(fs_err::File::open(path).map_err(failed)?.into_parts().0);
            let contents = tar_index::read(&file, path)?;
            return Ok(Self {
                path: path.to_owned(),
                index: ImageIndex::parse(&contents.index)?,
                store: Store::Tar { file, blobs: contents.blobs },
            });
        }
        let index = path.join("index.json");
        if !index.exists() {
            let reason = "it has no index.json";
            return Err(LayoutError::NotLayout { path: path.to_owned(), reason });
        }
        let index = read_limited(&index).map_err(failed)?;
        Ok(Self { path: path.to_owned(), index: ImageIndex::parse(&index)?, store: Store::Folder })
    }

    /// Whether `path` looks like a layout, without reading more than it takes.
    pub fn is_layout(path: &Path) -> bool {
        path.join("index.json").is_file() || path.extension().is_some_and(|e| e == "tar")
    }

    /// The references of its images; images without one are shown by digest.
    pub fn names(&self) -> Vec<String> {
        self.index
            .manifests
            .iter()
            .map(|entry| name(entry).map_or_else(|| entry.digest.to_string(), str::to_owned))
            .collect()
    }

    /// The image called `reference`: a name in the index, or a digest. Without a
    /// reference, the only image. Of an image for several platforms, the Wasm one.
    ///
    /// # Errors
    ///
    /// [`LayoutError`]; [`LayoutError::Choice`] names the images there are.
    pub fn image(&self, reference: Option<&str>) -> Result<Image, LayoutError> {
        let entry = self.choose(reference)?.clone();
        let (descriptor, manifest) = self.manifest(&entry, 0)?;
        Ok(Image {
            reference: reference.or_else(|| name(&entry)).map(str::to_owned),
            digest: descriptor.digest,
            manifest,
        })
    }

    /// An image as it is, chosen as in [`Layout::image`], ready to be pushed
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// [`LayoutError`], also when a blob is missing.
    pub fn packed(&self, reference: Option<&str>) -> Result<Packed, LayoutError> {
        let entry = self.choose(reference)?.clone();
        let (descriptor, manifest) = self.manifest(&entry, 0)?;
        let mut blobs: Vec<(Descriptor, Blob)> = Vec::with_capacity(manifest.layers.len() + 1);
        let mut seen = BTreeSet::new();
        for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if seen.insert(descriptor.digest) {
                blobs.push((descriptor.clone(), self.find(descriptor)?));
            }
        }
        Ok(Packed { manifest_json: self.find(&descriptor)?, manifest, blobs })
    }

    fn choose(&self, reference: Option<&str>) -> Result<&Descriptor, LayoutError> {
        let entries = &self.index.manifests;
        let choice = |what: String| LayoutError::Choice {
            path: self.path.clone(),
            what,
            names: self.names(),
        };
        let Some(reference) = reference else {
            return match entries.as_slice() {
                [entry] => Ok(entry),
                [] => Err(choice("no image".to_owned())),
                _ => Err(choice("several images, name one of them".to_owned())),
            };
        };
        entries
            .iter()
            .find(|entry| {
                let named = |key| entry.annotations.get(key).is_some_and(|name| name == reference);
                named(REF_NAME) || named(IMAGE_NAME) || entry.digest.to_string() == reference
            })
            .ok_or_else(|| choice(format!("no image {reference:?}")))
    }

    /// The manifest behind a descriptor, through indexes.
    fn manifest(
        &self,
        entry: &Descriptor,
        depth: usize,
    ) -> Result<(Descriptor, ImageManifest), LayoutError> {
        let json = self.find(entry)?.read_verified(limits::MANIFEST_BYTES)?;
        if !media_type::is_index(&entry.media_type) {
            return Ok((entry.clone(), ImageManifest::parse(&json)?));
        }
        let index = ImageIndex::parse(&json)?;
        let is_wasm = |entry: &&Descriptor| {
            entry.platform.as_ref().is_some_and(|platform| platform.architecture == "wasm")
        };
        let next = match index.manifests.as_slice() {
            [only] => Some(only),
            several => several.iter().find(is_wasm),
        };
        match next {
            Some(next) if depth < limits::INDEX_DEPTH => self.manifest(next, depth + 1),
            _ => Err(LayoutError::Choice {
                path: self.path.clone(),
                what: format!("no Wasm image in the index {}", entry.digest),
                names: index.manifests.iter().map(|entry| entry.digest.to_string()).collect(),
            }),
        }
    }

    fn find(&self, descriptor: &Descriptor) -> Result<Blob, LayoutError> {
        let Descriptor { digest, size, .. } = *descriptor;
        let found = match &self.store {
            Store::Folder => {
                let path = blob_path(&self.path, digest);
                path.exists().then(|| Blob::stored(digest, size, path))
            }
            Store::Tar { file, blobs } => blobs
                .get(&digest)
                .map(|range| (range, Arc::clone(file)))
                .map(|(range, file)| {
                    if range.size == size {
                        Ok(Blob::range(digest, size, file, range.offset))
                    } else {
                        Err(BlobError::Size { digest, expected: size, found: range.size })
                    }
                })
                .transpose()?,
        };
        found.ok_or_else(|| LayoutError::NoBlob { path: self.path.clone(), digest })
    }
}

impl BlobSource for Layout {
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, BoxError> {
        Ok(self.find(descriptor)?)
    }
}

/// Where a layout keeps a blob.
fn blob_path(layout: &Path, digest: Digest) -> PathBuf {
    layout.join("blobs").join("sha256").join(digest.to_hex())
}

fn name(entry: &Descriptor) -> Option<&str> {
    entry
        .annotations
        .get(IMAGE_NAME)
        .or_else(|| entry.annotations.get(REF_NAME))
        .map(String::as_str)
}

/// Reads a document that must not exceed the size of a manifest.
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;

    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(limits::MANIFEST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
