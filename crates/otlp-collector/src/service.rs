//! Taking requests.

use std::io::Read as _;
use std::sync::{Arc, Mutex};

use anyhow::{Result, bail, ensure};
use bytes::{Buf as _, Bytes};
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::{Received, Request, State, lock};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// An empty message in a frame of gRPC.
const EMPTY_FRAME: Bytes = Bytes::from_static(&[0; 5]);

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Takes one request. What is no OTLP is answered with 400.
pub(crate) async fn answer(
    request: http::Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(|kind| *kind == GRPC);
    let mut state = lock(&state);
    if state.refusals > 0 {
        state.refusals -= 1;
        return Ok(if is_grpc { grpc("14") } else { plain(StatusCode::SERVICE_UNAVAILABLE) });
    }
    let message = if is_grpc {
        unframed(body)
    } else if head.headers.contains_key(CONTENT_ENCODING) {
        unpacked(&body)
    } else {
        Ok(body)
    };
    let path = head.uri.path().to_owned();
    let taken = message.and_then(|message| take(&path, &message, &mut state.received));
    if taken.is_err() {
        return Ok(plain(StatusCode::BAD_REQUEST));
    }
    state.received.requests.push(Request { path, headers: head.headers, is_grpc });
    Ok(if is_grpc { grpc("0") } else { plain(StatusCode::OK) })
}

/// The only message of a request.
fn unframed(mut body: Bytes) -> Result<Bytes> {
    ensure!(body.len() >= 5, "no frame");
    let is_compressed = body.get_u8() != 0;
    ensure!(body.get_u32() as usize == body.len(), "not one frame");
    if is_compressed { unpacked(&body) } else { Ok(body) }
}

/// What was compressed with gzip.
fn unpacked(body: &[u8]) -> Result<Bytes> {
    let mut message = Vec::new();
    GzDecoder::new(body).read_to_end(&mut message)?;
    Ok(message.into())
}

fn take(path: &str, message: &[u8], received: &mut Received) -> Result<()> {
    const PACKAGE: &str = "/opentelemetry.proto.collector.";
    let signal = match (path.strip_prefix("/v1/"), path.strip_prefix(PACKAGE)) {
        (Some(signal), _) => signal,
        (_, Some("trace.v1.TraceService/Export")) => "traces",
        (_, Some("metrics.v1.MetricsService/Export")) => "metrics",
        (_, Some("logs.v1.LogsService/Export")) => "logs",
        _ => bail!("{path} is not served"),
    };
    match signal {
        "traces" => received.traces(ExportTraceServiceRequest::decode(message)?),
        "metrics" => received.metrics(ExportMetricsServiceRequest::decode(message)?),
        "logs" => received.logs(ExportLogsServiceRequest::decode(message)?),
        other => bail!("{other:?} is no signal"),
    }
    Ok(())
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROTOBUF);
    response
}

fn grpc(status: &'static str) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let trailers = std::future::ready(Some(Ok(trailers)));
    let body = Full::new(EMPTY_FRAME).with_trailers(trailers).boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}
