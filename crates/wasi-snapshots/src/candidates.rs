//! `wasi:http` of two release candidates of WASI 0.3: of 2025-09-16, which Spin
//! 3.5 hosted, and of 2026-01-06, which Spin 3.6 did.
//!
//! It is that of 0.3.0 but for two types of errors, which have more cases since,
//! and for the interface that sends requests: in both candidates a component may
//! import `handler`, which it exports as well, in the second one also `client`.
//!
//! What else these candidates have in common with 0.3.0 gets the names of 0.3.0
//! when a component is compiled. Their files, sockets and standard streams had
//! other signatures and are not here.

use crate::Snapshot;
use crate::table::table;
use wasmtime::component::{
    Access, ComponentType, FutureReader, Lift, Linker, Lower, Resource, ResourceType, StreamReader,
};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p3::bindings::http::client::HostWithStore;
use wasmtime_wasi_http::p3::bindings::http::types::{
    self, ErrorCode, Fields, HostFields, HostRequest, HostRequestOptions, HostRequestWithStore,
    HostResponse, HostResponseWithStore, Method, Request, RequestOptions, Response, Scheme,
    Trailers,
};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtxView, WasiHttpView};

const CANDIDATES: [Snapshot; 2] =
    [Snapshot("0.3.0-rc-2025-09-16"), Snapshot("0.3.0-rc-2026-01-06")];

/// The names of the interfaces that [`add_to_linker`] links.
pub const PROVIDES: &[&str] = &[
    "wasi:http/client@0.3.0-rc-2026-01-06",
    "wasi:http/handler@0.3.0-rc-2025-09-16",
    "wasi:http/handler@0.3.0-rc-2026-01-06",
    "wasi:http/types@0.3.0-rc-2025-09-16",
    "wasi:http/types@0.3.0-rc-2026-01-06",
];

/// Links `wasi:http` of both candidates.
///
/// # Errors
///
/// Fails when `linker` has one of them already.
pub fn add_to_linker<T: WasiHttpView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    for candidate in CANDIDATES {
        add_fields(linker, candidate)?;
        add_requests(linker, candidate)?;
        add_request_options(linker, candidate)?;
        add_responses(linker, candidate)?;
        add_sending(linker, candidate, "wasi:http/handler", "handle")?;
    }
    let [_, second] = CANDIDATES;
    add_sending(linker, second, "wasi:http/client", "send")
}

fn add_fields<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    candidate: Snapshot,
) -> wasmtime::Result<()> {
    table!(candidate.instance(linker, "wasi:http/types")?, T::http, {
        "fields" => resource HostFields::drop[fields: Fields];
        "[constructor]fields" => value HostFields::new[];
        "[static]fields.from-list" => value from_list[
            entries: Vec<(String, Vec<u8>)>
        ];
        "[method]fields.get" => value HostFields::get[fields: Resource<Fields>, name: String];
        "[method]fields.has" => value HostFields::has[fields: Resource<Fields>, name: String];
        "[method]fields.set" => value set[
            fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>
        ];
        "[method]fields.delete" => value delete[
            fields: Resource<Fields>, name: String
        ];
        "[method]fields.get-and-delete" => value get_and_delete[
            fields: Resource<Fields>, name: String
        ];
        "[method]fields.append" => value append[
            fields: Resource<Fields>, name: String, value: Vec<u8>
        ];
        "[method]fields.copy-all" => value HostFields::copy_all[fields: Resource<Fields>];
        "[method]fields.clone" => value HostFields::clone[fields: Resource<Fields>];
    });
    Ok(())
}

