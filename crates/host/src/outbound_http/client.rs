//! The HTTP client that all components of an app share.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use outbound_hosts::{BlockedNetworks, Grant};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::connect::{CONNECT, ConnectError, ConnectOptions, Connector};

/// Used for every timeout a guest does not set.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);
/// How long a connection nobody uses is kept.
const IDLE: Duration = Duration::from_secs(90);
/// Idle connections that are kept for one destination.
const IDLE_PER_HOST: usize = 32;

/// A setting of the client that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("SPIN_OUTBOUND_H2C_PRIOR_KNOWLEDGE={value:?} is not of the form `host[:port]`")]
pub struct HttpClientError {
    value: String,
}

type Client = legacy::Client<Connector, WasiBody>;

/// A pooled client for HTTP/1.1, HTTP/2 over TLS, and HTTP/2 in plain text for
/// one configured authority.
pub(crate) struct HttpClient {
    client: Client,
    plain_http2: Option<(Authority, Client)>,
}

impl HttpClient {
    /// A client that speaks plain-text HTTP/2 to `h2c_authority` and connects to
    /// nothing in `blocked`.
    pub(crate) fn new(
        h2c_authority: Option<&str>,
        blocked: BlockedNetworks,
    ) -> Result<Self, HttpClientError> {
        let connector = Connector::new(blocked);
        let plain_http2 = h2c_authority
            .filter(|value| !value.is_empty())
            .map(|value| {
                let authority: Authority =
                    value.parse().map_err(|_| HttpClientError { value: value.to_owned() })?;
                let client = builder().http2_only(true).build(connector.clone());
                Ok((authority, client))
            })
            .transpose()?;
        Ok(Self { client: builder().build(connector), plain_http2 })
    }

    /// Sends `request`, whose URL is absolute and granted by `grant`.
    ///
    /// Cancel safe: dropping the future gives the request up.
    pub(crate) async fn send(
        &self,
        request: http::Request<WasiBody>,
        options: RequestOptions,
        grant: Grant,
    ) -> Result<http::Response<WasiBody>, Error> {
        let client = match &self.plain_http2 {
            Some((authority, client))
                if request.uri().scheme() == Some(&Scheme::HTTP)
                    && request.uri().authority() == Some(authority) =>
            {
                client
            }
            _ => &self.client,
        };
        let connect_timeout = options.connect_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let first_byte_timeout = options.first_byte_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let between_bytes = options.between_bytes_timeout.unwrap_or(DEFAULT_TIMEOUT);
        let connect = ConnectOptions { timeout: connect_timeout, grant };
        let sent = CONNECT.scope(connect, client.request(request));
        let limit = connect_timeout.saturating_add(first_byte_timeout);
        let response = tokio::time::timeout(limit, sent)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?
            .map_err(|error| request_error(&error))?;
        Ok(response.map(|body| ResponseBody::new(body, between_bytes).boxed_unsync()))
    }
}

fn builder() -> legacy::Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST);
    builder
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
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else if error.is_closed() || error.is_canceled() {
        Error::ConnectionTerminated
    } else {
        Error::HttpProtocolError
    }
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
