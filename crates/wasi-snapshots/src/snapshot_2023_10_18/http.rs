//! `wasi:http` of the snapshot: messages are complete when they are made,
//! nothing about a header can fail, and there are four kinds of error.

#[cfg(test)]
mod tests;

use super::SNAPSHOT;
use crate::table::table;
use crate::unchanged::http;
use std::time::Duration;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource};
use wasmtime::{bail, format_err};
use wasmtime_wasi_http::p2::HeaderResult;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self as today, ErrorCode, Fields, FutureIncomingResponse, FutureTrailers, HeaderError, Headers,
    HostFields, HostFutureIncomingResponse, HostFutureTrailers, HostIncomingRequest,
    HostIncomingResponse, HostOutgoingBody, HostOutgoingRequest, HostOutgoingResponse,
    HostResponseOutparam, IncomingRequest, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, ResponseOutparam, Scheme, Trailers,
};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest as RequestParts;
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

/// The snapshot's `error`.
#[derive(Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "invalid-url")]
    InvalidUrl(String),
    #[component(name = "timeout-error")]
    Timeout(String),
    #[component(name = "protocol-error")]
    Protocol(String),
    #[component(name = "unexpected-error")]
    Unexpected(String),
}

/// The snapshot's `request-options`: timeouts in milliseconds.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct RequestOptions {
    #[component(name = "connect-timeout-ms")]
    connect: Option<u32>,
    #[component(name = "first-byte-timeout-ms")]
    first_byte: Option<u32>,
    #[component(name = "between-bytes-timeout-ms")]
    between_bytes: Option<u32>,
}

type View<'a> = WasiHttpCtxView<'a>;

pub(super) fn add_to_linker<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    http::add_to_linker(linker, SNAPSHOT)?;
    table!(SNAPSHOT.instance(linker, "wasi:http/outgoing-handler")?, T::http, {
        "handle" => value handle[
            request: Resource<OutgoingRequest>, options: Option<RequestOptions>
        ];
    });
    table!(SNAPSHOT.instance(linker, "wasi:http/types")?, T::http, {
        "[constructor]fields" => value new_fields[entries: Vec<(String, Vec<u8>)>];
        "[method]fields.set" => unit set_field[
            fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>
        ];
        "[method]fields.delete" => unit delete_field[fields: Resource<Fields>, name: String];
        "[method]fields.append" => unit append_field[
            fields: Resource<Fields>, name: String, value: Vec<u8>
        ];
        "[method]incoming-request.headers" => value request_headers[
            request: Resource<IncomingRequest>
        ];
        "[method]incoming-response.headers" => value response_headers[
            response: Resource<IncomingResponse>
        ];
        "[constructor]outgoing-request" => value new_request[
            method: Method,
            path_with_query: Option<String>,
            scheme: Option<Scheme>,
            authority: Option<String>,
            headers: Resource<Headers>
        ];
        "[method]outgoing-request.write" => value HostOutgoingRequest::body[
            request: Resource<OutgoingRequest>
        ];
        "[constructor]outgoing-response" => value new_response[
            status: u16, headers: Resource<Headers>
        ];
        "[method]outgoing-response.write" => value HostOutgoingResponse::body[
            response: Resource<OutgoingResponse>
        ];
        "[static]response-outparam.set" => unit set_response[
            param: Resource<ResponseOutparam>, response: Result<Resource<OutgoingResponse>, Error>
        ];
        "[static]outgoing-body.finish" => unit finish_body[
            body: Resource<OutgoingBody>, trailers: Option<Resource<Trailers>>
        ];
        "[method]future-trailers.get" => value trailers[future: Resource<FutureTrailers>];
        "[method]future-incoming-response.get" => value response[
            future: Resource<FutureIncomingResponse>
        ];
    });
    Ok(())
}

fn new_fields(
    view: &mut View<'_>,
    entries: Vec<(String, Vec<u8>)>,
) -> wasmtime::Result<Resource<Fields>> {
    let fields = HostFields::new(view)?;
    for (name, value) in entries {
        append_field(view, Resource::new_borrow(fields.rep()), name, value)?;
    }
    Ok(fields)
}

fn set_field(
    view: &mut View<'_>,
    fields: Resource<Fields>,
    name: String,
    values: Vec<Vec<u8>>,
) -> wasmtime::Result<()> {
    let outcome = HostFields::set(view, fields, name.clone(), values);
    without_refusal(&name, outcome)
}

fn delete_field(
    view: &mut View<'_>,
    fields: Resource<Fields>,
    name: String,
) -> wasmtime::Result<()> {
    let outcome = HostFields::delete(view, fields, name.clone());
    without_refusal(&name, outcome)
}

