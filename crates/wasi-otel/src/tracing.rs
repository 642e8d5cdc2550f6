//! Spans of guests.

use std::sync::Arc;

use telemetry::SpanContext;
use telemetry::proto::trace::v1::span::{Event, Link};
use telemetry::proto::trace::v1::status::StatusCode;
use telemetry::proto::trace::v1::{self as proto, Status};

use crate::GuestTelemetry;
use crate::otel::tracing as wit;
use crate::values::{attributes, id, nanoseconds, scope};

impl wit::Host for GuestTelemetry<'_> {
    fn on_start(&mut self, context: wit::SpanContext) {
        if let (Some(instance), Some(context)) = (self.instance, context_of(&context)) {
            instance.guest_begins(context);
        }
    }

    fn on_end(&mut self, span: wit::SpanData) {
        let Some(context) = context_of(&span.span_context) else { return };
        if let Some(instance) = self.instance {
            instance.guest_ends(&context);
        }
        if context.sampled && self.telemetry.traces() {
            let scope = scope(span.instrumentation_scope.clone());
            self.telemetry.guest_span(scope, record(span, &context));
        }
    }

    fn outer_span_context(&mut self) -> wit::SpanContext {
        let outer = self.instance.and_then(|instance| instance.outer_span());
        outer.map_or_else(nowhere, |outer| as_wit(&outer))
    }
}

/// The context of no span.
fn nowhere() -> wit::SpanContext {
    wit::SpanContext {
        trace_id: "0".repeat(32),
        span_id: "0".repeat(16),
        trace_flags: wit::TraceFlags::empty(),
        is_remote: false,
        trace_state: Vec::new(),
    }
}

fn as_wit(context: &SpanContext) -> wit::SpanContext {
    let sampled = if context.sampled { wit::TraceFlags::SAMPLED } else { wit::TraceFlags::empty() };
    let state = context.state.as_deref().unwrap_or_default();
    let pairs = state.split(',').filter_map(|pair| pair.trim().split_once('='));
    wit::SpanContext {
        trace_id: hex::encode(context.trace_id),
        span_id: hex::encode(context.span_id),
        trace_flags: sampled,
        is_remote: true,
        trace_state: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

/// A span by its ids; none when they are none.
fn context_of(context: &wit::SpanContext) -> Option<SpanContext> {
    let state = state_of(&context.trace_state);
    Some(SpanContext {
        trace_id: id(&context.trace_id)?,
        span_id: id(&context.span_id)?,
        sampled: context.trace_flags.contains(wit::TraceFlags::SAMPLED),
        state: (!state.is_empty()).then(|| Arc::from(state)),
    })
}

fn state_of(state: &[(String, String)]) -> String {
    let pairs: Vec<String> = state.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn record(span: wit::SpanData, context: &SpanContext) -> proto::Span {
    use proto::span::SpanKind;
    let kind = match span.span_kind {
        wit::SpanKind::Client => SpanKind::Client,
        wit::SpanKind::Server => SpanKind::Server,
        wit::SpanKind::Producer => SpanKind::Producer,
        wit::SpanKind::Consumer => SpanKind::Consumer,
        wit::SpanKind::Internal => SpanKind::Internal,
    };
    let (code, message) = match span.status {
        wit::Status::Unset => (StatusCode::Unset, String::new()),
        wit::Status::Ok => (StatusCode::Ok, String::new()),
        wit::Status::Error(message) => (StatusCode::Error, message),
    };
    let event = |event: wit::Event| Event {
        time_unix_nano: nanoseconds(event.time),
        name: event.name,
        attributes: attributes(event.attributes),
        ..Event::default()
    };
    let link = |link: wit::Link| {
        let context = context_of(&link.span_context)?;
        Some(Link {
            trace_id: context.trace_id.to_vec(),
            span_id: context.span_id.to_vec(),
            trace_state: context.state.as_deref().unwrap_or_default().to_owned(),
            flags: context.sampled.into(),
            attributes: attributes(link.attributes),
            ..Link::default()
        })
    };
    proto::Span {
        trace_id: context.trace_id.to_vec(),
        span_id: context.span_id.to_vec(),
        trace_state: context.state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: id::<8>(&span.parent_span_id).map(Vec::from).unwrap_or_default(),
        flags: context.sampled.into(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.start_time),
        end_time_unix_nano: nanoseconds(span.end_time),
        attributes: attributes(span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events: span.events.into_iter().map(event).collect(),
        dropped_events_count: span.dropped_events,
        links: span.links.into_iter().filter_map(link).collect(),
        dropped_links_count: span.dropped_links,
        status: Some(Status { message, code: code.into() }),
    }
}
