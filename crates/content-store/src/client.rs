//! Calls to containerd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use artifact::Descriptor;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::ContentStoreError;
use crate::wire::{self, method};

/// How long containerd may take for an answer, and between two pieces of content.
const PATIENCE: Duration = Duration::from_secs(30);
/// containerd sends content in pieces of at most 1 MiB, other stores up to the
/// 16 MiB that its clients accept.
const MAX_MESSAGE: usize = 16 << 20;
const NAMESPACE_HEADER: &str = "containerd-namespace";

/// A connection to containerd.
#[derive(Clone)]
pub(crate) struct Client {
    grpc: Grpc<Channel>,
    namespace: MetadataValue<Ascii>,
}

impl Client {
    pub(crate) async fn connect(
        address: &Path,
        namespace: &str,
    ) -> Result<Self, ContentStoreError> {
        let failed = |source: tonic::transport::Error| ContentStoreError::Connect {
            address: address.to_owned(),
            source: source.into(),
        };
        let namespace =
            namespace.parse().map_err(|_| ContentStoreError::Namespace(namespace.to_owned()))?;
        let socket = address.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The authority is not used on a Unix socket, but there must be one.
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(PATIENCE);
        let channel = endpoint.connect_with_connector(connector).await.map_err(failed)?;
        let grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
        Ok(Self { grpc, namespace })
    }

    /// The name of a container's image; empty when it has none.
    pub(crate) async fn image_of(&mut self, container: &str) -> Result<String, ContentStoreError> {
        let request = wire::GetContainerRequest { id: container.to_owned() };
        let answer: wire::GetContainerResponse =
            self.call(method::GET_CONTAINER, request).await.map_err(|status| {
                ContentStoreError::Container { container: container.to_owned(), source: status }
            })?;
        Ok(answer.container.unwrap_or_default().image)
    }

    /// What an image's name refers to.
    pub(crate) async fn target_of(&mut self, image: &str) -> Result<Descriptor, ContentStoreError> {
        let request = wire::GetImageRequest { name: image.to_owned() };
        let answer: wire::GetImageResponse =
            self.call(method::GET_IMAGE, request).await.map_err(|status| {
                if status.code() == Code::NotFound {
                    ContentStoreError::ImageGone { image: image.to_owned() }
                } else {
                    ContentStoreError::Image { image: image.to_owned(), source: status }
                }
            })?;
        descriptor(image, answer.image.and_then(|image| image.target))
    }

    /// Names of all images of the namespace.
    pub(crate) async fn images(&mut self) -> Result<Vec<String>, ContentStoreError> {
        let answer: wire::ListImagesResponse = self
            .call(method::LIST_IMAGES, wire::ListImagesRequest {})
            .await
            .map_err(ContentStoreError::Images)?;
        Ok(answer.images.into_iter().map(|image| image.name).collect())
    }

    /// What happens to images of the namespace from now on. containerd does not
    /// answer before something does.
    pub(crate) async fn image_events(
        &mut self,
        namespace: &str,
    ) -> Result<Streaming<wire::Envelope>, ContentStoreError> {
        let filter = |topic| format!("topic=={topic:?},namespace=={namespace:?}");
        let filters = ["/images/create", "/images/update"].map(filter).to_vec();
        let request = wire::SubscribeRequest { filters };
        self.stream(method::SUBSCRIBE, request).await.map_err(ContentStoreError::Images)
    }

    /// The folder of the content store, if it is containerd's own kind.
    pub(crate) async fn content_folder(&mut self) -> Option<PathBuf> {
        let filter = "type==io.containerd.content.v1".to_owned();
        let request = wire::PluginsRequest { filters: vec![filter] };
        let answer: Result<wire::PluginsResponse, _> = self.call(method::PLUGINS, request).await;
        match answer {
            Ok(answer) => answer
                .plugins
                .into_iter()
                .find_map(|plugin| plugin.exports.get("root").map(PathBuf::from)),
            Err(status) => {
                tracing::debug!(%status, "containerd does not tell where its content is");
                None
            }
        }
    }

    /// Reads a blob piece by piece.
    pub(crate) async fn read(
        &mut self,
        descriptor: &Descriptor,
        mut piece: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ContentStoreError> {
        let digest = descriptor.digest;
        let failed = |source| ContentStoreError::Read { digest, source };
        let request = wire::ReadContentRequest { digest: digest.to_string() };
        let mut stream: Streaming<wire::ReadContentResponse> =
            patiently(self.stream(method::READ_CONTENT, request)).await.map_err(failed)?;
        let mut total = 0_u64;
        while let Some(answer) = patiently(stream.message()).await.map_err(failed)? {
            total += answer.data.len() as u64;
            if total > descriptor.size {
                break;
            }
            piece(&answer.data).map_err(|source| ContentStoreError::Keep { digest, source })?;
        }
        // What it holds is checked against the digest when it is used.
        Ok(())
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.ready().await?;
        let request = self.addressed(request);
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(request, PathAndQuery::from_static(path), codec);
        Ok(patiently(answer).await?.into_inner())
    }

    async fn stream<Q, A>(&mut self, path: &'static str, request: Q) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.ready().await?;
        let request = self.addressed(request);
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.server_streaming(request, PathAndQuery::from_static(path), codec);
        Ok(answer.await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }

    fn addressed<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(NAMESPACE_HEADER, self.namespace.clone());
        request
    }
}

/// What `image` refers to, checked.
fn descriptor(
    image: &str,
    target: Option<wire::Descriptor>,
) -> Result<Descriptor, ContentStoreError> {
    let target = target.unwrap_or_default();
    let invalid =
        || ContentStoreError::Target { image: image.to_owned(), digest: target.digest.clone() };
    let digest = target.digest.parse().map_err(|_| invalid())?;
    let size = u64::try_from(target.size).map_err(|_| invalid())?;
    Ok(Descriptor::new(target.media_type.clone(), digest, size))
}

async fn patiently<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(format!("no answer within {} s", PATIENCE.as_secs())))
    })
}
