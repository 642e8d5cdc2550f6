//! Pulling an app into a folder in the form of an OCI image layout.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use app::Digest;
use artifact::layout::{BlobWriter, LayoutError, LayoutWriter};
use artifact::{Blob, BlobError, Descriptor, ImageIndex, ImageManifest, limits, media_type};
use futures::{StreamExt, TryStreamExt};
use oci_client::client::{BlobResponse, LayerDescriptor, SizedStream};
use oci_client::errors::DigestError;
use oci_client::{Reference, RegistryOperation};

use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::progress::{Event, Observer};
use crate::session::Session;
use crate::{MAX_MANIFEST_BYTES, PARALLEL_TRANSFERS, Registry};

/// Of images that have nothing for Spin.
const NO_APP: &str = "it is an ordinary container image, not a Spin app; push one with \
                      `spinlet push` (or `spin registry push`) and name that";

const MANIFEST_TYPES: &[&str] = &[
    media_type::IMAGE_MANIFEST,
    media_type::IMAGE_INDEX,
    media_type::DOCKER_MANIFEST,
    media_type::DOCKER_INDEX,
];

/// An app that is now in a folder.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image manifest: its type, digest and size.
    pub descriptor: Descriptor,
    /// The manifest itself.
    pub manifest: ImageManifest,
    /// The registry or mirror that served it.
    pub registry: String,
    /// Bytes of blobs that were transferred; the rest was there already.
    pub transferred: u64,
}

