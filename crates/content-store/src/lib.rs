//! Read Spin artifacts from containerd's content store: that of a container, or those of
//! images as they come.
//!
//! containerd is asked over its gRPC socket which image a container was made of
//! and what that image refers to. The blobs themselves are read straight from the
//! content store's files where those can be read, which copies nothing; otherwise
//! over gRPC into memory.
//!
//! Every blob is checked against its digest before it is used, by the `artifact`
//! crate. Nothing is ever written to containerd.

mod client;
mod images;
mod wire;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use app::Digest;
use artifact::{
    Artifact, ArtifactError, Blob, BlobError, BlobSource, BoxError, Descriptor, Image, ImageIndex,
    ImageManifest, ManifestError, Platform, assemble, limits, media_type,
};
use rustix::fs::MemfdFlags;
use tonic::Status;

use client::Client;

pub use images::{Images, Pulled};

/// Why a container's artifact cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentStoreError {
    /// The namespace cannot be put into a header.
    #[error("{0:?} is not the name of a containerd namespace")]
    Namespace(String),
    /// Nobody answers at the socket.
    #[error("cannot connect to containerd at {}", address.display())]
    Connect {
        /// Path of the socket.
        address: PathBuf,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// containerd does not know the container.
    #[error("cannot ask containerd for container {container}")]
    Container {
        /// Its id.
        container: String,
        /// What containerd says.
        #[source]
        source: Status,
    },
    /// containerd no longer has the image.
    #[error("containerd no longer has image {image}; pull it again")]
    ImageGone {
        /// Its name.
        image: String,
    },
    /// containerd does not tell about the image.
    #[error("cannot ask containerd for image {image}")]
    Image {
        /// Its name.
        image: String,
        /// What containerd says.
        #[source]
        source: Status,
    },
    /// containerd does not tell which images it has, or which ones come.
    #[error("cannot ask containerd for its images")]
    Images(#[source] Status),
    /// The image refers to something that is no blob.
    #[error("image {image} refers to {digest:?}, which is not the digest of a blob")]
    Target {
        /// Its name.
        image: String,
        /// What it refers to.
        digest: String,
    },
    /// A blob cannot be read over gRPC.
    #[error("cannot read blob {digest} from containerd")]
    Read {
        /// Its digest.
        digest: Digest,
        /// What containerd says.
        #[source]
        source: Status,
    },
    /// A blob cannot be kept in memory.
    #[error("cannot keep blob {digest} in memory")]
    Keep {
        /// Its digest.
        digest: Digest,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An image document is broken.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A blob is missing or damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// An index has an image for nobody here.
    #[error(
        "image {image} is for {platforms}, neither for Wasm nor for this machine ({}); push the app \
         with `spinlet push` or `spin registry push` and name that",
        here()
    )]
    Platform {
        /// Its name.
        image: String,
        /// The platforms that it has.
        platforms: String,
    },
    /// Indexes refer to one another too often.
    #[error("image {image} has indexes within indexes, more than {} deep", limits::INDEX_DEPTH)]
    Nested {
        /// Its name.
        image: String,
    },
    /// The artifact is broken.
    #[error("image {image} cannot be used")]
    Artifact {
        /// Its name.
        image: String,
        /// Why.
        #[source]
        source: ArtifactError,
    },
}

/// Where a container's artifact is.
#[derive(Debug, Clone, Copy)]
pub struct Location<'a> {
    /// Path of containerd's gRPC socket.
    pub address: &'a Path,
    /// containerd namespace.
    pub namespace: &'a str,
    /// Container id.
    pub container: &'a str,
    /// containerd's root directory. Without one, containerd is asked.
    pub root: Option<&'a Path>,
}

/// Reads the artifact that a container was made of.
///
/// `Ok(None)` means that its image is an ordinary one, or that it has none; its
/// root filesystem may still have a `/spin.toml`. Of an image for several
/// platforms, the one for Wasm is taken, or else the one for this machine.
///
/// # Errors
/// containerd cannot be reached, no longer has the image or a blob of it, or the
/// image is a Spin artifact that cannot be used.
pub async fn artifact_of(location: Location<'_>) -> Result<Option<Artifact>, ContentStoreError> {
    let mut client = Client::connect(location.address, location.namespace).await?;
    let name = client.image_of(location.container).await?;
    if name.is_empty() {
        return Ok(None);
    }
    let target = client.target_of(&name).await?;
    let folder = match location.root {
        Some(root) => Some(root.join("io.containerd.content.v1.content")),
        None => client.content_folder().await,
    };
    Store::new(client, folder).artifact(name, target).await
}

/// The content store, by its files or over gRPC.
struct Store {
    client: Client,
    files: Option<PathBuf>,
}

impl Store {
    /// A store whose files are in `folder`, if they can be read.
    fn new(client: Client, folder: Option<PathBuf>) -> Self {
        Self { client, files: folder.map(|folder| folder.join("blobs/sha256")) }
    }

