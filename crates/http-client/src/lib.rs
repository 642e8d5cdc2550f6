//! Requests to HTTP services that the configuration of an app names: stores of
//! secrets, databases, models. Guests' own requests go another way, where
//! `allowed_outbound_hosts` is checked.
//!
//! An [`HttpClient`] costs nothing before its first request: only then trusted
//! certificates are read and connections made, which are kept for later ones.
//! Servers are trusted by the certificates of the system and by Mozilla's, unless the
//! client is told whom to trust.
//! Redirects are not followed and proxies not used: a service is where the
//! configuration says.

mod tls;

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Request, Response};
use tokio::sync::OnceCell;

pub use bytes::Bytes;
pub use tls::{TlsError, Trust, TrustError, tls_config};

/// How long a request may take, from the name of the server to the last byte.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that the body of a response may have.
pub const MAX_RESPONSE: usize = 160 << 20;

/// A client that is made when it is needed.
#[derive(Debug)]
pub struct HttpClient {
    client: OnceCell<reqwest::Client>,
    timeout: Duration,
    trust: Trust,
}

/// A request without an answer. No error contains the URL or a header, which may
/// hold secrets.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Servers cannot be checked.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The client cannot be made.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// The request cannot be made, or nobody answered it.
    #[error("the request failed")]
    Request(#[source] reqwest::Error),
    /// It took too long.
    #[error("there was no answer within {} s", limit.as_secs())]
    Timeout {
        /// How long it may take.
        limit: Duration,
    },
    /// The body is too long.
    #[error("the answer has more than {MAX_RESPONSE} bytes")]
    TooLong,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpClient {
    /// A client whose requests may take [`TIMEOUT`].
    pub fn new() -> Self {
        Self::with_timeout(TIMEOUT)
    }

    /// A client whose requests may take `timeout`.
    pub fn with_timeout(timeout: Duration) -> Self {
        Self { client: OnceCell::new(), timeout, trust: Trust::System }
    }

    /// The same client, which trusts others.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Sends a request and reads the whole response, whatever its status.
    ///
    /// Cancel safety: dropping the call closes its connection; the server may
    /// have acted already.
    ///
    /// # Errors
    ///
    /// No connection, no valid response, not in time, or too long a body.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.get_or_try_init(|| make(self.timeout, &self.trust)).await?;
        let failed = |error: reqwest::Error| self.failed(error);
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let mut response = client.execute(request).await.map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_RESPONSE {
                return Err(HttpError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }

    fn failed(&self, error: reqwest::Error) -> HttpError {
        let error = error.without_url();
        if error.is_timeout() {
            return HttpError::Timeout { limit: self.timeout };
        }
        HttpError::Request(error)
    }
}

async fn make(timeout: Duration, trust: &Trust) -> Result<reqwest::Client, HttpError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(trust.tls_config().await?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(timeout)
        .build()
        .map_err(HttpError::Client)
}

/// The value of a header that nobody may see; none when it has a character that
/// no header may have.
pub fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An error with its causes, as one line, for guests.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives one answer to one request.
    async fn answering(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path?key=hunter2", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(answer).await.unwrap();
            // The end of the stream is the test's.
            let _ = stream.read(&mut buffer).await;
        });
        url
    }

    fn get(url: &str) -> Request<Bytes> {
        Request::get(url).body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn status_headers_and_body_come_back_whatever_the_status() {
        let url = answering(b"HTTP/1.1 404 Gone\r\nx-a: b\r\ncontent-length: 2\r\n\r\nno").await;
        let response = HttpClient::new().send(get(&url)).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.body()[..]), (404, &b"no"[..]));
        assert_eq!(response.headers()["x-a"], "b");
    }

    #[tokio::test]
    async fn redirects_are_answers_like_others() {
        let url =
            answering(b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(HttpClient::new().send(get(&url)).await.unwrap().status(), 302);
    }

    #[tokio::test]
    async fn errors_say_what_happened_and_not_the_url() {
        let error = HttpClient::new().send(get("http://127.0.0.1:1/?hunter2")).await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains("refused") && !text.contains("hunter2"), "{text}");
        let url = answering(b"nonsense\r\n\r\n").await;
        let text = chain(&HttpClient::new().send(get(&url)).await.unwrap_err());
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up() {
        let url = answering(b"").await;
        let client = HttpClient::with_timeout(Duration::from_millis(100));
        let error = client.send(get(&url)).await.unwrap_err();
        assert!(matches!(error, HttpError::Timeout { .. }), "{error:?}");
    }
}
