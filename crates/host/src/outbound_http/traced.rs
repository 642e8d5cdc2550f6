//! Requests of guests as spans, and the span as a header of the request.

use http::uri::Scheme;
use telemetry::{Span, SpanKind};
use wasmtime_wasi_http::Error;

use super::Outbound;

/// Begins the span of a request and says in its headers that it is sent from it.
/// Does neither when traces go nowhere.
pub(super) fn begin<B>(outbound: &Outbound, request: &mut http::Request<B>) -> Span {
    let Some(told) = &outbound.told else { return Span::default() };
    let telemetry = outbound.component.app().telemetry();
    let method = request.method().clone();
    let span = telemetry.span(SpanKind::Client, &method, told.span().as_ref());
    let Some(context) = span.context() else { return span };
    context.put_into(request.headers_mut());
    if span.is_recorded() {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or("https");
        let default_port = if uri.scheme() == Some(&Scheme::HTTP) { 80 } else { 443 };
        span.text("http.request.method", method.as_str());
        span.text("network.protocol.name", "http");
        span.text("server.address", host);
        span.number("server.port", uri.port_u16().unwrap_or(default_port).into());
        // Not the whole authority: a password may be in it.
        let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        span.text("url.full", &format!("{scheme}://{host}{port}{path}"));
    }
    span
}

/// Adds how it was answered.
pub(super) fn end<B>(span: &Span, sent: &Result<http::Response<B>, Error>) {
    match sent {
        Ok(response) => {
            let status = response.status();
            span.number("http.response.status_code", status.as_u16().into());
            if status.is_client_error() || status.is_server_error() {
                span.text("error.type", status.as_str());
                span.failed(&status);
            }
        }
        Err(error) => {
            span.text("error.type", &error.to_string());
            span.failed(error);
        }
    }
}