fn add_requests<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    candidate: Snapshot,
) -> wasmtime::Result<()> {
    table!(candidate.instance(linker, "wasi:http/types")?, T::http, {
        "[method]request.get-method" => value HostRequest::get_method[request: Resource<Request>];
        "[method]request.set-method" => value HostRequest::set_method[
            request: Resource<Request>, method: Method
        ];
        "[method]request.get-path-with-query" => value HostRequest::get_path_with_query[
            request: Resource<Request>
        ];
        "[method]request.set-path-with-query" => value HostRequest::set_path_with_query[
            request: Resource<Request>, path_with_query: Option<String>
        ];
        "[method]request.get-scheme" => value HostRequest::get_scheme[request: Resource<Request>];
        "[method]request.set-scheme" => value HostRequest::set_scheme[
            request: Resource<Request>, scheme: Option<Scheme>
        ];
        "[method]request.get-authority" => value HostRequest::get_authority[
            request: Resource<Request>
        ];
        "[method]request.set-authority" => value HostRequest::set_authority[
            request: Resource<Request>, authority: Option<String>
        ];
        "[method]request.get-options" => value HostRequest::get_options[
            request: Resource<Request>
        ];
        "[method]request.get-headers" => value HostRequest::get_headers[
            request: Resource<Request>
        ];
    });
    let mut instance = candidate.instance(linker, "wasi:http/types")?;
    instance.resource("request", ResourceType::host::<Request>(), |store, request| {
        let request = Resource::new_own(request);
        HostRequestWithStore::drop(Access::<T, WasiHttp>::new(store, T::http), request)
    })?;
    instance.func_wrap(
        "[static]request.new",
        |store, (headers, contents, trailers, options): (_, Contents, TrailersReader, Options)| {
            let store = Access::<T, WasiHttp>::new(store, T::http);
            Ok((HostRequestWithStore::new(store, headers, contents, trailers, options)?,))
        },
    )?;
    instance.func_wrap(
        "[static]request.consume-body",
        |store, (request, processed): (_, FutureReader<Result<(), ErrorCode>>)| {
            let store = Access::<T, WasiHttp>::new(store, T::http);
            Ok((HostRequestWithStore::consume_body(store, request, processed)?,))
        },
    )
}

type Contents = Option<StreamReader<u8>>;
type TrailersReader = FutureReader<Result<Option<Resource<Trailers>>, ErrorCode>>;
type Options = Option<Resource<RequestOptions>>;

fn add_request_options<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    candidate: Snapshot,
) -> wasmtime::Result<()> {
    type Options = Resource<RequestOptions>;
    table!(candidate.instance(linker, "wasi:http/types")?, T::http, {
        "request-options" => resource HostRequestOptions::drop[options: RequestOptions];
        "[constructor]request-options" => value HostRequestOptions::new[];
        "[method]request-options.get-connect-timeout" =>
            value HostRequestOptions::get_connect_timeout[options: Options];
        "[method]request-options.set-connect-timeout" =>
            value set_connect_timeout[
                options: Options, timeout: Option<u64>
            ];
        "[method]request-options.get-first-byte-timeout" =>
            value HostRequestOptions::get_first_byte_timeout[options: Options];
        "[method]request-options.set-first-byte-timeout" =>
            value set_first_byte_timeout[
                options: Options, timeout: Option<u64>
            ];
        "[method]request-options.get-between-bytes-timeout" =>
            value HostRequestOptions::get_between_bytes_timeout[options: Options];
        "[method]request-options.set-between-bytes-timeout" =>
            value set_between_bytes_timeout[
                options: Options, timeout: Option<u64>
            ];
        "[method]request-options.clone" => value HostRequestOptions::clone[options: Options];
    });
    Ok(())
}

fn add_responses<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    candidate: Snapshot,
) -> wasmtime::Result<()> {
    table!(candidate.instance(linker, "wasi:http/types")?, T::http, {
        "[method]response.get-status-code" => value HostResponse::get_status_code[
            response: Resource<Response>
        ];
        "[method]response.set-status-code" => value HostResponse::set_status_code[
            response: Resource<Response>, status: u16
        ];
        "[method]response.get-headers" => value HostResponse::get_headers[
            response: Resource<Response>
        ];
    });
    let mut instance = candidate.instance(linker, "wasi:http/types")?;
    instance.resource("response", ResourceType::host::<Response>(), |store, response| {
        let response = Resource::new_own(response);
        HostResponseWithStore::drop(Access::<T, WasiHttp>::new(store, T::http), response)
    })?;
    instance.func_wrap(
        "[static]response.new",
        |store, (headers, contents, trailers): (_, Contents, TrailersReader)| {
            let store = Access::<T, WasiHttp>::new(store, T::http);
            Ok((HostResponseWithStore::new(store, headers, contents, trailers)?,))
        },
    )?;
    instance.func_wrap(
        "[static]response.consume-body",
        |store, (response, processed): (_, FutureReader<Result<(), ErrorCode>>)| {
            let store = Access::<T, WasiHttp>::new(store, T::http);
            Ok((HostResponseWithStore::consume_body(store, response, processed)?,))
        },
    )
}