    /// The artifact that the image `name` is; none for an ordinary image.
    async fn artifact(
        mut self,
        name: String,
        target: Descriptor,
    ) -> Result<Option<Artifact>, ContentStoreError> {
        let image = self.image(&name, target).await?;
        let blobs = self.blobs_of(&image.manifest).await?;
        assemble(&image, &blobs)
            .map_err(|source| ContentStoreError::Artifact { image: name, source })
    }

    /// Follows indexes to a manifest.
    async fn image(&mut self, name: &str, target: Descriptor) -> Result<Image, ContentStoreError> {
        let mut descriptor = target;
        for _ in 0..limits::INDEX_DEPTH {
            let document = self.document(&descriptor).await?;
            if !media_type::is_index(&descriptor.media_type) {
                return Ok(Image {
                    reference: Some(name.to_owned()),
                    digest: descriptor.digest,
                    manifest: ImageManifest::parse(&document)?,
                });
            }
            let index = ImageIndex::parse(&document)?;
            descriptor = choose(&index).cloned().ok_or_else(|| ContentStoreError::Platform {
                image: name.to_owned(),
                platforms: platforms(&index),
            })?;
        }
        Err(ContentStoreError::Nested { image: name.to_owned() })
    }

    async fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ContentStoreError> {
        let blob = match self.file(descriptor) {
            Some(blob) => blob,
            None => self.fetch(descriptor).await?,
        };
        Ok(blob.read_verified(limits::MANIFEST_BYTES)?)
    }

    /// The blob as a file of the store, if that can be read by this process.
    fn file(&self, descriptor: &Descriptor) -> Option<Blob> {
        let path = self.files.as_ref()?.join(descriptor.digest.to_hex());
        File::options().read(true).open(&path).ok()?;
        Some(Blob::stored(descriptor.digest, descriptor.size, path))
    }

    /// Reads a blob over gRPC into memory that has no other name.
    async fn fetch(&mut self, descriptor: &Descriptor) -> Result<Blob, ContentStoreError> {
        let digest = descriptor.digest;
        let memory = rustix::fs::memfd_create("blob", MemfdFlags::CLOEXEC)
            .map_err(|errno| ContentStoreError::Keep { digest, source: errno.into() })?;
        let mut file = File::from(memory);
        self.client.read(descriptor, |piece| file.write_all(piece)).await?;
        Ok(Blob::range(digest, descriptor.size, Arc::new(file), 0))
    }

    /// Everything that an artifact with this manifest may need.
    async fn blobs_of(&mut self, manifest: &ImageManifest) -> Result<Blobs, ContentStoreError> {
        let mut blobs = BTreeMap::new();
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            if blobs.contains_key(&descriptor.digest) || !is_wanted(descriptor) {
                continue;
            }
            let blob = match self.file(descriptor) {
                Some(blob) => blob,
                None => self.fetch(descriptor).await?,
            };
            blobs.insert(descriptor.digest, blob);
        }
        Ok(Blobs(blobs))
    }
}

/// Whether an artifact may need a blob, and may be as large: an ordinary image's
/// layers are never read.
fn is_wanted(descriptor: &Descriptor) -> bool {
    let limit = match descriptor.media_type.as_str() {
        media_type::SPIN_APP => limits::LOCKED_APP_BYTES,
        media_type::DATA_LAYER => limits::FILE_BYTES,
        media_type::ARCHIVE_LAYER => limits::ARCHIVE_BYTES,
        media_type::IMAGE_CONFIG | media_type::WASM_PACKAGE_CONFIG => limits::CONFIG_BYTES,
        other if media_type::is_wasm(other) => limits::WASM_BYTES,
        _ => return false,
    };
    descriptor.size <= limit
}

struct Blobs(BTreeMap<Digest, Blob>);

impl BlobSource for Blobs {
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, BoxError> {
        self.0.get(&descriptor.digest).cloned().ok_or_else(|| {
            let (digest, size) = (descriptor.digest, descriptor.size);
            format!("blob {digest} of {size} bytes is not one that is read from containerd").into()
        })
    }
}

/// The manifest for Wasm, or for this machine, or the only one.
fn choose(index: &ImageIndex) -> Option<&Descriptor> {
    let find = |wanted: fn(&Platform) -> bool| {
        let mut all = index.manifests.iter();
        all.find(|manifest| manifest.platform.as_ref().is_some_and(wanted))
    };
    let only = || match index.manifests.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    find(|platform| platform.architecture == "wasm")
        .or_else(|| find(|platform| platform.os == "linux" && is_native(&platform.architecture)))
        .or_else(only)
}

/// The platforms of an index, for a person.
fn platforms(index: &ImageIndex) -> String {
    let platforms = index.manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
    let shown: Vec<String> =
        platforms.map(|platform| format!("{}/{}", platform.os, platform.architecture)).collect();
    if shown.is_empty() { "no platform".to_owned() } else { shown.join(", ") }
}

/// Whether an architecture's OCI name is that of this machine.
fn is_native(name: &str) -> bool {
    name == architecture()
}

/// The OCI name of this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// This machine's platform.
fn here() -> String {
    format!("linux/{}", architecture())
}

#[cfg(test)]
mod tests;
