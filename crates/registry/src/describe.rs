//! Reading what an image is without pulling its layers.

use std::collections::BTreeMap;

use app::{Digest, LockedApp};
use artifact::{Blob, BlobSource, BoxError, Descriptor, Image, limits, media_type, read_app};
use futures::StreamExt;
use oci_client::client::LayerDescriptor;
use oci_client::{Reference, RegistryOperation};

use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::progress::{Event, Observer};
use crate::session::Session;
use crate::{MAX_MANIFEST_BYTES, Registry};

/// An app as its registry describes it.
#[derive(Debug, Clone)]
pub struct Described {
    /// The image: its digest and manifest.
    pub image: Image,
    /// The app in it.
    pub app: LockedApp,
}

impl Registry {
    /// Reads the manifest and the locked app of an image, and nothing else of it.
    ///
    /// # Errors
    /// [`RegistryError`] as for [`Registry::pull`].
    pub async fn describe(
        &self,
        reference: &Reference,
        observer: &dyn Fn(Event<'_>),
    ) -> Result<Described, RegistryError> {
        self.ask_each(reference, observer, async |endpoint| {
            self.describe_from(endpoint, reference, observer).await
        })
        .await
    }

    async fn describe_from(
        &self,
        endpoint: Endpoint,
        wanted: &Reference,
        observer: Observer<'_>,
    ) -> Result<Described, RegistryError> {
        let pull = RegistryOperation::Pull;
        let session = Session::open(&self.options, wanted, endpoint, pull, observer).await?;
        let (bytes, descriptor) = session.image_manifest(observer).await?;
        let manifest = session.check_manifest(&bytes)?;
        let mut documents = Documents::default();
        let config = std::iter::once(&manifest.config).filter(|config| config.size <= MAX_CONFIG);
        let locked =
            manifest.layers.iter().filter(|layer| layer.media_type == media_type::SPIN_APP);
        for blob in config.chain(locked.rev().take(1)) {
            let content = session.small_blob(blob, observer).await?;
            documents.0.insert(blob.digest, content);
        }
        let image = Image { reference: Some(wanted.whole()), digest: descriptor.digest, manifest };
        let app = read_app(&image, &documents)
            .map_err(|error| session.unusable(&chain(&error)))?
            .ok_or_else(|| session.unusable("it is not a Spin app"))?;
        Ok(Described { image, app })
    }
}

/// The locked app of Spin 1.x is the configuration.
const MAX_CONFIG: u64 = limits::LOCKED_APP_BYTES;

impl Session {
    /// A blob that is small enough for memory.
    async fn small_blob(
        &self,
        blob: &Descriptor,
        observer: Observer<'_>,
    ) -> Result<Blob, RegistryError> {
        if blob.size > limits::LOCKED_APP_BYTES {
            return Err(self.unusable(&format!(
                "blob {} has {} bytes, more than the {} allowed",
                blob.digest,
                blob.size,
                limits::LOCKED_APP_BYTES
            )));
        }
        self.repeat(observer, async || self.fetch_small(blob).await).await
    }

    async fn fetch_small(&self, blob: &Descriptor) -> Result<Blob, RegistryError> {
        let digest = blob.digest.to_string();
        let layer = LayerDescriptor { digest: &digest, urls: &None };
        let stream = self.client.pull_blob_stream(&self.endpoint.reference, &layer).await;
        let mut stream = stream.map_err(|error| self.context.blob_failure(&digest, error))?;
        let mut bytes = Vec::with_capacity(MAX_MANIFEST_BYTES.min(blob.size as usize));
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.context.broken(&error))?);
            if bytes.len() as u64 > blob.size {
                break;
            }
        }
        let found = Digest::of(&bytes);
        if found == blob.digest && bytes.len() as u64 == blob.size {
            return Ok(Blob::promised_bytes(blob.digest, blob.size, bytes));
        }
        Err(RegistryError::BlobCorrupt {
            registry: self.context.registry.clone(),
            reference: self.context.reference.clone(),
            digest,
            reason: format!("it has {} of {} bytes and the digest {found}", bytes.len(), blob.size),
        })
    }
}

/// The blobs that were fetched.
#[derive(Default)]
struct Documents(BTreeMap<Digest, Blob>);

impl BlobSource for Documents {
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, BoxError> {
        self.0.get(&descriptor.digest).cloned().ok_or_else(|| "it was not fetched".into())
    }
}

/// An error with its causes, for an error that keeps only a text.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_registry::{FakeRegistry, quick};

    #[tokio::test]
    async fn an_app_is_described_without_its_wasm() {
        let registry = FakeRegistry::start().await;
        let manifest = registry.store_app(&[7; 1000]);
        let reference = registry.reference("app:v1");
        let described = Registry::new(quick()).describe(&reference, &|_| {}).await.unwrap();
        assert_eq!(described.image.digest, Digest::of(&manifest));
        assert_eq!(described.app.metadata.name, "");
        assert_eq!(registry.count("GET /v2/app/blobs/"), 2);
    }

    #[tokio::test]
    async fn a_locked_app_that_cannot_be_read_names_the_reference() {
        let registry = FakeRegistry::start().await;
        registry.store_image(&crate::fake_registry::image(b"wasm", br#"{"spin_lock_version":9}"#));
        let reference = registry.reference("app:v1");
        let error = Registry::new(quick()).describe(&reference, &|_| {}).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&reference.whole()) && text.contains("spin_lock_version 9"),
            "{text}"
        );
    }
}