/// The function that sends a request, under the names it had.
fn add_sending<T: WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    candidate: Snapshot,
    interface: &str,
    function: &str,
) -> wasmtime::Result<()> {
    candidate.instance(linker, interface)?.func_wrap_concurrent(
        function,
        |store, (request,): (Resource<Request>,)| {
            Box::pin(async move {
                let store = &store.with_getter::<WasiHttp>(T::http);
                let response = HostWithStore::send(store, request).await;
                Ok((response.map_or_else(|error| error.downcast().map(Err), |sent| Ok(Ok(sent)))?,))
            })
        },
    )
}

/// The errors of today as those of the candidates.
fn earlier<V, Today, Then>(
    result: Result<V, TrappableError<Today>>,
) -> wasmtime::Result<Result<V, Then>>
where
    Today: std::error::Error + Send + Sync + 'static,
    Then: From<Today>,
{
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?.into())),
    }
}

/// Functions of today whose errors had fewer cases.
macro_rules! earlier {
    ($($host:ident { $($method:ident($($arg:ident: $type:ty),*) -> $value:ty, $error:ty;)* })*) => {
        $($(fn $method(
            view: &mut WasiHttpCtxView<'_>,
            $($arg: $type),*
        ) -> wasmtime::Result<Result<$value, $error>> {
            earlier($host::$method(view, $($arg),*))
        })*)*
    };
}

earlier! {
    HostFields {
        from_list(entries: Vec<(String, Vec<u8>)>) -> Resource<Fields>, HeaderError;
        set(fields: Resource<Fields>, name: String, values: Vec<Vec<u8>>) -> (), HeaderError;
        delete(fields: Resource<Fields>, name: String) -> (), HeaderError;
        get_and_delete(fields: Resource<Fields>, name: String) -> Vec<Vec<u8>>, HeaderError;
        append(fields: Resource<Fields>, name: String, value: Vec<u8>) -> (), HeaderError;
    }
    HostRequestOptions {
        set_connect_timeout(
            options: Resource<RequestOptions>, timeout: Option<u64>
        ) -> (), RequestOptionsError;
        set_first_byte_timeout(
            options: Resource<RequestOptions>, timeout: Option<u64>
        ) -> (), RequestOptionsError;
        set_between_bytes_timeout(
            options: Resource<RequestOptions>, timeout: Option<u64>
        ) -> (), RequestOptionsError;
    }
}

/// What may be wrong with a header, before its size could be.
#[derive(Debug, Clone, Copy, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
enum HeaderError {
    #[component(name = "invalid-syntax")]
    InvalidSyntax,
    #[component(name = "forbidden")]
    Forbidden,
    #[component(name = "immutable")]
    Immutable,
}

impl From<types::HeaderError> for HeaderError {
    fn from(error: types::HeaderError) -> Self {
        match error {
            types::HeaderError::Immutable => Self::Immutable,
            types::HeaderError::Forbidden => Self::Forbidden,
            types::HeaderError::InvalidSyntax
            | types::HeaderError::SizeExceeded
            | types::HeaderError::Other(_) => Self::InvalidSyntax,
        }
    }
}

/// Why an option of a request cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
enum RequestOptionsError {
    #[component(name = "not-supported")]
    NotSupported,
    #[component(name = "immutable")]
    Immutable,
}

impl From<types::RequestOptionsError> for RequestOptionsError {
    fn from(error: types::RequestOptionsError) -> Self {
        match error {
            types::RequestOptionsError::Immutable => Self::Immutable,
            types::RequestOptionsError::NotSupported | types::RequestOptionsError::Other(_) => {
                Self::NotSupported
            }
        }
    }
}