impl Registry {
    /// Pulls an app into `layout` under the name of its reference: an OCI image
    /// layout, or a folder that does not exist or is empty and becomes one.
    ///
    /// Mirrors are asked first. Blobs that the layout holds already are verified
    /// and used. A new folder appears complete or not at all; in a layout, what was
    /// transferred whole before a failure stays and is used next time.
    ///
    /// # Errors
    /// [`RegistryError`] names the reference, the registry, the blob and what to do.
    pub async fn pull(
        &self,
        reference: &Reference,
        layout: &Path,
        observer: &dyn Fn(Event<'_>),
    ) -> Result<Pulled, RegistryError> {
        self.ask_each(reference, observer, async |endpoint| {
            self.pull_from(endpoint, reference, layout, observer).await
        })
        .await
    }

    /// Asks the mirrors one after the other, and the registry itself last.
    pub(crate) async fn ask_each<T>(
        &self,
        reference: &Reference,
        observer: Observer<'_>,
        ask: impl AsyncFn(Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        for mirror in Endpoint::mirrors(reference, &self.options) {
            match ask(mirror).await {
                Err(error) => observer(Event::MirrorFailed { error: &error }),
                Ok(value) => return Ok(value),
            }
        }
        ask(Endpoint::origin(reference, &self.options)).await
    }

    async fn pull_from(
        &self,
        endpoint: Endpoint,
        wanted: &Reference,
        layout: &Path,
        observer: Observer<'_>,
    ) -> Result<Pulled, RegistryError> {
        let session =
            Session::open(&self.options, wanted, endpoint, RegistryOperation::Pull, observer)
                .await?;
        let (bytes, descriptor) = session.image_manifest(observer).await?;
        let manifest = session.check_manifest(&bytes)?;
        let blobs = distinct(&manifest);
        observer(Event::Planned {
            blobs: blobs.len(),
            bytes: blobs.iter().map(|blob| blob.size).sum(),
        });
        let target = Target { writer: LayoutWriter::create(layout)?, path: layout };
        let transferred: Vec<u64> = futures::stream::iter(&blobs)
            .map(|blob| session.fetch(blob, &target, observer))
            .buffer_unordered(PARALLEL_TRANSFERS)
            .try_collect()
            .await?;
        target.writer.finish(Some(&wanted.whole()), &bytes)?;
        Ok(Pulled {
            descriptor,
            manifest,
            registry: session.context.registry,
            transferred: transferred.iter().sum(),
        })
    }
}

/// The configuration and the layers, each digest once.
fn distinct(manifest: &ImageManifest) -> Vec<Descriptor> {
    let mut seen = BTreeSet::new();
    std::iter::once(&manifest.config)
        .chain(&manifest.layers)
        .filter(|blob| seen.insert(blob.digest))
        .cloned()
        .collect()
}

impl Session {
    /// The image manifest, through indexes if there are some.
    pub(crate) async fn image_manifest(
        &self,
        observer: Observer<'_>,
    ) -> Result<(Vec<u8>, Descriptor), RegistryError> {
        let mut reference = self.endpoint.reference.clone();
        for _ in 0..=limits::INDEX_DEPTH {
            let bytes = self.document(&reference, observer).await?;
            let head: Head = serde_json::from_slice(&bytes)
                .map_err(|error| self.unusable(&format!("it is not valid JSON: {error}")))?;
            if !head.is_index() {
                let kind = head.media_type.as_deref().unwrap_or(media_type::IMAGE_MANIFEST);
                let descriptor = Descriptor::new(kind, Digest::of(&bytes), bytes.len() as u64);
                return Ok((bytes, descriptor));
            }
            let index =
                ImageIndex::parse(&bytes).map_err(|error| self.unusable(&error.to_string()))?;
            let chosen = choose(&index).map_err(|reason| self.unusable(&reason))?;
            reference = reference.clone_with_digest(chosen.to_string());
        }
        Err(self.unusable("its indexes refer to one another too deeply"))
    }

    /// One verified manifest or index.
    async fn document(
        &self,
        reference: &Reference,
        observer: Observer<'_>,
    ) -> Result<Vec<u8>, RegistryError> {
        let (bytes, _) = self
            .repeat(observer, async || {
                let answer =
                    self.client.pull_manifest_raw(reference, &self.auth, MANIFEST_TYPES).await;
                answer.map_err(|error| self.context.failure(error))
            })
            .await?;
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(self.unusable(&format!(
                "it has {} bytes, more than the {MAX_MANIFEST_BYTES} allowed",
                bytes.len()
            )));
        }
        if let Some(expected) = reference.digest() {
            let actual = Digest::of(&bytes).to_string();
            if actual != expected {
                return Err(RegistryError::ManifestDigest {
                    registry: self.context.registry.clone(),
                    reference: self.context.reference.clone(),
                    actual,
                });
            }
        }
        Ok(bytes.to_vec())
    }

    /// Reads the manifest and refuses what is no app before any layer is fetched.
    pub(crate) fn check_manifest(&self, bytes: &[u8]) -> Result<ImageManifest, RegistryError> {
        let manifest =
            ImageManifest::parse(bytes).map_err(|error| self.unusable(&error.to_string()))?;
        let is_app = manifest.config.media_type == media_type::SPIN_APP
            || manifest.layers.iter().any(|layer| {
                layer.media_type == media_type::SPIN_APP || media_type::is_wasm(&layer.media_type)
            });
        if !is_app {
            return Err(self.unusable(NO_APP));
        }
        let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
        if let Some(blob) = blobs.into_iter().find(|blob| blob.size > limits::ARCHIVE_BYTES) {
            return Err(self.unusable(&format!(
                "blob {} has {} bytes, more than the {} allowed",
                blob.digest,
                blob.size,
                limits::ARCHIVE_BYTES
            )));
        }
        Ok(manifest)
    }

    pub(crate) fn unusable(&self, reason: &str) -> RegistryError {
        RegistryError::Manifest {
            reference: self.context.reference.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Makes sure that a blob is in the layout; tells how many bytes came over
    /// the network for it.
    async fn fetch(
        &self,
        blob: &Descriptor,
        target: &Target<'_>,
        observer: Observer<'_>,
    ) -> Result<u64, RegistryError> {
        if target.holds(blob).await {
            observer(Event::Present { digest: blob.digest, size: blob.size });
            return Ok(0);
        }
        let writer = target.writer.blob(blob.digest, blob.size)?;
        let mut download = Download { session: self, target, blob, writer, position: 0 };
        self.repeat(observer, async || download.attempt(observer).await).await?;
        download.finish().await
    }
}

/// The layout that is pulled into.
struct Target<'a> {
    writer: LayoutWriter,
    path: &'a Path,
}

impl Target<'_> {
    /// Whether a blob from an earlier pull is there and still whole.
    async fn holds(&self, blob: &Descriptor) -> bool {
        if !self.writer.has(blob.digest, blob.size) {
            return false;
        }
        let path = self.path.join("blobs/sha256").join(blob.digest.to_hex());
        let stored = Blob::stored(blob.digest, blob.size, path);
        tokio::task::spawn_blocking(move || stored.copy_to(&mut io::sink()).is_ok())
            .await
            .unwrap_or(false)
    }
}

/// The fields that tell an index from a manifest.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    media_type: Option<String>,
    manifests: Option<serde_json::Value>,
    layers: Option<serde_json::Value>,
}

impl Head {
    fn is_index(&self) -> bool {
        match &self.media_type {
            Some(kind) => media_type::is_index(kind),
            None => self.manifests.is_some() && self.layers.is_none(),
        }
    }
}