fn append_field(
    view: &mut View<'_>,
    fields: Resource<Fields>,
    name: String,
    value: Vec<u8>,
) -> wasmtime::Result<()> {
    let outcome = HostFields::append(view, fields, name.clone(), value);
    without_refusal(&name, outcome)
}

/// Leaves out the headers that the host keeps for itself, traps on the rest.
fn without_refusal(name: &str, outcome: HeaderResult<()>) -> wasmtime::Result<()> {
    match outcome.map_err(wasmtime_wasi_http::p2::HeaderError::downcast) {
        Ok(()) | Err(Ok(HeaderError::Forbidden)) => Ok(()),
        Err(Ok(HeaderError::InvalidSyntax)) => {
            bail!("header `{name}` is malformed, which wasi:http of 2023-10-18 cannot report")
        }
        Err(Ok(HeaderError::Immutable)) => {
            bail!("header `{name}` is immutable, which wasi:http of 2023-10-18 cannot report")
        }
        Err(Err(trap)) => Err(trap),
    }
}

fn request_headers(
    view: &mut View<'_>,
    request: Resource<IncomingRequest>,
) -> wasmtime::Result<Resource<Fields>> {
    let headers = HostIncomingRequest::headers(view, request)?;
    mutable(view, headers)
}

fn response_headers(
    view: &mut View<'_>,
    response: Resource<IncomingResponse>,
) -> wasmtime::Result<Resource<Fields>> {
    let headers = HostIncomingResponse::headers(view, response)?;
    mutable(view, headers)
}

/// The guest's own copy of `fields`.
fn mutable(view: &mut View<'_>, fields: Resource<Fields>) -> wasmtime::Result<Resource<Fields>> {
    let copy = HostFields::clone(view, Resource::new_borrow(fields.rep()))?;
    HostFields::drop(view, fields)?;
    Ok(copy)
}

fn new_request(
    view: &mut View<'_>,
    method: Method,
    path_with_query: Option<String>,
    scheme: Option<Scheme>,
    authority: Option<String>,
    headers: Resource<Headers>,
) -> wasmtime::Result<Resource<OutgoingRequest>> {
    let headers = view.table.get(&headers)?.clone();
    let parts = RequestParts { method, scheme, authority, path_with_query, headers, body: None };
    Ok(view.table.push(parts)?)
}

fn new_response(
    view: &mut View<'_>,
    status: u16,
    headers: Resource<Headers>,
) -> wasmtime::Result<Resource<OutgoingResponse>> {
    let headers = HostFields::clone(view, headers)?;
    let response = HostOutgoingResponse::new(view, headers)?;
    let borrowed = Resource::new_borrow(response.rep());
    HostOutgoingResponse::set_status_code(view, borrowed, status)?.map_err(|()| {
        format_err!("status {status} is invalid, which wasi:http of 2023-10-18 cannot report")
    })?;
    Ok(response)
}

fn set_response(
    view: &mut View<'_>,
    param: Resource<ResponseOutparam>,
    response: Result<Resource<OutgoingResponse>, Error>,
) -> wasmtime::Result<()> {
    HostResponseOutparam::set(view, param, response.map_err(ErrorCode::from))
}

/// A body that does not have the length its headers promise is cut off, so that
/// the peer notices; the guest has no way to be told.
fn finish_body(
    view: &mut View<'_>,
    body: Resource<OutgoingBody>,
    trailers: Option<Resource<Trailers>>,
) -> wasmtime::Result<()> {
    match HostOutgoingBody::finish(view, body, trailers) {
        Ok(()) => Ok(()),
        Err(error) => error.downcast().map(|_: ErrorCode| ()),
    }
}

fn handle(
    view: &mut View<'_>,
    request: Resource<OutgoingRequest>,
    options: Option<RequestOptions>,
) -> wasmtime::Result<Result<Resource<FutureIncomingResponse>, Error>> {
    if let Err(error) = check(view, &request)? {
        HostOutgoingRequest::drop(view, request)?;
        return Ok(Err(error));
    }
    let options = options.map(|options| view.table.push(options.today())).transpose()?;
    // Today's host reads the options and leaves them in the table.
    let borrowed = options.as_ref().map(|options| Resource::new_borrow(options.rep()));
    let outcome = http::handle(view, request, borrowed);
    if let Some(options) = options {
        view.table.delete(options)?;
    }
    match outcome {
        Ok(response) => Ok(Ok(response)),
        Err(error) => Ok(Err(error.downcast()?.into())),
    }
}

