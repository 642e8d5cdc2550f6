//! What is told of a request: a line of the access log, a span, and numbers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode, Version};
use telemetry::{InFlight, Metrics, Span, SpanContext, SpanKind, Telemetry};

/// The target of access log lines.
pub const ACCESS_TARGET: &str = "access";

/// A request of which something is told when it is over.
#[derive(Debug)]
pub(crate) struct Record {
    /// Whether a line is written.
    logs: bool,
    span: Span,
    counted: Option<(Arc<Metrics>, InFlight)>,
    started: Instant,
    client: SocketAddr,
    method: Method,
    version: Version,
    path: String,
    route: String,
    component: String,
    status: StatusCode,
}

impl Record {
    /// Starts the record of a request; none when nobody wants one. Lines leave query
    /// strings out: they carry what nobody wants in a log.
    pub(crate) fn begin(
        logs: bool,
        telemetry: &Telemetry,
        client: SocketAddr,
        head: &http::request::Parts,
    ) -> Option<Self> {
        let metrics = telemetry.metrics();
        if !logs && metrics.is_none() && !telemetry.traces() {
            return None;
        }
        Some(Self {
            logs,
            span: begin_span(telemetry, client, head),
            counted: metrics.map(|metrics| (Arc::clone(metrics), metrics.http_begins())),
            started: Instant::now(),
            client,
            method: head.method.clone(),
            version: head.version,
            path: head.uri.path().to_owned(),
            route: String::new(),
            component: String::new(),
            status: StatusCode::OK,
        })
    }

    /// The span of the request; none when traces go nowhere.
    pub(crate) fn span(&self) -> Option<&SpanContext> {
        self.span.context()
    }

    /// Adds whom the request was for.
    pub(crate) fn matched(&mut self, route: &str, component: &str) {
        route.clone_into(&mut self.route);
        component.clone_into(&mut self.component);
        self.span.text("http.route", route);
        self.span.rename(|| format!("{} {route}", self.method));
    }

    /// Adds how it was answered.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status;
        self.span.number("http.response.status_code", status.as_u16().into());
        if status.is_server_error() {
            self.span.text("error.type", status.as_str());
            self.span.failed(&status);
        }
    }

    /// Tells it. `sent` counts bytes of the body; `complete` is false when the
    /// response broke off or the client went away.
    pub(crate) fn tell(self, sent: u64, complete: bool) {
        let took = self.started.elapsed();
        if let Some((metrics, _)) = &self.counted {
            metrics.http_ended(&self.component, &self.route, self.status.as_u16(), took);
        }
        if !self.logs {
            return;
        }
        tracing::info!(
            target: ACCESS_TARGET,
            client = %self.client,
            method = %self.method,
            path = self.path,
            version = ?self.version,
            status = self.status.as_u16(),
            bytes = sent,
            complete,
            micros = took.as_micros() as u64,
            route = self.route,
            component = self.component,
        );
    }
}

/// The span of a request, in the trace that its headers name.
fn begin_span(telemetry: &Telemetry, client: SocketAddr, head: &http::request::Parts) -> Span {
    if !telemetry.traces() {
        return Span::default();
    }
    let parent = SpanContext::of_headers(&head.headers);
    let span = telemetry.span(SpanKind::Server, &head.method, parent.as_ref());
    if span.is_recorded() {
        span.text("http.request.method", head.method.as_str());
        span.text("network.peer.address", &client.ip().to_string());
        span.number("network.peer.port", client.port().into());
        span.text("network.protocol.name", "http");
        span.text("url.path", head.uri.path());
        span.text("url.query", head.uri.query().unwrap_or_default());
        span.text("url.scheme", head.uri.scheme_str().unwrap_or("http"));
        let forwarded = head.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
        if let Some(forwarded) = forwarded {
            span.text("client.address", forwarded);
        }
    }
    span
}
