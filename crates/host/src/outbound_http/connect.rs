//! Connections for the HTTP client: each is made with the permit of the request
//! that needs it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use outbound_network::{ConnectError as NetworkError, Limit, Permit, Share, secure};
use rustls::ClientConfig;
use telemetry::Metrics;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use wasmtime_wasi_http::Error;

/// How the request that needs a connection wants it made.
#[derive(Debug, Clone)]
pub(super) struct ConnectOptions {
    /// What allowed the request.
    pub(super) permit: Permit,
    /// For a share of the limit; and again for name resolution, connecting and the
    /// TLS handshake together.
    pub(super) timeout: Duration,
    /// Ends when the request needs the connection no longer.
    pub(super) wanted: watch::Receiver<()>,
    pub(super) on_share: OnShare,
}

/// Told when a limit permits the connection of a request.
#[derive(Clone, Default)]
pub(crate) struct OnShare {
    /// The interface over which the request came.
    pub(crate) interface: &'static str,
    pub(crate) metrics: Option<Arc<Metrics>>,
}

impl OnShare {
    fn permitted(&self, waited: bool) {
        if let Some(metrics) = &self.metrics {
            metrics.permits().acquired_for_http(self.interface, waited);
        }
    }
}

impl std::fmt::Debug for OnShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnShare").field("interface", &self.interface).finish_non_exhaustive()
    }
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
    #[error("the request was answered over another connection")]
    NotWanted,
    #[error("all connections that the runtime configuration permits are in use")]
    LimitReached,
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl ConnectError {
    /// What the guest is told.
    pub(super) fn code(&self) -> Error {
        match self {
            Self::NoOptions | Self::NotWanted => Error::ConfigurationError,
            Self::LimitReached => Error::ConnectionLimitReached,
            Self::Network(error) => network_code(error),
        }
    }
}

fn network_code(error: &NetworkError) -> Error {
    match error {
        NetworkError::Resolve { .. } => {
            let rcode = Some("address not available".to_owned());
            Error::DnsError { rcode, info_code: Some(0) }
        }
        NetworkError::Blocked { .. } => Error::DestinationIpProhibited,
        NetworkError::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
            Error::ConnectionTimeout
        }
        NetworkError::Connect { .. } => Error::ConnectionRefused,
        NetworkError::Timeout => Error::ConnectionTimeout,
        NetworkError::TlsSettings(_) => Error::ConfigurationError,
        // Whatever is wrong with the certificate, as in Spin.
        NetworkError::Tls { .. } => Error::TlsProtocolError,
    }
}

/// Makes the connections of the client.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) limit: Limit,
}

impl tower_service::Service<Uri> for Connector {
    type Response = OutboundStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<OutboundStream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let options = CONNECT.try_with(ConnectOptions::clone);
        let limit = self.limit.clone();
        Box::pin(async move {
            let mut options = options.map_err(|_| ConnectError::NoOptions)?;
            // A request that got another connection meanwhile must not stand in
            // the queue for this one.
            let waits = limit.is_contended() || !limit.has_room();
            let share = tokio::select! {
                share = limit.share(options.timeout) => share.ok_or(ConnectError::LimitReached)?,
                _ = options.wanted.changed() => return Err(ConnectError::NotWanted),
            };
            if limit.is_limited() {
                options.on_share.permitted(waits);
            }
            let connecting = connect(&options.permit, uri.scheme() == Some(&Scheme::HTTPS), share);
            tokio::time::timeout(options.timeout, connecting)
                .await
                .map_err(|_| NetworkError::Timeout)?
                .map_err(ConnectError::Network)
        })
    }
}

async fn connect(
    permit: &Permit,
    secured: bool,
    share: Share,
) -> Result<OutboundStream, NetworkError> {
    let stream = permit.connect().await?;
    if !secured {
        return Ok(OutboundStream::new(stream, false, share));
    }
    let mut config = ClientConfig::clone(&*permit.tls().config().await?);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = secure(Arc::new(config), permit.host(), stream).await?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(OutboundStream::new(stream, http2, share))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to a server.
pub(super) struct OutboundStream {
    io: TokioIo<Box<dyn Stream>>,
    http2: bool,
    _share: Share,
}

impl OutboundStream {
    fn new(stream: impl Stream + 'static, http2: bool, share: Share) -> Self {
        Self { io: TokioIo::new(Box::new(stream)), http2, _share: share }
    }
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
