//! Lines of guests as log records.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use crate::SpanContext;
use crate::attributes::{attribute, now, with_value};

/// Bytes of a line that is no text that are shown.
const SHOWN: usize = 50;

/// Where a guest writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line as something that can be told; of one that is no text, the beginning,
/// with escapes.
pub(crate) enum Line {
    Text(String),
    Bytes(String),
}

impl Line {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes.get(..SHOWN).unwrap_or(bytes).escape_ascii().to_string()),
        }
    }

    /// As an attribute of an event.
    pub(crate) fn attribute(&self) -> KeyValue {
        match self {
            Self::Text(text) => attribute("app_log", text),
            Self::Bytes(text) => attribute("app_log_non_utf8", text),
        }
    }

    /// As a record.
    pub(crate) fn record(
        self,
        component: &str,
        stream: Stream,
        span: Option<&SpanContext>,
    ) -> LogRecord {
        let mut attributes =
            vec![attribute("component_id", component), attribute("log.iostream", stream.name())];
        let text = match self {
            Self::Text(text) => text,
            Self::Bytes(text) => {
                attributes.push(with_value("app_log_non_utf8", Value::BoolValue(true)));
                text
            }
        };
        LogRecord {
            observed_time_unix_nano: now(),
            body: Some(AnyValue { value: Some(Value::StringValue(text)) }),
            attributes,
            trace_id: span.map(|span| span.trace_id.to_vec()).unwrap_or_default(),
            span_id: span.map(|span| span.span_id.to_vec()).unwrap_or_default(),
            flags: span.map_or(0, |span| span.sampled.into()),
            ..LogRecord::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_text_is_shown_with_escapes_and_marked() {
        let line = Line::of(b"\xff\n\"a\"");
        assert_eq!(line.attribute(), attribute("app_log_non_utf8", "\\xff\\n\\\"a\\\""));
        let record = line.record("c", Stream::Stderr, None);
        let marks = record.attributes.iter().filter(|pair| pair.key == "app_log_non_utf8");
        assert_eq!(marks.count(), 1);
        let long = Line::of(&[0xff; 1000]);
        let Line::Bytes(text) = long else { panic!("it is no text") };
        assert_eq!(text.len(), SHOWN * "\\xff".len());
    }
}
