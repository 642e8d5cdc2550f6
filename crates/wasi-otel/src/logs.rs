//! Log records of guests.

use telemetry::proto::common::v1::InstrumentationScope;
use telemetry::proto::logs::v1::LogRecord;

use crate::GuestTelemetry;
use crate::otel::logs as wit;
use crate::otel::tracing::TraceFlags;
use crate::values::{attributes, id, nanoseconds, scope, value};

impl wit::Host for GuestTelemetry<'_> {
    fn on_emit(&mut self, data: wit::LogRecord) {
        if self.instance.is_none() {
            return;
        }
        let (scope, record) = record(data);
        self.telemetry.guest_log(scope, record);
    }
}

/// A record and the library that made it.
fn record(data: wit::LogRecord) -> (InstrumentationScope, LogRecord) {
    let sampled = data.trace_flags.is_some_and(|flags| flags.contains(TraceFlags::SAMPLED));
    let trace_id = data.trace_id.and_then(|text| id::<16>(&text));
    let span_id = data.span_id.and_then(|text| id::<8>(&text));
    let record = LogRecord {
        time_unix_nano: data.timestamp.map(nanoseconds).unwrap_or_default(),
        observed_time_unix_nano: data.observed_timestamp.map(nanoseconds).unwrap_or_default(),
        severity_number: data.severity_number.unwrap_or_default().into(),
        severity_text: data.severity_text.unwrap_or_default(),
        body: data.body.map(|text| value(&text)),
        attributes: attributes(data.attributes.unwrap_or_default()),
        flags: sampled.into(),
        trace_id: trace_id.map(Vec::from).unwrap_or_default(),
        span_id: span_id.map(Vec::from).unwrap_or_default(),
        event_name: data.event_name.unwrap_or_default(),
        ..LogRecord::default()
    };
    (data.instrumentation_scope.map(scope).unwrap_or_default(), record)
}
