//! Attributes of spans, log records and resources.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};

/// An attribute with a text as its value.
pub(crate) fn attribute(key: &str, value: impl Into<String>) -> KeyValue {
    with_value(key, Value::StringValue(value.into()))
}

/// An attribute with any value.
pub(crate) fn with_value(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// The scope of everything that the runtime itself tells.
pub(crate) fn own_scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "spinlet".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
