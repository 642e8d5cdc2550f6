//! What is encoded for a type is decoded from it.

use tokio_postgres::types::Type;

use super::*;
use crate::interface::{DbValue, Error, Interval, ParameterValue, RangeBoundKind};

fn through(of: &Type, value: &ParameterValue) -> String {
    let bytes = encode(1, of, value).unwrap();
    let decoded = decode(of, bytes.as_deref()).unwrap();
    format!("{decoded:?}")
}

#[test]
fn every_kind_of_value_comes_back() {
    use ParameterValue as P;
    let bound = |number| Some((number, RangeBoundKind::Inclusive));
    for (of, value) in [
        (Type::BOOL, P::Boolean(true)),
        (Type::CHAR, P::Int8(-1)),
        (Type::INT2, P::Int16(i16::MIN)),
        (Type::INT4, P::Int32(i32::MAX)),
        (Type::INT8, P::Int64(i64::MIN)),
        (Type::FLOAT4, P::Floating32(0.5)),
        (Type::FLOAT8, P::Floating64(-0.25)),
        (Type::TEXT, P::Str("größer".into())),
        (Type::BYTEA, P::Binary(vec![0, 255])),
        (Type::DATE, P::Date((1969, 7, 20))),
        (Type::TIME, P::Time((20, 17, 40, 123_456_000))),
        (Type::TIMESTAMPTZ, P::Datetime((1969, 7, 20, 20, 17, 40, 5000))),
        (Type::UUID, P::Uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into())),
        (Type::JSONB, P::Jsonb(b"{\"a\":1}".to_vec())),
        (Type::NUMERIC, P::Decimal("-12345.6789".into())),
        (Type::INT4_RANGE, P::RangeInt32((bound(1), Some((9, RangeBoundKind::Exclusive))))),
        (Type::INT4_RANGE, P::RangeInt32((None, bound(9)))),
        (Type::INT8_RANGE, P::RangeInt64((None, None))),
        (Type::NUM_RANGE, P::RangeDecimal((Some(("1.5".into(), RangeBoundKind::Exclusive)), None))),
        (Type::INT4_ARRAY, P::ArrayInt32(vec![Some(1), None, Some(-1)])),
        (Type::INT8_ARRAY, P::ArrayInt64(vec![])),
        (Type::NUMERIC_ARRAY, P::ArrayDecimal(vec![Some("0.10".into())])),
        (Type::VARCHAR_ARRAY, P::ArrayStr(vec![Some("a".into()), None])),
        (Type::INTERVAL, P::Interval(Interval { micros: -1, days: 2, months: 3 })),
        (Type::INT4, P::DbNull),
    ] {
        let (there, back) = (format!("{value:?}"), through(&of, &value));
        let plain = |text: &str| text.replace("ParameterValue", "").replace("DbValue", "");
        assert_eq!(plain(&back), plain(&there), "{of}");
    }
}

#[test]
fn json_has_no_spaces_between_its_parts() {
    let sent = b"\x01{\"a b\": \"x \\\" \\\\\", \"n\": [1, {\"t\": true}]}";
    let Some(DbValue::Jsonb(json)) = decode(&Type::JSONB, Some(sent)) else { panic!("no JSON") };
    assert_eq!(json, b"{\"a b\":\"x \\\" \\\\\",\"n\":[1,{\"t\":true}]}");
}

#[test]
fn numbers_fit_where_there_is_room_for_them() {
    assert!(through(&Type::INT8, &ParameterValue::Int32(5)).contains("Int64(5)"));
    assert!(through(&Type::INT2, &ParameterValue::Int64(5)).contains("Int16(5)"));
    assert!(through(&Type::FLOAT8, &ParameterValue::Floating32(0.5)).contains("0.5"));
    let stamp = through(&Type::TIMESTAMP, &ParameterValue::Timestamp(0));
    assert!(stamp.contains("1970, 1, 1, 0, 0, 0, 0"), "{stamp}");
    for (of, value) in [
        (Type::INT2, ParameterValue::Int32(40_000)),
        (Type::FLOAT4, ParameterValue::Floating64(1e300)),
        (Type::DATE, ParameterValue::Date((2023, 2, 29))),
        (Type::UUID, ParameterValue::Uuid("no".into())),
        (Type::NUMERIC, ParameterValue::Decimal("ten".into())),
    ] {
        let error = encode(3, &of, &value).unwrap_err();
        assert!(
            matches!(&error, Error::ValueConversionFailed(text) if text.contains("$3")),
            "{of}: {error:?}"
        );
    }
}

#[test]
fn a_value_of_another_kind_is_a_bad_parameter() {
    let error = encode(2, &Type::INT4, &ParameterValue::Str("5".into())).unwrap_err();
    let expected = "parameter $2 is of type int4, not str";
    assert!(matches!(error, Error::BadParameter(text) if text == expected));
}

#[test]
fn what_has_no_counterpart_is_said_to_have_none() {
    assert!(decode(&Type::DATE, Some(&i32::MAX.to_be_bytes())).is_none());
    assert!(decode(&Type::TIMESTAMP, Some(&i64::MIN.to_be_bytes())).is_none());
    assert!(decode(&Type::INT4, Some(&[0])).is_none());
    assert!(decode(&Type::TEXT, Some(&[255])).is_none());
    let point = decode(&Type::POINT, Some(&[1, 2, 3])).unwrap();
    assert!(matches!(point, DbValue::Unsupported(bytes) if bytes == [1, 2, 3]));
    let empty = decode(&Type::INT4_RANGE, Some(&[1])).unwrap();
    assert!(matches!(
        empty,
        DbValue::RangeInt32((
            Some((0, RangeBoundKind::Exclusive)),
            Some((0, RangeBoundKind::Exclusive))
        ))
    ));
}
