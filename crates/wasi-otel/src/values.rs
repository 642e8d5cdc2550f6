//! Values, ids and times as OTLP has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use telemetry::proto::common::v1::any_value::Value;
use telemetry::proto::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};

use crate::bindings::wasi::clocks::wall_clock::Datetime;
use crate::otel::types;

/// What bytes begin with, in JSON.
const BYTES: &str = "{base64}:";

/// A value that came as JSON; a text that is none stands for itself.
pub(crate) fn value(text: &str) -> AnyValue {
    match serde_json::from_str(text) {
        Ok(json) => of_json(json),
        Err(_) => AnyValue { value: Some(Value::StringValue(text.to_owned())) },
    }
}

fn of_json(json: Json) -> AnyValue {
    let value = match json {
        Json::Null => None,
        Json::Bool(value) => Some(Value::BoolValue(value)),
        Json::Number(number) => Some(match number.as_i64() {
            Some(number) => Value::IntValue(number),
            None => Value::DoubleValue(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Json::String(text) => {
            let bytes = text.strip_prefix(BYTES).and_then(|encoded| STANDARD.decode(encoded).ok());
            Some(bytes.map_or(Value::StringValue(text), Value::BytesValue))
        }
        Json::Array(values) => {
            let values = values.into_iter().map(of_json).collect();
            Some(Value::ArrayValue(ArrayValue { values }))
        }
        Json::Object(pairs) => {
            let pair =
                |(key, json)| KeyValue { key, value: Some(of_json(json)), ..KeyValue::default() };
            let values = pairs.into_iter().map(pair).collect();
            Some(Value::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}

pub(crate) fn attributes(pairs: Vec<types::KeyValue>) -> Vec<KeyValue> {
    let attribute = |pair: types::KeyValue| KeyValue {
        value: Some(value(&pair.value)),
        key: pair.key,
        ..KeyValue::default()
    };
    pairs.into_iter().map(attribute).collect()
}

pub(crate) fn scope(scope: types::InstrumentationScope) -> InstrumentationScope {
    InstrumentationScope {
        name: scope.name,
        version: scope.version.unwrap_or_default(),
        attributes: attributes(scope.attributes),
        ..InstrumentationScope::default()
    }
}

/// An id of `N` bytes; none when the text is none.
pub(crate) fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    (bytes != [0; N]).then_some(bytes)
}

/// Nanoseconds since 1970.
pub(crate) fn nanoseconds(time: Datetime) -> u64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanoseconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_understood() {
        let text = |text: &str| Some(Value::StringValue(text.to_owned()));
        for (json, expected) in [
            ("null", None),
            ("true", Some(Value::BoolValue(true))),
            ("-7", Some(Value::IntValue(-7))),
            ("0.5", Some(Value::DoubleValue(0.5))),
            ("\"a\"", text("a")),
            ("\"{base64}:AAH/\"", Some(Value::BytesValue(vec![0, 1, 255]))),
            ("\"{base64}:?\"", text("{base64}:?")),
            ("no json", text("no json")),
        ] {
            assert_eq!(value(json).value, expected, "{json}");
        }
        let Some(Value::ArrayValue(array)) = value("[1, [\"a\"]]").value else { panic!() };
        assert_eq!(array.values[0].value, Some(Value::IntValue(1)));
        let Some(Value::KvlistValue(list)) = value("{\"k\": {\"l\": 1}}").value else { panic!() };
        assert_eq!(list.values[0].key, "k");
    }

    #[test]
    fn ids_have_their_length_and_are_not_zero() {
        assert_eq!(id("00000000000000ff"), Some([0, 0, 0, 0, 0, 0, 0, 255]));
        for wrong in ["", "ff", "0000000000000000", "00000000000000fg"] {
            assert_eq!(id::<8>(wrong), None, "{wrong}");
        }
    }
}
