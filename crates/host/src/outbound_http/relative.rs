//! Requests without an authority, which Spin has the app itself answer: they are
//! sent to `self.alt`. The host of WASI takes no such request, so that it is
//! asked in its place.

use outbound_hosts::SELF_HOST;
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p2::bindings::http::{outgoing_handler, types};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::p3::bindings::http::client;
use wasmtime_wasi_http::p3::bindings::http::types::{ErrorCode, Request, Response};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtxView, WasiHttpView as _};

use crate::InstanceState;

/// Links what sends requests of WASI 0.2, over what is linked already.
pub(super) fn link_0_2(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut handler = linker.instance("wasi:http/outgoing-handler@0.2.12")?;
    handler.func_wrap("handle", |mut store, (request, options): Arguments| {
        let mut view = store.data_mut().http();
        let sent: &mut HostOutgoingRequest = view.table.get_mut(&request)?;
        if sent.authority.as_ref().is_none_or(String::is_empty) {
            sent.authority = Some(SELF_HOST.to_owned());
        }
        let outcome = outgoing_handler::Host::handle(&mut view, request, options);
        let outcome: Outcome = match outcome {
            Ok(response) => Ok(response),
            Err(error) => Err(error.downcast()?),
        };
        Ok((outcome,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

type Arguments = (Resource<HostOutgoingRequest>, Option<Resource<types::RequestOptions>>);
type Outcome = Result<Resource<HostFutureIncomingResponse>, types::ErrorCode>;

/// The same for WASI 0.3.
pub(super) fn link_0_3(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    client::add_to_linker::<_, Client>(linker, InstanceState::http)?;
    linker.allow_shadowing(false);
    Ok(())
}

struct Client;

impl HasData for Client {
    type Data<'a> = WasiHttpCtxView<'a>;
}

impl client::HostWithStore<InstanceState> for Client {
    async fn send(
        store: &Accessor<InstanceState, Self>,
        request: Resource<Request>,
    ) -> Result<Resource<Response>, TrappableError<ErrorCode>> {
        store.with(|mut store| {
            // One that is not there is an error of the call below.
            if let Ok(sent) = store.get().table.get_mut(&request) {
                let own = || http::uri::Authority::from_static(SELF_HOST);
                sent.authority.get_or_insert_with(own);
            }
        });
        let store = store.with_getter::<WasiHttp>(InstanceState::http);
        <WasiHttp as client::HostWithStore<InstanceState>>::send(&store, request).await
    }
}
