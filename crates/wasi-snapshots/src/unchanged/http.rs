//! `wasi:http/types`: what both snapshots have in common with today.

use crate::Snapshot;
use crate::table::table;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::HttpResult;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
use wasmtime_wasi_http::p2::bindings::http::types::{
    Fields, FutureIncomingResponse, FutureTrailers, HostFields, HostFutureIncomingResponse,
    HostFutureTrailers, HostIncomingBody, HostIncomingRequest, HostIncomingResponse,
    HostOutgoingBody, HostOutgoingRequest, HostOutgoingResponse, HostResponseOutparam,
    IncomingBody, IncomingRequest, IncomingResponse, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam,
};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

/// The authority of a URL without a host, which is what later SDKs make of a
/// relative one: the embedder decides what it means.
const NO_HOST: &str = ":80";

/// Links the resources of `wasi:http/types` and the methods that only read or
/// hand out bodies.
pub(crate) fn add_to_linker<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:http/types")?, T::http, {
        "fields" => resource HostFields::drop[fields: Fields];
        "[method]fields.get" => value HostFields::get[fields: Resource<Fields>, name: String];
        "[method]fields.entries" => value HostFields::entries[fields: Resource<Fields>];
        "[method]fields.clone" => value HostFields::clone[fields: Resource<Fields>];

        "incoming-request" => resource HostIncomingRequest::drop[request: IncomingRequest];
        "[method]incoming-request.method" => value HostIncomingRequest::method[
            request: Resource<IncomingRequest>
        ];
        "[method]incoming-request.path-with-query" => value HostIncomingRequest::path_with_query[
            request: Resource<IncomingRequest>
        ];
        "[method]incoming-request.scheme" => value HostIncomingRequest::scheme[
            request: Resource<IncomingRequest>
        ];
        "[method]incoming-request.authority" => value HostIncomingRequest::authority[
            request: Resource<IncomingRequest>
        ];
        "[method]incoming-request.consume" => value HostIncomingRequest::consume[
            request: Resource<IncomingRequest>
        ];

        "incoming-response" => resource HostIncomingResponse::drop[response: IncomingResponse];
        "[method]incoming-response.status" => value HostIncomingResponse::status[
            response: Resource<IncomingResponse>
        ];
        "[method]incoming-response.consume" => value HostIncomingResponse::consume[
            response: Resource<IncomingResponse>
        ];

        "incoming-body" => resource HostIncomingBody::drop[body: IncomingBody];
        "[method]incoming-body.stream" => value HostIncomingBody::stream[
            body: Resource<IncomingBody>
        ];
        "[static]incoming-body.finish" => value HostIncomingBody::finish[
            body: Resource<IncomingBody>
        ];
    });
    add_outgoing(linker, snapshot)
}

fn add_outgoing<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:http/types")?, T::http, {
        "outgoing-request" => resource HostOutgoingRequest::drop[request: OutgoingRequest];
        "outgoing-response" => resource HostOutgoingResponse::drop[response: OutgoingResponse];
        "response-outparam" => resource HostResponseOutparam::drop[param: ResponseOutparam];

        "outgoing-body" => resource HostOutgoingBody::drop[body: OutgoingBody];
        "[method]outgoing-body.write" => value HostOutgoingBody::write[
            body: Resource<OutgoingBody>
        ];

        "future-trailers" => resource HostFutureTrailers::drop[trailers: FutureTrailers];
        "[method]future-trailers.subscribe" => value HostFutureTrailers::subscribe[
            trailers: Resource<FutureTrailers>
        ];

        "future-incoming-response" => resource HostFutureIncomingResponse::drop[
            response: FutureIncomingResponse
        ];
        "[method]future-incoming-response.subscribe" =>
            value HostFutureIncomingResponse::subscribe[
                response: Resource<FutureIncomingResponse>
            ];
    });
    Ok(())
}

/// Sends a request as today's host does, one without an authority, which that
/// refuses, to no host.
pub(crate) fn handle(
    view: &mut WasiHttpCtxView<'_>,
    request: Resource<OutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> HttpResult<Resource<FutureIncomingResponse>> {
    if let Ok(parts) = view.table.get_mut(&request)
        && parts.authority.as_deref().is_none_or(str::is_empty)
    {
        parts.authority = Some(NO_HOST.to_owned());
    }
    outgoing_handler::Host::handle(view, request, options)
}
