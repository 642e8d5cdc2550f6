//! `wasi:http` of the snapshot.

#[cfg(test)]
mod tests;

use super::SNAPSHOT;
use crate::table::table;
use crate::unchanged::http;
use std::time::Duration;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, Fields, FutureIncomingResponse, FutureTrailers, Headers, HostFields,
    HostFutureIncomingResponse, HostFutureTrailers, HostIncomingRequest, HostIncomingResponse,
    HostOutgoingBody, HostOutgoingRequest, HostOutgoingResponse, HostRequestOptions,
    HostResponseOutparam, IncomingRequest, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam, Scheme, Trailers,
};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

type Options = Resource<RequestOptions>;

pub(super) fn add_to_linker<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    http::add_to_linker(linker, SNAPSHOT)?;
    add_handler_and_errors(linker)?;
    add_fields(linker)?;
    add_messages(linker)?;
    add_request_options(linker)
}

fn add_handler_and_errors<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    table!(SNAPSHOT.instance(linker, "wasi:http/outgoing-handler")?, T::http, {
        "handle" => outcome http::handle[
            request: Resource<OutgoingRequest>, options: Option<Options>
        ];
    });
    table!(SNAPSHOT.instance(linker, "wasi:http/types")?, T::http, {
        "http-error-code" => value types::Host::http_error_code[error: Resource<IoError>];
    });
    Ok(())
}

fn add_fields<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    table!(SNAPSHOT.instance(linker, "wasi:http/types")?, T::http, {
        "[constructor]fields" => value HostFields::new[];
        "[static]fields.from-list" => outcome HostFields::from_list[
            entries: Vec<(String, Vec<u8>)>
        ];
        "[method]fields.set" => outcome HostFields::set[
            fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>
        ];
        "[method]fields.delete" => outcome HostFields::delete[
            fields: Resource<Fields>, name: String
        ];
        "[method]fields.append" => outcome HostFields::append[
            fields: Resource<Fields>, name: String, value: Vec<u8>
        ];
    });
    Ok(())
}

fn add_messages<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Request = Resource<OutgoingRequest>;
    type Response = Resource<OutgoingResponse>;
    table!(SNAPSHOT.instance(linker, "wasi:http/types")?, T::http, {
        "[method]incoming-request.headers" => value HostIncomingRequest::headers[
            request: Resource<IncomingRequest>
        ];
        "[method]incoming-response.headers" => value HostIncomingResponse::headers[
            response: Resource<IncomingResponse>
        ];

        "[constructor]outgoing-request" => value HostOutgoingRequest::new[
            headers: Resource<Headers>
        ];
        "[method]outgoing-request.body" => value HostOutgoingRequest::body[request: Request];
        "[method]outgoing-request.method" => value HostOutgoingRequest::method[request: Request];
        "[method]outgoing-request.set-method" => value HostOutgoingRequest::set_method[
            request: Request, method: Method
        ];
        "[method]outgoing-request.path-with-query" => value HostOutgoingRequest::path_with_query[
            request: Request
        ];
        "[method]outgoing-request.set-path-with-query" =>
            value HostOutgoingRequest::set_path_with_query[
                request: Request, path_with_query: Option<String>
            ];
        "[method]outgoing-request.scheme" => value HostOutgoingRequest::scheme[request: Request];
        "[method]outgoing-request.set-scheme" => value HostOutgoingRequest::set_scheme[
            request: Request, scheme: Option<Scheme>
        ];
        "[method]outgoing-request.authority" => value HostOutgoingRequest::authority[
            request: Request
        ];
        "[method]outgoing-request.set-authority" => value HostOutgoingRequest::set_authority[
            request: Request, authority: Option<String>
        ];
        "[method]outgoing-request.headers" => value HostOutgoingRequest::headers[request: Request];

        "[constructor]outgoing-response" => value HostOutgoingResponse::new[
            headers: Resource<Headers>
        ];
        "[method]outgoing-response.status-code" => value HostOutgoingResponse::status_code[
            response: Response
        ];
        "[method]outgoing-response.set-status-code" => value HostOutgoingResponse::set_status_code[
            response: Response, status: u16
        ];
        "[method]outgoing-response.headers" => value HostOutgoingResponse::headers[
            response: Response
        ];
        "[method]outgoing-response.body" => value HostOutgoingResponse::body[response: Response];
        "[static]response-outparam.set" => unit HostResponseOutparam::set[
            param: Resource<ResponseOutparam>, response: Result<Response, ErrorCode>
        ];

        "[static]outgoing-body.finish" => outcome HostOutgoingBody::finish[
            body: Resource<OutgoingBody>, trailers: Option<Resource<Trailers>>
        ];
        "[method]future-trailers.get" => value trailers[future: Resource<FutureTrailers>];
        "[method]future-incoming-response.get" => value HostFutureIncomingResponse::get[
            response: Resource<FutureIncomingResponse>
        ];
    });
    Ok(())
}

