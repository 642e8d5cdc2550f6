//! Pushing a packed app.

use std::io::Read;
use std::time::Duration;

use app::Digest;
use artifact::pack::Packed;
use artifact::{Blob, media_type};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::HeaderValue;
use oci_client::errors::OciDistributionError;
use oci_client::{Reference, RegistryOperation};
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::progress::{Event, Observer};
use crate::session::Session;
use crate::{MAX_MANIFEST_BYTES, PARALLEL_TRANSFERS, Registry};

/// How long an upload may stand still. Registries backed by object storage may
/// need a while to commit a large blob after its last byte.
const UPLOAD_STALL: Duration = Duration::from_mins(2);

/// Bytes read and sent at once.
const CHUNK: usize = 64 * 1024;

/// An app that is now in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest.
    pub digest: Digest,
    /// The reference that names exactly this app, by digest.
    pub reference: String,
    /// Bytes of blobs that were transferred; the rest was there already.
    pub transferred: u64,
}

impl Registry {
    /// Pushes an image.
    ///
    /// Blobs that the repository holds already are not sent. The manifest goes
    /// last, so that the tag never names an app that is incomplete.
    ///
    /// # Errors
    /// [`RegistryError`] names the reference, the registry, the blob and what to do.
    pub async fn push(
        &self,
        reference: &Reference,
        image: &Packed,
        observer: &dyn Fn(Event<'_>),
    ) -> Result<Pushed, RegistryError> {
        let Some(tag) = reference.tag() else {
            return Err(RegistryError::TagNeeded {
                reference: reference.whole(),
                suggestion: format!("{}/{}:latest", reference.registry(), reference.repository()),
            });
        };
        let target = Reference::with_tag(
            reference.registry().to_owned(),
            reference.repository().to_owned(),
            tag.to_owned(),
        );
        let endpoint = Endpoint::origin(&target, &self.options);
        let session =
            Session::open(&self.options, &target, endpoint, RegistryOperation::Push, observer)
                .await?;
        observer(Event::Planned {
            blobs: image.blobs.len(),
            bytes: image.blobs.iter().map(|(_, blob)| blob.size()).sum(),
        });
        let transferred: Vec<u64> = futures::stream::iter(&image.blobs)
            .map(|(_, blob)| session.send(blob, observer))
            .buffer_unordered(PARALLEL_TRANSFERS)
            .try_collect()
            .await?;
        let manifest = image.manifest_json.read_verified(MAX_MANIFEST_BYTES as u64)?;
        let kind = image.manifest.media_type.as_deref().unwrap_or(media_type::IMAGE_MANIFEST);
        session.send_manifest(manifest.into(), kind, observer).await?;
        let digest = image.manifest_json.digest();
        Ok(Pushed {
            digest,
            reference: format!("{}/{}@{digest}", target.registry(), target.repository()),
            transferred: transferred.iter().sum(),
        })
    }
}

impl Session {
    /// Makes sure that a blob is in the repository; tells how many bytes were sent.
    async fn send(&self, blob: &Blob, observer: Observer<'_>) -> Result<u64, RegistryError> {
        let digest = blob.digest().to_string();
        self.repeat(observer, async || {
            let present = self.client.blob_exists(&self.endpoint.reference, &digest).await;
            if present.map_err(|error| self.context.failure(error))? {
                observer(Event::Present { digest: blob.digest(), size: blob.size() });
                return Ok(0);
            }
            self.upload(blob, &digest, observer).await?;
            Ok(blob.size())
        })
        .await
    }

    async fn upload(
        &self,
        blob: &Blob,
        digest: &str,
        observer: Observer<'_>,
    ) -> Result<(), RegistryError> {
        let (sent, mut positions) = mpsc::unbounded_channel();
        let content = content(blob, sent)?;
        let upload = self.client.push_blob_stream(
            &self.endpoint.reference,
            content,
            digest,
            Some(blob.size()),
        );
        let mut upload = std::pin::pin!(upload);
        loop {
            tokio::select! {
                done = &mut upload => {
                    return done.map(|_| ()).map_err(|error| self.context.failure(error));
                }
                Some(position) = positions.recv() => {
                    let (digest, size) = (blob.digest(), blob.size());
                    observer(Event::Moved { digest, position, size });
                }
                () = tokio::time::sleep(UPLOAD_STALL) => {
                    return Err(RegistryError::Unreachable {
                        registry: self.context.registry.clone(),
                        reference: self.context.reference.clone(),
                        reason: format!(
                            "the upload stood still for {} seconds",
                            UPLOAD_STALL.as_secs()
                        ),
                    });
                }
            }
        }
    }

    async fn send_manifest(
        &self,
        manifest: Bytes,
        media_type: &str,
        observer: Observer<'_>,
    ) -> Result<(), RegistryError> {
        let media_type = HeaderValue::from_str(media_type).map_err(|_| {
            self.context.protocol("the manifest's media type is not a header value")
        })?;
        self.repeat(observer, async || {
            let reference = &self.endpoint.reference;
            let pushed =
                self.client.push_manifest_raw(reference, manifest.clone(), media_type.clone());
            pushed.await.map(|_| ()).map_err(|error| self.context.failure(error))
        })
        .await
    }
}

/// The content of a blob in pieces; every piece is reported when it is taken.
fn content(
    blob: &Blob,
    sent: mpsc::UnboundedSender<u64>,
) -> Result<impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static, RegistryError>
{
    let reader = blob.open()?;
    let pieces = futures::stream::try_unfold((reader, 0_u64), move |(mut reader, position)| {
        let sent = sent.clone();
        async move {
            let mut piece = vec![0; CHUNK];
            let length = reader.read(&mut piece)?;
            if length == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            piece.truncate(length);
            let position = position + length as u64;
            // Nobody listens any more when the upload has ended.
            let _ = sent.send(position);
            Ok(Some((Bytes::from(piece), (reader, position))))
        }
    });
    Ok(pieces.map_err(OciDistributionError::IoError).boxed())
}

#[cfg(test)]
mod tests;
