//! OTLP over gRPC.

use std::io;
use std::sync::Arc;

use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use http_client::Trust;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::{ExportError, Signal};
use crate::settings::{Compression, ExporterSettings};

/// A collector that speaks gRPC.
pub(crate) struct GrpcClient {
    settings: ExporterSettings,
    trust: Trust,
    channel: OnceCell<Channel>,
}

impl GrpcClient {
    pub(crate) fn new(settings: ExporterSettings, trust: Trust) -> Self {
        Self { settings, trust, channel: OnceCell::new() }
    }

    pub(crate) async fn send<S: Signal>(
        &self,
        message: S::Request,
    ) -> Result<S::Response, ExportError> {
        let channel = self.channel.get_or_init(|| async { self.channel() }).await;
        let mut grpc = Grpc::new(channel.clone());
        if self.settings.compression == Compression::Gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.map_err(ExportError::Connect)?;
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(self.settings.headers.clone());
        request.set_timeout(self.settings.timeout);
        let codec = ProstCodec::<S::Request, S::Response>::default();
        let method = PathAndQuery::from_static(S::METHOD);
        match grpc.unary(request, method, codec).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(ExportError::Grpc(Box::new(status))),
        }
    }

    /// A connection that is made when it is used, and again when it is lost.
    fn channel(&self) -> Channel {
        let trust = self.trust.clone();
        let connect = move |uri| connect(uri, trust.clone());
        Endpoint::from(self.settings.endpoint.clone())
            .connect_timeout(self.settings.timeout)
            .timeout(self.settings.timeout)
            .connect_with_connector_lazy(tower::service_fn(connect))
    }
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A connection to the server of a URL, with TLS if it asks for that.
async fn connect(uri: Uri, trust: Trust) -> io::Result<TokioIo<Box<dyn Connection>>> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
    let host = uri.host().ok_or_else(|| invalid("the URL has no host"))?;
    let host = host.trim_matches(['[', ']']);
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    if !secure {
        return Ok(TokioIo::new(Box::new(stream)));
    }
    let mut config = trust.tls_config().await.map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid("no name of a host"))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(TokioIo::new(Box::new(stream)))
}
