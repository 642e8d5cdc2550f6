//! Wasm that a manifest names by URL: downloaded when the app starts, as the existing
//! shim does it.

use app::manifest::Source;
use artifact::{Blob, BoxError};
use http::header::LOCATION;
use http::{Request, Uri};
use http_client::{Bytes, HttpClient};
use tokio::runtime::Builder;

/// How often a server may say that it is elsewhere: releases commonly are.
const REDIRECTS: usize = 5;

/// Why there is no Wasm.
#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error("packages of a registry are not fetched; download it and name its file as `source`")]
    Package,
    #[error("{0:?} is no URL that begins with http:// or https://")]
    Url(String),
    #[error("the server answered with {0}")]
    Status(http::StatusCode),
    #[error("it is elsewhere more than {REDIRECTS} times")]
    Redirects,
    #[error("what arrived has the digest {found}, which is not the one that the manifest promises")]
    Digest { found: app::Digest },
}

/// Fetches the Wasm of `source`, which has the digest that it promises. Blocks.
///
/// # Errors
///
/// It is no URL, nobody gives it, or something else arrives.
pub(crate) fn fetch(source: &Source) -> Result<Blob, BoxError> {
    let Source::Url { url, digest } = source else { return Err(DownloadError::Package.into()) };
    // The thread that loads the app has a runtime of its own, which must not wait; and
    // it must be alone again before privileges are dropped.
    let fetched = std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<Bytes, BoxError> {
            Builder::new_current_thread().enable_all().build()?.block_on(get(url))
        });
        thread.join().unwrap_or_else(|_| Err("the download was interrupted".into()))
    })?;
    let blob = Blob::from_bytes(&*fetched);
    if blob.digest() != *digest {
        return Err(DownloadError::Digest { found: blob.digest() }.into());
    }
    Ok(blob)
}

async fn get(url: &str) -> Result<Bytes, BoxError> {
    let client = HttpClient::new();
    let mut url = absolute(url)?;
    for _ in 0..=REDIRECTS {
        let response = client.send(Request::get(&url).body(Bytes::new())?).await;
        let response = response.map_err(|error| http_client::chain(&error))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let elsewhere =
            response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
        let Some(elsewhere) = elsewhere else {
            return Err(DownloadError::Status(response.status()).into());
        };
        url = next(&url, elsewhere.to_str()?)?;
    }
    Err(DownloadError::Redirects.into())
}

fn absolute(url: &str) -> Result<Uri, DownloadError> {
    let wrong = || DownloadError::Url(url.to_owned());
    let parsed: Uri = url.parse().map_err(|_| wrong())?;
    let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
    if is_http && parsed.authority().is_some() { Ok(parsed) } else { Err(wrong()) }
}

/// Where a redirection leads, which may leave out what stays.
fn next(from: &Uri, location: &str) -> Result<Uri, DownloadError> {
    match location.strip_prefix('/') {
        Some(_) if !location.starts_with("//") => {
            let scheme = from.scheme_str().unwrap_or("https");
            let authority = from.authority().map_or("", |authority| authority.as_str());
            absolute(&format!("{scheme}://{authority}{location}"))
        }
        _ => absolute(location),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use app::Digest;

    use super::*;

    const WASM: &[u8] = b"\0asm\x01\0\0\0";

    /// A server that is elsewhere the first time.
    fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = [0; 2048];
                let length = stream.read(&mut head).unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let answer = if head.starts_with("GET /there ") {
                    [b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n", WASM].concat()
                } else if head.starts_with("GET /moved ") {
                    b"HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n".to_vec()
                } else if head.starts_with("GET /round ") {
                    b"HTTP/1.1 307 X\r\nlocation: /round\r\ncontent-length: 0\r\n\r\n".to_vec()
                } else {
                    b"HTTP/1.1 404 Gone\r\ncontent-length: 0\r\n\r\n".to_vec()
                };
                stream.write_all(&answer).unwrap();
            }
        });
        format!("http://{address}")
    }

    fn of(url: String, digest: Digest) -> Result<Blob, String> {
        fetch(&Source::Url { url, digest }).map_err(|error| error.to_string())
    }

    #[test]
    fn wasm_is_fetched_and_is_what_was_promised() {
        let server = server();
        let digest = Digest::of(WASM);
        for path in ["/there", "/moved"] {
            assert_eq!(of(format!("{server}{path}"), digest).unwrap().digest(), digest);
        }
        let other = of(format!("{server}/there"), Digest::of(b"other")).unwrap_err();
        assert!(other.contains(&digest.to_string()), "{other}");
        for (path, expected) in [("/gone", "404"), ("/round", "more than 5 times")] {
            let error = of(format!("{server}{path}"), digest).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(of("ftp://a/b".to_owned(), digest).unwrap_err().contains("no URL"));
    }
}
