//! Spans.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as proto, Status};

use crate::SpanContext;
use crate::attributes::{attribute, now, own_scope, with_value};
use crate::pipeline::Spans;

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// Events that a span may have, as the specification has it by default.
const MOST_EVENTS: usize = 128;

/// Something that takes time: from when it was begun until this is dropped. Does
/// nothing when traces go nowhere.
#[derive(Default)]
pub struct Span(Option<Arc<Recording>>);

/// A span for those who only look at it.
#[derive(Clone)]
pub struct SpanHandle(Arc<Recording>);

struct Recording {
    context: SpanContext,
    /// What is sent when the span ends; none when it is not recorded or has ended.
    record: Mutex<Option<proto::Span>>,
    spans: Arc<Spans>,
}

impl Span {
    /// Begins a span.
    pub(crate) fn begin(
        spans: &Arc<Spans>,
        kind: SpanKind,
        name: &dyn fmt::Display,
        parent: Option<&SpanContext>,
    ) -> Self {
        let mut context = SpanContext::child_of(parent);
        context.sampled = spans.sampler.samples(context.trace_id, parent);
        let record = context.sampled.then(|| proto::Span {
            trace_id: context.trace_id.to_vec(),
            span_id: context.span_id.to_vec(),
            trace_state: context.state.as_deref().unwrap_or_default().to_owned(),
            parent_span_id: parent.map(|parent| parent.span_id.to_vec()).unwrap_or_default(),
            flags: 1,
            name: name.to_string(),
            kind: kind.into(),
            start_time_unix_nano: now(),
            ..proto::Span::default()
        });
        let record = Mutex::new(record);
        Self(Some(Arc::new(Recording { context, record, spans: Arc::clone(spans) })))
    }

    /// Its ids; none when traces go nowhere.
    pub fn context(&self) -> Option<&SpanContext> {
        Some(&self.0.as_ref()?.context)
    }

    /// The span for those who only look at it; none when traces go nowhere.
    pub fn handle(&self) -> Option<SpanHandle> {
        self.0.clone().map(SpanHandle)
    }

    /// Whether anything said about it has an effect.
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|recording| recording.lock().is_some())
    }

    /// Gives it another name.
    pub fn rename(&self, name: impl FnOnce() -> String) {
        self.change(|span| span.name = name());
    }

    /// Adds an attribute that is a text.
    pub fn text(&self, key: &str, value: &str) {
        self.change(|span| span.attributes.push(attribute(key, value)));
    }

    /// Adds an attribute that is a number.
    pub fn number(&self, key: &str, value: i64) {
        self.change(|span| span.attributes.push(with_value(key, Value::IntValue(value))));
    }

    /// Says that it failed.
    pub fn failed(&self, error: &dyn fmt::Display) {
        self.change(|span| {
            let message = error.to_string();
            span.status = Some(Status { message, code: StatusCode::Error.into() });
        });
    }

    fn change(&self, change: impl FnOnce(&mut proto::Span)) {
        if let Some(recording) = &self.0 {
            recording.change(change);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(recording) = self.0.take() else { return };
        // Those who look at it see that it has ended.
        let Some(mut record) = recording.lock().take() else { return };
        record.end_time_unix_nano = now();
        recording.spans.tell(own_scope(), record);
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.context()).finish()
    }
}

impl SpanHandle {
    /// Its ids.
    pub fn context(&self) -> &SpanContext {
        &self.0.context
    }

    /// Adds something that happened now. No effect after the span's end.
    pub(crate) fn event(&self, name: &str, attribute: KeyValue) {
        self.0.change(|span| {
            if span.events.len() >= MOST_EVENTS {
                span.dropped_events_count += 1;
                return;
            }
            span.events.push(Event {
                time_unix_nano: now(),
                name: name.to_owned(),
                attributes: vec![attribute],
                ..Event::default()
            });
        });
    }
}

impl fmt::Debug for SpanHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpanHandle").field(&self.0.context).finish()
    }
}

impl Recording {
    fn lock(&self) -> MutexGuard<'_, Option<proto::Span>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut proto::Span)) {
        if let Some(record) = self.lock().as_mut() {
            change(record);
        }
    }
}
