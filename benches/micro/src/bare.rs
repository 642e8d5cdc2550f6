//! The same component under nothing but wasmtime-wasi-http: what a host must do at
//! least for a request with an instance of its own. The engine is ours, so that only
//! what lies above it differs.

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use wasmtime::Result;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::server::Server;

/// Far more ticks than a process lives.
const NEVER: u64 = u64::MAX / 2;

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: NoRequests,
}

/// The hello asks nobody.
struct NoRequests;

impl WasiHttpHooks for NoRequests {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Finished,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Finished), Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

/// Tells how sending a body ended.
type Finished = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Serves the component.
///
/// # Errors
/// Fails when it cannot be linked or nothing can listen.
pub fn bare(engine: &Engine, component: &Component) -> Result<Server> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let pre = ProxyPre::new(linker.instantiate_pre(component)?)?;
    Server::start("bare", |serving| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        serving.at(listener.local_addr()?);
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            let pre = pre.clone();
            let answer = service_fn(move |request| answer(pre.clone(), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(client), answer);
            tokio::spawn(async move {
                // The benchmark's client has gone.
                let _ = connection.await;
            });
        }
    })
}

async fn answer(
    pre: ProxyPre<State>,
    request: Request<Incoming>,
) -> Result<Response<HyperOutgoingBody>> {
    let state = State {
        wasi: WasiCtx::builder().inherit_stdout().build(),
        http: WasiHttpCtx::new(),
        table: ResourceTable::new(),
        hooks: NoRequests,
    };
    let mut store = Store::new(pre.engine(), state);
    store.set_epoch_deadline(NEVER);
    let (reply, replied) = tokio::sync::oneshot::channel();
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let response = store.data_mut().http().new_response_outparam(reply)?;
    let guest = tokio::spawn(async move {
        let proxy = pre.instantiate_async(&mut store).await?;
        proxy.wasi_http_incoming_handler().call_handle(store, request, response).await
    });
    let Ok(response) = replied.await else {
        guest.await.context("the guest was not run")??;
        wasmtime::bail!("the guest gave no response");
    };
    Ok(response?)
}
