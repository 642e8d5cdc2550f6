//! One structured line per request, with the tracing target `access`.

use std::net::SocketAddr;
use std::time::Instant;

use http::{Method, StatusCode, Version};

/// The target of access log lines.
pub const ACCESS_TARGET: &str = "access";

/// A request that will be logged when it is over.
#[derive(Debug)]
pub(crate) struct Record {
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
    /// Starts the record of a request. Query strings are left out: they carry
    /// what nobody wants in a log.
    pub(crate) fn new(client: SocketAddr, head: &http::request::Parts) -> Self {
        Self {
            started: Instant::now(),
            client,
            method: head.method.clone(),
            version: head.version,
            path: head.uri.path().to_owned(),
            route: String::new(),
            component: String::new(),
            status: StatusCode::OK,
        }
    }

    /// Adds whom the request was for.
    pub(crate) fn matched(&mut self, route: &str, component: &str) {
        route.clone_into(&mut self.route);
        component.clone_into(&mut self.component);
    }

    /// Adds how it was answered.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status;
    }

    /// Writes the line. `sent` counts bytes of the body; `complete` is false when
    /// the response broke off or the client went away.
    pub(crate) fn write(self, sent: u64, complete: bool) {
        tracing::info!(
            target: ACCESS_TARGET,
            client = %self.client,
            method = %self.method,
            path = self.path,
            version = ?self.version,
            status = self.status.as_u16(),
            bytes = sent,
            complete,
            micros = self.started.elapsed().as_micros() as u64,
            route = self.route,
            component = self.component,
        );
    }
}
