//! Each snapshot as a whole, and the host state that all tests use.

use crate::{snapshot_2023_10_18, snapshot_2023_11_10};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use std::path::Path;
use wasmtime::component::{Component, Linker, Resource, ResourceTable};
use wasmtime::{Engine, Store, Trap};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// The data of a store.
pub(crate) struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub(crate) table: ResourceTable,
    pub(crate) outside: Outside,
}

/// The world outside: answers every request with 204.
#[derive(Default)]
pub(crate) struct Outside {
    /// What was asked last.
    pub(crate) asked: Option<(http::Request<WasiBody>, Option<RequestOptions>)>,
}

type SendingRequest = Box<
    dyn Future<
            Output = Result<
                (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>),
                Error,
            >,
        > + Send,
>;

impl WasiHttpHooks for Outside {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> SendingRequest {
        self.asked = Some((request, options));
        Box::new(async {
            let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
            let response = http::Response::builder().status(204).body(body).unwrap();
            let io: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, io))
        })
    }
}

impl State {
    /// State in which a guest may do what `allow` allows it.
    pub(crate) fn with(allow: impl FnOnce(&mut WasiCtxBuilder)) -> Self {
        let mut builder = WasiCtx::builder();
        allow(&mut builder);
        Self {
            wasi: builder.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            outside: Outside::default(),
        }
    }

    /// State in which a guest may do nothing.
    pub(crate) fn closed() -> Self {
        Self::with(|_| {})
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outside }
    }
}

/// A component that imports every function of a snapshot and traps when it is
/// called.
fn component_using_all_of(engine: &Engine, snapshot: &str) -> Component {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit").join(snapshot);
    let (package, _) = resolve.push_dir(&folder).unwrap();
    let world = resolve.select_world(&[package], Some("http-service")).unwrap();
    let mangling = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, mangling);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes = ComponentEncoder::default().validate(true).module(&module).unwrap().encode();
    let bytes = bytes.unwrap();
    Component::new(engine, bytes).unwrap()
}

fn linker_for(engine: &Engine, snapshot: &str) -> Linker<State> {
    let mut linker = Linker::new(engine);
    match snapshot {
        "2023-10-18" => snapshot_2023_10_18::add_to_linker(&mut linker).unwrap(),
        _ => snapshot_2023_11_10::add_to_linker(&mut linker).unwrap(),
    }
    linker
}

#[tokio::test]
async fn a_component_that_imports_all_of_2023_10_18_can_be_instantiated() {
    let engine = Engine::default();
    let component = component_using_all_of(&engine, "2023-10-18");
    let imports = component.component_type().imports(&engine).count();
    assert_eq!(imports, 29, "the world imports every interface");

    let mut store = Store::new(&engine, State::closed());
    linker_for(&engine, "2023-10-18").instantiate_async(&mut store, &component).await.unwrap();
}

#[tokio::test]
async fn a_component_that_imports_all_of_2023_11_10_can_be_instantiated() {
    let engine = Engine::default();
    let component = component_using_all_of(&engine, "2023-11-10");
    let imports = component.component_type().imports(&engine).count();
    assert_eq!(imports, 30, "the world imports every interface");

    let mut store = Store::new(&engine, State::closed());
    linker_for(&engine, "2023-11-10").instantiate_async(&mut store, &component).await.unwrap();
}

#[test]
fn a_component_uses_the_snapshot_it_imports_and_no_other() {
    let engine = Engine::default();
    let older = component_using_all_of(&engine, "2023-10-18");
    assert!(snapshot_2023_10_18::is_used_by(&older));
    assert!(!snapshot_2023_11_10::is_used_by(&older));

    let newer = component_using_all_of(&engine, "2023-11-10");
    assert!(!snapshot_2023_10_18::is_used_by(&newer));
    assert!(snapshot_2023_11_10::is_used_by(&newer));
}

#[test]
fn one_linker_serves_both_snapshots_and_today() {
    let engine = Engine::default();
    let mut linker = Linker::<State>::new(&engine);
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    snapshot_2023_10_18::add_to_linker(&mut linker).unwrap();
    snapshot_2023_11_10::add_to_linker(&mut linker).unwrap();

    for snapshot in ["2023-10-18", "2023-11-10"] {
        linker.instantiate_pre(&component_using_all_of(&engine, snapshot)).unwrap();
    }
}

#[test]
fn linking_a_snapshot_twice_is_an_error() {
    let mut linker = linker_for(&Engine::default(), "2023-10-18");
    snapshot_2023_10_18::add_to_linker(&mut linker).unwrap_err();
}

#[tokio::test]
async fn the_handler_takes_the_request_and_the_response_of_today() {
    let engine = Engine::default();
    for snapshot in ["2023-10-18", "2023-11-10"] {
        let component = component_using_all_of(&engine, snapshot);
        let mut store = Store::new(&engine, State::closed());
        let linker = linker_for(&engine, snapshot);
        let instance = linker.instantiate_async(&mut store, &component).await.unwrap();

        let export = format!("wasi:http/incoming-handler@0.2.0-rc-{snapshot}");
        let interface = component.get_export_index(None, &*export).unwrap();
        let handle = component.get_export_index(Some(&interface), "handle").unwrap();
        let handle = instance
            .get_typed_func::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(
                &mut store, &handle,
            )
            .unwrap();

        let request = http::Request::get("http://example.com/").body(Empty::<Bytes>::new());
        let request =
            request.unwrap().map(|body| body.map_err(|never| -> Error { match never {} }));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request).unwrap();
        let response = http.new_response_outparam(sender).unwrap();

        // All the component does is trap.
        let trap = handle.call_async(&mut store, (request, response)).await.unwrap_err();
        assert_eq!(trap.downcast::<Trap>().unwrap(), Trap::UnreachableCodeReached);
        drop(store);
        receiver.await.unwrap_err();
    }
}