/// The entry of an index that is the app.
fn choose(index: &ImageIndex) -> Result<Digest, String> {
    let platform = |entry: &Descriptor| entry.platform.clone().unwrap_or_default();
    let is_wasm = |entry: &&Descriptor| {
        let platform = platform(entry);
        platform.architecture.starts_with("wasm")
            || platform.os.to_ascii_lowercase().starts_with("wasi")
    };
    if let Some(entry) = index.manifests.iter().find(is_wasm) {
        return Ok(entry.digest);
    }
    // Build tools add attestations as manifests of an unknown platform.
    let real: Vec<_> =
        index.manifests.iter().filter(|entry| platform(entry).os != "unknown").collect();
    match real.as_slice() {
        [entry] => Ok(entry.digest),
        [] => Err("it is an index without a manifest".to_owned()),
        entries => {
            let platforms: Vec<_> = entries
                .iter()
                .map(|entry| platform(entry))
                .map(|platform| format!("{}/{}", platform.os, platform.architecture))
                .collect();
            Err(format!(
                "it is an image for {} with none for Wasm; push the app under a reference of its \
                 own with `spinlet push` (or `spin registry push`) and name that",
                platforms.join(", ")
            ))
        }
    }
}

/// The transfer of one blob, which goes on where it broke off.
struct Download<'a> {
    session: &'a Session,
    target: &'a Target<'a>,
    blob: &'a Descriptor,
    writer: BlobWriter,
    position: u64,
}

impl Download<'_> {
    async fn attempt(&mut self, observer: Observer<'_>) -> Result<(), RegistryError> {
        let stream = self.open().await?;
        self.write(stream, observer).await?;
        if self.position < self.blob.size {
            let context = &self.session.context;
            return Err(RegistryError::BlobTruncated {
                registry: context.registry.clone(),
                reference: context.reference.clone(),
                digest: self.blob.digest.to_string(),
                expected: self.blob.size,
                actual: self.position,
            });
        }
        Ok(())
    }

    /// Asks for the blob from the present position on.
    async fn open(&mut self) -> Result<SizedStream, RegistryError> {
        let digest = self.blob.digest.to_string();
        let layer = LayerDescriptor { digest: &digest, urls: &None };
        let (client, reference) = (&self.session.client, &self.session.endpoint.reference);
        let failed = |error| self.session.context.blob_failure(&digest, error);
        if self.position == 0 {
            return client.pull_blob_stream(reference, &layer).await.map_err(failed);
        }
        let answer = client.pull_blob_stream_partial(reference, &layer, self.position, None).await;
        match answer.map_err(failed)? {
            BlobResponse::Partial(stream) => Ok(stream),
            BlobResponse::Full(stream) => {
                self.writer = self.target.writer.blob(self.blob.digest, self.blob.size)?;
                self.position = 0;
                Ok(stream)
            }
        }
    }

    async fn write(
        &mut self,
        mut stream: SizedStream,
        observer: Observer<'_>,
    ) -> Result<(), RegistryError> {
        let (digest, size) = (self.blob.digest, self.blob.size);
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                // The client library compares digests itself at the end of the
                // stream; our own checks then tell more.
                Err(error) if is_mismatch(&error) => break,
                Err(error) => return Err(self.session.context.broken(&error)),
            };
            if self.position + chunk.len() as u64 > size {
                return Err(self.corrupt(format!("it is larger than {size} bytes")));
            }
            self.writer.write_all(&chunk).map_err(|source| LayoutError::Io {
                attempt: "write",
                path: self.target.path.to_owned(),
                source,
            })?;
            self.position += chunk.len() as u64;
            observer(Event::Moved { digest, position: self.position, size });
        }
        Ok(())
    }

    /// Verifies the content and gives it its name in the layout.
    async fn finish(self) -> Result<u64, RegistryError> {
        let Self { session, target, blob, writer, position } = self;
        // Brings the content to the disk, which may take its time.
        match tokio::task::spawn_blocking(move || writer.finish()).await {
            Ok(Ok(())) => Ok(position),
            Ok(Err(LayoutError::Blob(BlobError::Digest { found, .. }))) => {
                Err(corrupt(session, blob, format!("its digest is {found}")))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(LayoutError::Io {
                attempt: "write",
                path: target.path.to_owned(),
                source: io::Error::other("interrupted"),
            }
            .into()),
        }
    }

    fn corrupt(&self, reason: String) -> RegistryError {
        corrupt(self.session, self.blob, reason)
    }
}

fn is_mismatch(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<DigestError>()).is_some()
}

fn corrupt(session: &Session, blob: &Descriptor, reason: String) -> RegistryError {
    RegistryError::BlobCorrupt {
        registry: session.context.registry.clone(),
        reference: session.context.reference.clone(),
        digest: blob.digest.to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests;