/// The checks that today's guest meets one by one when it makes a request.
fn check(
    view: &mut View<'_>,
    request: &Resource<OutgoingRequest>,
) -> wasmtime::Result<Result<(), Error>> {
    let parts = view.table.get(request)?;
    let (method, scheme) = (parts.method.clone(), parts.scheme.clone());
    let (path, authority) = (parts.path_with_query.clone(), parts.authority.clone());
    let request = || Resource::new_borrow(request.rep());
    let text = |what: &str, part: &dyn std::fmt::Debug| format!("{what} {part:?} is malformed");

    let error = text("method", &method);
    if HostOutgoingRequest::set_method(view, request(), method)?.is_err() {
        return Ok(Err(Error::Protocol(error)));
    }
    let error = text("scheme", &scheme);
    if HostOutgoingRequest::set_scheme(view, request(), scheme)?.is_err() {
        return Ok(Err(Error::InvalidUrl(error)));
    }
    let error = text("authority", &authority);
    if HostOutgoingRequest::set_authority(view, request(), authority)?.is_err() {
        return Ok(Err(Error::InvalidUrl(error)));
    }
    let error = text("path", &path);
    if HostOutgoingRequest::set_path_with_query(view, request(), path)?.is_err() {
        return Ok(Err(Error::InvalidUrl(error)));
    }
    Ok(Ok(()))
}

type TrailersOutcome = Result<Resource<Trailers>, Error>;

fn trailers(
    view: &mut View<'_>,
    future: Resource<FutureTrailers>,
) -> wasmtime::Result<Option<TrailersOutcome>> {
    Ok(match HostFutureTrailers::get(view, future)? {
        None => None,
        Some(Err(())) => Some(Err(Error::Unexpected("the trailers were already taken".to_owned()))),
        Some(Ok(Err(code))) => Some(Err(code.into())),
        Some(Ok(Ok(None))) => Some(Ok(HostFields::new(view)?)),
        Some(Ok(Ok(Some(trailers)))) => Some(Ok(mutable(view, trailers)?)),
    })
}

type ResponseOutcome = Result<Result<Resource<IncomingResponse>, Error>, ()>;

fn response(
    view: &mut View<'_>,
    future: Resource<FutureIncomingResponse>,
) -> wasmtime::Result<Option<ResponseOutcome>> {
    let outcome = HostFutureIncomingResponse::get(view, future)?;
    Ok(outcome.map(|outcome| outcome.map(|response| response.map_err(Error::from))))
}

impl RequestOptions {
    fn today(&self) -> today::RequestOptions {
        let duration = |timeout: Option<u32>| timeout.map(|ms| Duration::from_millis(ms.into()));
        today::RequestOptions {
            connect_timeout: duration(self.connect),
            first_byte_timeout: duration(self.first_byte),
            between_bytes_timeout: duration(self.between_bytes),
        }
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        let text = format!("{code:?}");
        match code {
            ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestUriTooLong => {
                Self::InvalidUrl(text)
            }
            ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => Self::Timeout(text),
            ErrorCode::TlsProtocolError
            | ErrorCode::TlsCertificateError
            | ErrorCode::TlsAlertReceived(_)
            | ErrorCode::HttpRequestLengthRequired
            | ErrorCode::HttpRequestBodySize(_)
            | ErrorCode::HttpRequestMethodInvalid
            | ErrorCode::HttpRequestHeaderSectionSize(_)
            | ErrorCode::HttpRequestHeaderSize(_)
            | ErrorCode::HttpRequestTrailerSectionSize(_)
            | ErrorCode::HttpRequestTrailerSize(_)
            | ErrorCode::HttpResponseIncomplete
            | ErrorCode::HttpResponseHeaderSectionSize(_)
            | ErrorCode::HttpResponseHeaderSize(_)
            | ErrorCode::HttpResponseBodySize(_)
            | ErrorCode::HttpResponseTrailerSectionSize(_)
            | ErrorCode::HttpResponseTrailerSize(_)
            | ErrorCode::HttpResponseTransferCoding(_)
            | ErrorCode::HttpResponseContentCoding(_)
            | ErrorCode::HttpUpgradeFailed
            | ErrorCode::HttpProtocolError => Self::Protocol(text),
            ErrorCode::DnsError(_)
            | ErrorCode::DestinationNotFound
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpProhibited
            | ErrorCode::DestinationIpUnroutable
            | ErrorCode::ConnectionRefused
            | ErrorCode::ConnectionTerminated
            | ErrorCode::ConnectionLimitReached
            | ErrorCode::HttpRequestDenied
            | ErrorCode::LoopDetected
            | ErrorCode::ConfigurationError
            | ErrorCode::InternalError(_) => Self::Unexpected(text),
        }
    }
}

impl From<Error> for ErrorCode {
    fn from(error: Error) -> Self {
        Self::InternalError(Some(match error {
            Error::InvalidUrl(text) => format!("invalid URL: {text}"),
            Error::Timeout(text) => format!("timeout: {text}"),
            Error::Protocol(text) => format!("protocol error: {text}"),
            Error::Unexpected(text) => text,
        }))
    }
}
