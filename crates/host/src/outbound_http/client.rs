//! The HTTP client that all components of an app share.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use outbound_network::{Limit, Permit};
use tokio::sync::watch;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::connect::{CONNECT, ConnectError, ConnectOptions, Connector, OnShare};

/// Used for every timeout a guest does not set.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);
/// How long a connection nobody uses is kept.
const IDLE: Duration = Duration::from_secs(90);
/// The same where connections are limited: kept, it keeps others from theirs.
const IDLE_WITHIN_LIMIT: Duration = Duration::from_secs(1);
/// Idle connections that are kept for one destination.
const IDLE_PER_HOST: usize = 32;

/// A setting of the client that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("SPIN_OUTBOUND_H2C_PRIOR_KNOWLEDGE={value:?} is not of the form `host[:port]`")]
pub struct HttpClientError {
    value: String,
}

type Client = legacy::Client<Connector, WasiBody>;

/// Clients for HTTP/1.1, HTTP/2 over TLS, and HTTP/2 in plain text for one
/// configured authority.
pub(crate) struct HttpClient {
    connections: HttpConnections,
    /// Where plain-text HTTP/2 is spoken.
    plain_http2: Option<Authority>,
    clients: Mutex<HashMap<Kind, Client>>,
}

/// How the connections of an app are kept.
#[derive(Debug, Clone)]
pub(crate) struct HttpConnections {
    /// Whether they are used again.
    pub(crate) pooling: bool,
    /// How many there may be.
    pub(crate) limit: Limit,
}

/// What connections have in common that may be used for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    /// A connection proves who the client is, and trusts, as the settings of one
    /// component say; it is not for the others.
    tls: usize,
    /// A connection to an address that only its name permits is not for those who
    /// were not permitted that address.
    names_address: bool,
    plain_http2: bool,
}

impl HttpClient {
    /// Clients that speak plain-text HTTP/2 to `h2c_authority`.
    pub(crate) fn new(
        h2c_authority: Option<&str>,
        connections: HttpConnections,
    ) -> Result<Self, HttpClientError> {
        let plain_http2 = h2c_authority
            .filter(|value| !value.is_empty())
            .map(|value| value.parse().map_err(|_| HttpClientError { value: value.to_owned() }))
            .transpose()?;
        Ok(Self { connections, plain_http2, clients: Mutex::default() })
    }

    /// Sends `request`, whose URL is absolute and permitted by `permit`.
    ///
    /// Cancel safe: dropping the future gives the request up.
    pub(crate) async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: RequestOptions,
        permit: Permit,
        on_share: OnShare,
    ) -> Result<http::Response<WasiBody>, Error> {
        let uri = request.uri();
        let plain_http2 = uri.scheme() == Some(&Scheme::HTTP)
            && uri.authority().is_some()
            && uri.authority() == self.plain_http2.as_ref();
        let names_address = permit.grant().names_address;
        let client = self.client(Kind { tls: permit.tls().number(), names_address, plain_http2 });
        let connect_timeout = options.connect_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let first_byte_timeout = options.first_byte_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let between_bytes = options.between_bytes_timeout.unwrap_or(DEFAULT_TIMEOUT);
        // A connection is wanted until this returns.
        let (_wanting, wanted) = watch::channel(());
        let connect = ConnectOptions { permit, timeout: connect_timeout, wanted, on_share };
        let sent = CONNECT.scope(connect, client.request(request));
        let limit = connect_timeout.saturating_add(first_byte_timeout);
        let response = tokio::time::timeout(limit, sent)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?
            .map_err(|error| request_error(&error))?;
        Ok(response.map(|body| ResponseBody::new(body, between_bytes).boxed_unsync()))
    }

    fn client(&self, kind: Kind) -> Client {
        // Nothing under this lock leaves it half done.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(kind).or_insert_with(|| self.connections.client(kind)).clone()
    }
}

impl HttpConnections {
    fn client(&self, kind: Kind) -> Client {
        let idle = if self.limit.is_limited() { IDLE_WITHIN_LIMIT } else { IDLE };
        legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(idle)
            .pool_max_idle_per_host(if self.pooling { IDLE_PER_HOST } else { 0 })
            .http2_only(kind.plain_http2)
            .build(Connector { limit: self.limit.clone() })
    }
}

/// The error code for a request that got no response.
fn request_error(error: &legacy::Error) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            return connect.code();
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            return exchange_error(hyper);
        }
        source = cause.source();
    }
    Error::HttpProtocolError
}

/// The error code for an exchange that broke off.
fn exchange_error(error: &hyper::Error) -> Error {
    if error.is_timeout() {
        Error::ConnectionReadTimeout
    } else if is_of_tls(error) {
        // Such as a server that is not content with the client's certificate, which
        // is known only after the handshake.
        Error::TlsProtocolError
    } else {
        Error::HttpProtocolError
    }
}

fn is_of_tls(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// A response body that fails when the sender pauses for too long.
struct ResponseBody {
    incoming: Incoming,
    limit: Duration,
    /// Runs while a frame is waited for.
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl ResponseBody {
    fn new(incoming: Incoming, limit: Duration) -> Self {
        Self { incoming, limit, pause: None }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| exchange_error(&error))));
        }
        let limit = self.limit;
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match pause.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
