//! Connections for the HTTP client: names are resolved once, the addresses are
//! checked, and only checked addresses are connected to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use outbound_hosts::{BlockedNetworks, Grant};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

/// How the request that needs a connection wants it made.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectOptions {
    /// For name resolution, connecting and the TLS handshake together.
    pub(super) timeout: Duration,
    /// What allowed the request.
    pub(super) grant: Grant,
}

tokio::task_local! {
    /// The client calls its connector inside the task of the request, but hands
    /// it nothing but the URL.
    pub(super) static CONNECT: ConnectOptions;
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the request carries no connection options")]
    NoOptions,
    #[error("the URL has no host")]
    NoHost,
    #[error("the name cannot be resolved")]
    Resolve(#[source] io::Error),
    #[error("all addresses of the name are blocked")]
    Prohibited,
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("timed out")]
    Timeout,
    #[error("no TLS settings")]
    TlsSettings(#[source] rustls::Error),
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
}

impl ConnectError {
    /// What the guest is told.
    pub(super) fn code(&self) -> Error {
        match self {
            Self::NoOptions | Self::TlsSettings(_) => Error::ConfigurationError,
            Self::NoHost => Error::HttpRequestUriInvalid,
            Self::Resolve(_) => {
                Error::DnsError { rcode: Some("address not available".to_owned()), info_code: None }
            }
            Self::Prohibited => Error::DestinationIpProhibited,
            Self::Connect(error) if error.kind() == io::ErrorKind::TimedOut => {
                Error::ConnectionTimeout
            }
            Self::Connect(_) => Error::ConnectionRefused,
            Self::Timeout => Error::ConnectionTimeout,
            Self::Tls(error) => tls_code(error),
        }
    }
}

fn tls_code(error: &io::Error) -> Error {
    let source = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match source {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        _ => Error::TlsProtocolError,
    }
}

/// Makes the connections of the client.
#[derive(Clone)]
pub(super) struct Connector {
    /// Made by the first request over TLS: reading the node's certificates takes
    /// milliseconds and a megabyte.
    tls: Arc<OnceCell<Arc<ClientConfig>>>,
    blocked: Arc<BlockedNetworks>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = OutboundStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<OutboundStream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let options = CONNECT.try_with(|options| *options);
        let connector = self.clone();
        Box::pin(async move {
            let options = options.map_err(|_| ConnectError::NoOptions)?;
            tokio::time::timeout(options.timeout, connector.connect(&uri, options.grant))
                .await
                .map_err(|_| ConnectError::Timeout)?
        })
    }
}

impl Connector {
    /// A connector that leads nowhere into `blocked`.
    pub(super) fn new(blocked: BlockedNetworks) -> Self {
        Self { tls: Arc::default(), blocked: Arc::new(blocked) }
    }

    async fn connect(&self, uri: &Uri, grant: Grant) -> Result<OutboundStream, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = tcp(host, port, grant, &self.blocked).await?;
        if !secure {
            return Ok(OutboundStream { io: TokioIo::new(Box::new(stream)), http2: false });
        }
        let config = self.tls.get_or_try_init(load_tls).await?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await
            .map_err(ConnectError::Tls)?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(OutboundStream { io: TokioIo::new(Box::new(stream)), http2 })
    }
}

/// Connects to the first address of `host` that answers and may be connected to.
async fn tcp(
    host: &str,
    port: u16,
    grant: Grant,
    blocked: &BlockedNetworks,
) -> Result<TcpStream, ConnectError> {
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            tokio::net::lookup_host((host, port)).await.map_err(ConnectError::Resolve)?.collect()
        }
    };
    if addresses.is_empty() {
        return Err(ConnectError::Resolve(io::ErrorKind::NotFound.into()));
    }
    let mut failure = ConnectError::Prohibited;
    for address in addresses {
        if !blocked.permit(address.ip(), grant) {
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A failure costs latency, nothing else.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failure = ConnectError::Connect(error),
        }
    }
    Err(failure)
}

/// Certificates of the platform (the pod's bundle) and Mozilla's.
async fn load_tls() -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    if let Ok(native) = native {
        for error in native.errors {
            tracing::debug!(%error, "a certificate of the platform cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::TlsSettings)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to a server.
pub(super) struct OutboundStream {
    io: TokioIo<Box<dyn Stream>>,
    http2: bool,
}

impl Connection for OutboundStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for OutboundStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for OutboundStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
