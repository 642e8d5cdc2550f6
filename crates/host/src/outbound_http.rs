//! Outbound HTTP of guests: `wasi:http` 0.2 and 0.3, `fermyon:spin/http`.
//!
//! Every request is checked against the component's `allowed_outbound_hosts`
//! first. Requests to `<component>.spin.internal` and `self.alt` never leave the
//! process; everything else goes through clients that all components share.

mod client;
mod connect;
mod relative;
mod traced;

use std::sync::Arc;

use outbound_hosts::{CHAINING_SUFFIX, Destination, SELF_HOST, default_port};
use telemetry::Instance;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

pub(crate) use client::HttpClient;
pub use client::HttpClientError;
pub(crate) use client::HttpConnections;

use connect::OnShare;

use crate::chaining::{ChainTarget, LONGEST_CHAIN};
use crate::outgoing_body;
use crate::state::{ComponentContext, InstanceState};

/// `wasi:http` 0.2: types and outgoing-handler.
pub(crate) fn link_0_2(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    relative::link_0_2(linker)?;
    outgoing_body::link_0_2(linker)
}

/// `wasi:http` 0.3.0: types and client.
pub(crate) fn link_0_3(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    relative::link_0_3(linker)
}

impl WasiHttpView for InstanceState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

/// Sends the requests of one instance.
#[derive(Clone)]
pub(crate) struct Outbound {
    pub(crate) component: Arc<ComponentContext>,
    /// How many components called each other before this instance was called.
    pub(crate) depth: u32,
    /// What the instance tells; none when nobody listens.
    pub(crate) told: Option<Arc<Instance>>,
    /// The body that is being made is that of a response, and not of a request.
    pub(crate) makes_response: bool,
}

type SentResponse = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outbound {
    fn set_host_header(&mut self) -> bool {
        // The client writes it from the URL.
        false
    }

    // One more piece than this waits.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        if self.makes_response { 1 } else { 7 }
    }

    // The JavaScript SDK of Spin 2 writes the body of a request before it sends
    // that, when nobody takes anything of it yet. Together this is 128 MiB, the most
    // that Spin keeps for a guest.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        if self.makes_response { outgoing_body::PIECE } else { 16 << 20 }
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<SentResponse, Error>> + Send> {
        let outbound = self.clone();
        Box::new(async move {
            let response = outbound.send(request, options.unwrap_or_default(), "wasi").await?;
            let finished: Box<dyn Future<Output = Result<(), Error>> + Send> =
                Box::new(std::future::ready(Ok(())));
            Ok((response, finished))
        })
    }
}

impl Outbound {
    /// Sends `request`, whose URL is absolute, if the component may, as a span of
    /// its own. `interface` is the one over which it came, in metrics.
    pub(crate) async fn send(
        &self,
        mut request: http::Request<WasiBody>,
        options: RequestOptions,
        interface: &'static str,
    ) -> Result<http::Response<WasiBody>, Error> {
        let span = traced::begin(self, &mut request);
        let sent = self.send_if_allowed(request, options, interface).await;
        traced::end(&span, &sent);
        sent
    }

    async fn send_if_allowed(
        &self,
        request: http::Request<WasiBody>,
        options: RequestOptions,
        interface: &'static str,
    ) -> Result<http::Response<WasiBody>, Error> {
        let uri = request.uri();
        let scheme = uri.scheme_str().unwrap_or("https");
        let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
        let port = uri.port_u16();
        let allowed = self.component.allowed_hosts();
        // Of a relative URL SDKs make one whose authority is `:80` or `:443`.
        if host.is_empty() || host.eq_ignore_ascii_case(SELF_HOST) {
            // Requests without an authority often have no scheme either.
            if !["http", "https"].iter().any(|scheme| allowed.allows_self(scheme)) {
                return Err(self.denied(scheme, "self", port));
            }
            return self.chain(ChainTarget::App, request).await;
        }
        if let Some(id) = chained_component(host) {
            if allowed.check(Destination { scheme, host, port }).is_none() {
                return Err(self.denied(scheme, host, port));
            }
            let target = ChainTarget::Component(id.to_owned());
            return self.chain(target, request).await;
        }
        let known_port =
            port.or_else(|| default_port(scheme)).ok_or(Error::HttpRequestUriInvalid)?;
        let permit = self.component.network().permit(scheme, host, known_port);
        let permit = permit.map_err(|_| Error::HttpRequestDenied)?;
        let app = self.component.app();
        let metrics = app.telemetry().metrics().cloned();
        let on_share = OnShare { interface, metrics };
        app.client().send(request, options, permit, on_share).await
    }

    async fn chain(
        &self,
        target: ChainTarget,
        request: http::Request<WasiBody>,
    ) -> Result<http::Response<WasiBody>, Error> {
        if self.depth >= LONGEST_CHAIN {
            return Err(Error::LoopDetected);
        }
        let handler = self.component.app().chained().ok_or(Error::DestinationNotFound)?;
        handler.call(target, request, self.depth + 1).await
    }

    fn denied(&self, scheme: &str, host: &str, port: Option<u16>) -> Error {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        if let Some(suppressed) = self.component.denials.permit() {
            tracing::warn!(
                component = self.component.id(),
                suppressed,
                "a request to {scheme}://{host}{port} was denied: \
                 allow it by adding it to the component's `allowed_outbound_hosts`"
            );
        }
        Error::HttpRequestDenied
    }
}

/// The component id in `<id>.spin.internal`.
fn chained_component(host: &str) -> Option<&str> {
    let at = host.len().checked_sub(CHAINING_SUFFIX.len())?;
    let (id, suffix) = host.split_at_checked(at)?;
    (suffix.eq_ignore_ascii_case(CHAINING_SUFFIX) && !id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaining_hosts_name_a_component() {
        assert_eq!(chained_component("one.spin.internal"), Some("one"));
        assert_eq!(chained_component("one.Spin.Internal"), Some("one"));
        assert_eq!(chained_component(".spin.internal"), None);
        assert_eq!(chained_component("spin.internal"), None);
        assert_eq!(chained_component("é.x"), None);
        assert_eq!(chained_component("one.spin.internal.test"), None);
    }
}