fn add_request_options<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    table!(SNAPSHOT.instance(linker, "wasi:http/types")?, T::http, {
        "request-options" => resource HostRequestOptions::drop[options: RequestOptions];
        "[constructor]request-options" => value HostRequestOptions::new[];
        "[method]request-options.connect-timeout-ms" => value connect_timeout[options: Options];
        "[method]request-options.set-connect-timeout-ms" => value set_connect_timeout[
            options: Options, value: Option<u64>
        ];
        "[method]request-options.first-byte-timeout-ms" => value first_byte_timeout[
            options: Options
        ];
        "[method]request-options.set-first-byte-timeout-ms" => value set_first_byte_timeout[
            options: Options, value: Option<u64>
        ];
        "[method]request-options.between-bytes-timeout-ms" => value between_bytes_timeout[
            options: Options
        ];
        "[method]request-options.set-between-bytes-timeout-ms" => value set_between_bytes_timeout[
            options: Options, value: Option<u64>
        ];
    });
    Ok(())
}

type TrailersOutcome = Result<Option<Resource<Trailers>>, ErrorCode>;

fn trailers(
    view: &mut WasiHttpCtxView<'_>,
    future: Resource<FutureTrailers>,
) -> wasmtime::Result<Option<TrailersOutcome>> {
    let taken = || ErrorCode::InternalError(Some("the trailers were already taken".to_owned()));
    let outcome = HostFutureTrailers::get(view, future)?;
    Ok(outcome.map(|outcome| outcome.unwrap_or_else(|()| Err(taken()))))
}

/// A timeout as the guest counts it.
fn milliseconds(timeout: Option<Duration>) -> Option<u64> {
    timeout.map(|timeout| timeout.as_millis().try_into().unwrap_or(u64::MAX))
}

fn connect_timeout(
    view: &mut WasiHttpCtxView<'_>,
    options: Options,
) -> wasmtime::Result<Option<u64>> {
    Ok(milliseconds(view.table.get(&options)?.connect_timeout))
}

fn set_connect_timeout(
    view: &mut WasiHttpCtxView<'_>,
    options: Options,
    value: Option<u64>,
) -> wasmtime::Result<Result<(), ()>> {
    view.table.get_mut(&options)?.connect_timeout = value.map(Duration::from_millis);
    Ok(Ok(()))
}

fn first_byte_timeout(
    view: &mut WasiHttpCtxView<'_>,
    options: Options,
) -> wasmtime::Result<Option<u64>> {
    Ok(milliseconds(view.table.get(&options)?.first_byte_timeout))
}

fn set_first_byte_timeout(
    view: &mut WasiHttpCtxView<'_>,
    options: Options,
    value: Option<u64>,
) -> wasmtime::Result<Result<(), ()>> {
    view.table.get_mut(&options)?.first_byte_timeout = value.map(Duration::from_millis);
    Ok(Ok(()))
}

fn between_bytes_timeout(
    view: &mut WasiHttpCtxView<'_>,
    options: Options,
) -> wasmtime::Result<Option<u64>> {
    Ok(milliseconds(view.table.get(&options)?.between_bytes_timeout))
}

fn set_between_bytes_timeout(
    view: &mut WasiHttpCtxView<'_>,
    options: Options,
    value: Option<u64>,
) -> wasmtime::Result<Result<(), ()>> {
    view.table.get_mut(&options)?.between_bytes_timeout = value.map(Duration::from_millis);
    Ok(Ok(()))
}
