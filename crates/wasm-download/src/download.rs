//! One request after another, until somebody has it.

use std::net::IpAddr;
use std::time::Duration;

use app::Digest;
use artifact::Blob;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_client::{Bytes, HttpClient};

/// How often a server may say that it is elsewhere: releases commonly are.
const REDIRECTS: usize = 5;

/// How long one request may take: a component may have more than a hundred megabytes.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Why something could not be downloaded. None of them repeats a URL, which may have
/// a secret in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("it must be a URL that begins with http:// or https://")]
    Url,
    #[error("{0}")]
    Request(String),
    #[error("the server answered with {0}")]
    Status(StatusCode),
    #[error("it is elsewhere more than {REDIRECTS} times")]
    Redirects,
    #[error(
        "what arrived has the digest {found}, which is not the one that is promised, {expected}"
    )]
    Digest { found: Digest, expected: Digest },
}

/// A client for downloads.
pub(crate) struct Download {
    client: HttpClient,
}

impl Download {
    /// One that has asked for nothing yet.
    pub(crate) fn new() -> Self {
        Self { client: HttpClient::with_timeout(TIMEOUT) }
    }

    /// What is at `url`, wherever that leads.
    pub(crate) async fn get(&self, url: &str) -> Result<(HeaderMap, Bytes), DownloadError> {
        let response = self.ask(absolute(url)?, None, None).await?;
        if !response.status().is_success() {
            return Err(DownloadError::Status(response.status()));
        }
        let (parts, body) = response.into_parts();
        Ok((parts.headers, body))
    }

    /// The answer to a request for `url`, whatever it is; redirects are followed, and
    /// the authorization is for nobody else.
    pub(crate) async fn ask(
        &self,
        url: Uri,
        accept: Option<&'static str>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response<Bytes>, DownloadError> {
        let asked = url.authority().cloned();
        let mut url = url;
        for _ in 0..=REDIRECTS {
            let mut request = Request::get(&url);
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(authorization) = authorization.filter(|_| url.authority() == asked.as_ref())
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            let request = request.body(Bytes::new()).map_err(|_| DownloadError::Url)?;
            let response = self.client.send(request).await;
            let response =
                response.map_err(|error| DownloadError::Request(http_client::chain(&error)))?;
            let elsewhere = response
                .headers()
                .get(LOCATION)
                .filter(|_| response.status().is_redirection())
                .and_then(|location| location.to_str().ok());
            let Some(elsewhere) = elsewhere else { return Ok(response) };
            url = next(&url, elsewhere)?;
        }
        Err(DownloadError::Redirects)
    }
}

/// Bytes that must have a digest.
pub(crate) fn verified(bytes: &[u8], expected: Digest) -> Result<Blob, DownloadError> {
    let blob = Blob::from_bytes(bytes);
    let found = blob.digest();
    if found == expected { Ok(blob) } else { Err(DownloadError::Digest { found, expected }) }
}

/// A URL that can be asked.
pub(crate) fn absolute(url: &str) -> Result<Uri, DownloadError> {
    let parsed: Uri = url.parse().map_err(|_| DownloadError::Url)?;
    let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
    if is_http && parsed.authority().is_some() { Ok(parsed) } else { Err(DownloadError::Url) }
}

/// Where a link leads, which may leave out what stays.
pub(crate) fn next(from: &Uri, location: &str) -> Result<Uri, DownloadError> {
    match location.strip_prefix('/') {
        Some(_) if !location.starts_with("//") => {
            let scheme = from.scheme_str().unwrap_or("https");
            let authority = from.authority().map_or("", |authority| authority.as_str());
            absolute(&format!("{scheme}://{authority}{location}"))
        }
        _ => absolute(location),
    }
}

/// How a registry is reached: `HOST` or `HOST:PORT`, on this machine without TLS.
pub(crate) fn scheme_of(registry: &str) -> &'static str {
    let host = match registry.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    let is_here =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if is_here { "http" } else { "https" }
}
