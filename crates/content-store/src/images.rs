//! The images of a namespace, those that are there and those that come.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use app::Digest;
use artifact::Artifact;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::{ContentStoreError, Store, wire};

/// The images that containerd has in one namespace.
pub struct Images {
    client: Client,
    namespace: String,
    folder: Option<PathBuf>,
    /// What the images that were read so far refer to. One pull makes several
    /// images: of a tag, of a digest, of an id.
    read: BTreeSet<Digest>,
}

/// Images that were pulled since [`Images::pulled`], in order.
pub struct Pulled {
    names: mpsc::UnboundedReceiver<Result<String, ContentStoreError>>,
    /// Ends with this value.
    _subscription: JoinSet<()>,
}

impl Images {
    /// Connects to the containerd at the socket `address`.
    ///
    /// # Errors
    /// Nobody answers there, or `namespace` is none.
    pub async fn connect(address: &Path, namespace: &str) -> Result<Self, ContentStoreError> {
        let mut client = Client::connect(address, namespace).await?;
        let folder = client.content_folder().await;
        Ok(Self { client, namespace: namespace.to_owned(), folder, read: BTreeSet::new() })
    }

    /// Names of the images that are there.
    ///
    /// # Errors
    /// containerd does not tell.
    pub async fn names(&mut self) -> Result<Vec<String>, ContentStoreError> {
        self.client.images().await
    }

    /// The images that come, and the names that refer to something else, from a
    /// moment after this call on: containerd does not say when it has begun to
    /// tell. To be called on a tokio runtime.
    pub fn pulled(&self) -> Pulled {
        let (sender, names) = mpsc::unbounded_channel();
        let (mut client, namespace) = (self.client.clone(), self.namespace.clone());
        let mut subscription = JoinSet::new();
        subscription.spawn(async move {
            if let Err(error) = subscribe(&mut client, &namespace, &sender).await {
                // Nobody listens any more otherwise.
                let _ = sender.send(Err(error));
            }
        });
        Pulled { names, _subscription: subscription }
    }

    /// The artifact that the image `name` refers to. None for an ordinary image,
    /// for one that is gone again, and for one that was read before, under
    /// whichever name. One that cannot be used counts as read; one whose blobs
    /// cannot be read yet does not.
    ///
    /// # Errors
    /// containerd does not tell, a blob is missing, or the image is a Spin
    /// artifact that cannot be used.
    pub async fn unread_artifact(
        &mut self,
        name: &str,
    ) -> Result<Option<Artifact>, ContentStoreError> {
        let target = match self.client.target_of(name).await {
            Ok(target) => target,
            Err(ContentStoreError::ImageGone { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let digest = target.digest;
        if self.read.contains(&digest) {
            return Ok(None);
        }
        let store = Store::new(self.client.clone(), self.folder.clone());
        let read = store.artifact(name.to_owned(), target).await;
        let is_final = |error: &ContentStoreError| {
            matches!(error, ContentStoreError::Artifact { .. } | ContentStoreError::Platform { .. })
        };
        if read.as_ref().err().is_none_or(is_final) {
            self.read.insert(digest);
        }
        read
    }
}

impl Pulled {
    /// The name of the next image; none when containerd ends.
    ///
    /// # Errors
    /// containerd does not tell, or the connection breaks.
    ///
    /// # Cancel safety
    /// No image is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<String>, ContentStoreError> {
        self.names.recv().await.transpose()
    }
}

/// Sends the name of every image until containerd ends or nobody listens.
async fn subscribe(
    client: &mut Client,
    namespace: &str,
    names: &mpsc::UnboundedSender<Result<String, ContentStoreError>>,
) -> Result<(), ContentStoreError> {
    let mut events = client.image_events(namespace).await?;
    while let Some(envelope) = events.message().await.map_err(ContentStoreError::Images)? {
        let value = envelope.event.unwrap_or_default().value;
        match wire::ImageChanged::decode(value.as_slice()) {
            Ok(changed) => {
                if names.send(Ok(changed.name)).is_err() {
                    return Ok(());
                }
            }
            Err(error) => tracing::warn!(%error, "containerd sent an event that is none"),
        }
    }
    Ok(())
}
