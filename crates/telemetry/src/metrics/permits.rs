//! What limits of connections permitted.

use super::{Counter, Family, Names, Reader};

/// What limits of connections permitted, and what not.
#[derive(Debug)]
pub struct Permits {
    acquired: Family<Counter>,
    http: Family<Counter>,
    rejected: Family<Counter>,
}

impl Permits {
    pub(super) fn new() -> Self {
        let counter = |prometheus, otlp, help, labels| {
            Family::counter(Names { prometheus, otlp: Some(otlp), unit: "", help }, labels)
        };
        Self {
            acquired: counter(
                "spinlet_outbound_connection_permits_acquired_total",
                "outbound_connection_permits_acquired",
                "Connections within a limit.",
                &["kind", "waited"],
            ),
            http: counter(
                "spinlet_outbound_http_connection_permits_acquired_total",
                "outbound_http.concurrent_connection_permits_acquired",
                "Connections of HTTP within a limit.",
                &["interface", "waited"],
            ),
            rejected: counter(
                "spinlet_outbound_connection_permits_rejected_total",
                "outbound_connection_permits_rejected",
                "Connections that a limit did not permit.",
                &["kind"],
            ),
        }
    }

    /// Counts a connection of this kind that a limit permitted, and whether somebody
    /// had to wait for that.
    pub fn acquired(&self, kind: &str, waited: bool) {
        self.acquired.with(&[kind, truth(waited)]).add(1);
    }

    /// Counts the same for a request over this interface of HTTP.
    pub fn acquired_for_http(&self, interface: &str, waited: bool) {
        self.http.with(&[interface, truth(waited)]).add(1);
    }

    /// Counts a connection of this kind that a limit did not permit.
    pub fn rejected(&self, kind: &str) {
        self.rejected.with(&[kind]).add(1);
    }

    pub(super) fn show(&self, reader: &mut dyn Reader) {
        for counters in [&self.acquired, &self.http, &self.rejected] {
            counters.show(reader);
        }
    }
}

/// As a label.
fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
