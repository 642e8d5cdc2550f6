//! Sending to a collector.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_client::{HttpClient, HttpError, Trust};
use prost::Message as _;
use tonic::Code;

use super::Signal;
use super::grpc::GrpcClient;
use crate::settings::{Compression, ExporterSettings, Protocol};

/// A collector for one signal. Nothing is connected before the first request.
pub(crate) enum Client {
    Http(HttpClient, ExporterSettings),
    Grpc(GrpcClient),
}

/// Something was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the collector answered with {0}")]
    Status(StatusCode),
    #[error("the collector cannot be reached")]
    Connect(#[source] tonic::transport::Error),
    #[error("the collector answered with {}: {}", .0.code(), .0.message())]
    Grpc(Box<tonic::Status>),
    #[error("the request cannot be made")]
    Request(#[source] http::Error),
    #[error("the request cannot be compressed")]
    Compress(#[source] std::io::Error),
}

impl ExportError {
    /// Whether the same request may be taken later, as OTLP says it.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Http(HttpError::Request(_) | HttpError::Timeout { .. }) | Self::Connect(_) => {
                true
            }
            Self::Http(_) | Self::Request(_) | Self::Compress(_) => false,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502..=504),
            Self::Grpc(status) => matches!(
                status.code(),
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Aborted
                    | Code::OutOfRange
                    | Code::Unavailable
                    | Code::DataLoss
            ),
        }
    }
}

impl Client {
    pub(crate) fn new(settings: ExporterSettings, trust: Trust) -> Self {
        match settings.protocol {
            Protocol::HttpProtobuf => {
                let client = HttpClient::with_timeout(settings.timeout).trusting(trust);
                Self::Http(client, settings)
            }
            Protocol::Grpc => Self::Grpc(GrpcClient::new(settings, trust)),
        }
    }

    /// Sends a request; how many of its items the collector did not take.
    ///
    /// # Errors
    /// It took none.
    pub(crate) async fn send<S: Signal>(&self, request: S::Request) -> Result<u64, ExportError> {
        let response = match self {
            Self::Http(client, settings) => send_http::<S>(client, settings, &request).await?,
            Self::Grpc(client) => client.send::<S>(request).await?,
        };
        Ok(u64::try_from(S::rejected(&response)).unwrap_or_default())
    }
}

async fn send_http<S: Signal>(
    client: &HttpClient,
    settings: &ExporterSettings,
    message: &S::Request,
) -> Result<S::Response, ExportError> {
    let message = message.encode_to_vec();
    let compressed = match settings.compression {
        Compression::Gzip => Some(compressed(&message).map_err(ExportError::Compress)?),
        Compression::None => None,
    };
    let is_compressed = compressed.is_some();
    let mut request = Request::post(&settings.endpoint)
        .body(Bytes::from(compressed.unwrap_or(message)))
        .map_err(ExportError::Request)?;
    request.headers_mut().extend(settings.headers.clone());
    if is_compressed {
        request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    request.headers_mut().insert(CONTENT_TYPE, protobuf);
    let response = client.send(request).await?;
    if !response.status().is_success() {
        return Err(ExportError::Status(response.status()));
    }
    // Some collectors answer with nothing, or with text.
    Ok(S::Response::decode(response.into_body()).unwrap_or_default())
}

fn compressed(message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(message)?;
    encoder.finish()
}
