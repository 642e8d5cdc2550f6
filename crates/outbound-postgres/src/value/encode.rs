//! From a parameter to the binary format of the type the statement needs.

use tokio_postgres::types::{Kind, Type};

use super::calendar::{days_from_date, micros_from_datetime, micros_from_time, micros_from_unix};
use super::{decimal, range_flags as flags};
use crate::interface::{Error, Interval, ParameterValue, RangeBoundKind};

/// The parameter with this number, for a statement that needs type `of`. None
/// stands for no value.
///
/// # Errors
///
/// `bad-parameter` when the value is of another kind than the statement needs,
/// `value-conversion-failed` when the type cannot hold it.
pub(crate) fn encode(
    number: usize,
    of: &Type,
    value: &ParameterValue,
) -> Result<Option<Vec<u8>>, Error> {
    let bytes = match value {
        ParameterValue::DbNull => return Ok(None),
        ParameterValue::Boolean(truth) if *of == Type::BOOL => Some(vec![(*truth).into()]),
        ParameterValue::Int8(value) if is_number(of) => integer(of, (*value).into()),
        ParameterValue::Int16(value) if is_number(of) => integer(of, (*value).into()),
        ParameterValue::Int32(value) if is_number(of) => integer(of, (*value).into()),
        ParameterValue::Int64(value) if is_number(of) => integer(of, *value),
        ParameterValue::Floating32(value) if is_float(of) => float(of, f64::from(*value)),
        ParameterValue::Floating64(value) if is_float(of) => float(of, *value),
        ParameterValue::Str(text) if is_text(of) => Some(text.clone().into_bytes()),
        ParameterValue::Binary(bytes) if *of == Type::BYTEA => Some(bytes.clone()),
        ParameterValue::Uuid(text) if *of == Type::UUID => uuid(text),
        ParameterValue::Jsonb(json) if *of == Type::JSONB => Some([&[1][..], json].concat()),
        ParameterValue::Jsonb(json) if *of == Type::JSON => Some(json.clone()),
        ParameterValue::Decimal(text) if *of == Type::NUMERIC => decimal::binary(text),
        _ => match moment(of, value).or_else(|| collection(of, value)) {
            Some(bytes) => bytes,
            None => return Err(mismatch(number, of, value)),
        },
    };
    bytes.map(Some).ok_or_else(|| {
        Error::ValueConversionFailed(format!("parameter ${number} cannot be a {}", of.name()))
    })
}

fn mismatch(number: usize, of: &Type, value: &ParameterValue) -> Error {
    let (needed, given) = (of.name(), kind(value));
    Error::BadParameter(format!("parameter ${number} is of type {needed}, not {given}"))
}

fn kind(value: &ParameterValue) -> &'static str {
    match value {
        ParameterValue::Boolean(_) => "boolean",
        ParameterValue::Int8(_) => "int8",
        ParameterValue::Int16(_) => "int16",
        ParameterValue::Int32(_) => "int32",
        ParameterValue::Int64(_) => "int64",
        ParameterValue::Floating32(_) => "floating32",
        ParameterValue::Floating64(_) => "floating64",
        ParameterValue::Str(_) => "str",
        ParameterValue::Binary(_) => "binary",
        ParameterValue::Date(_) => "date",
        ParameterValue::Time(_) => "time",
        ParameterValue::Datetime(_) => "datetime",
        ParameterValue::Timestamp(_) => "timestamp",
        ParameterValue::Uuid(_) => "uuid",
        ParameterValue::Jsonb(_) => "jsonb",
        ParameterValue::Decimal(_) => "decimal",
        ParameterValue::RangeInt32(_) => "range-int32",
        ParameterValue::RangeInt64(_) => "range-int64",
        ParameterValue::RangeDecimal(_) => "range-decimal",
        ParameterValue::ArrayInt32(_) => "array-int32",
        ParameterValue::ArrayInt64(_) => "array-int64",
        ParameterValue::ArrayDecimal(_) => "array-decimal",
        ParameterValue::ArrayStr(_) => "array-str",
        ParameterValue::Interval(_) => "interval",
        ParameterValue::DbNull => "db-null",
    }
}

fn is_number(of: &Type) -> bool {
    matches!(*of, Type::CHAR | Type::INT2 | Type::INT4 | Type::INT8 | Type::OID)
}

/// A whole number, if the type has room for it.
fn integer(of: &Type, value: i64) -> Option<Vec<u8>> {
    Some(match *of {
        Type::CHAR => i8::try_from(value).ok()?.to_be_bytes().to_vec(),
        Type::INT2 => i16::try_from(value).ok()?.to_be_bytes().to_vec(),
        Type::INT4 => i32::try_from(value).ok()?.to_be_bytes().to_vec(),
        Type::OID => u32::try_from(value).ok()?.to_be_bytes().to_vec(),
        _ => value.to_be_bytes().to_vec(),
    })
}

fn is_float(of: &Type) -> bool {
    matches!(*of, Type::FLOAT4 | Type::FLOAT8)
}

/// A number with fraction, if the type can hold it without becoming infinite.
fn float(of: &Type, value: f64) -> Option<Vec<u8>> {
    if *of == Type::FLOAT8 {
        return Some(value.to_be_bytes().to_vec());
    }
    let narrow = value as f32;
    (narrow.is_finite() || !value.is_finite()).then(|| narrow.to_be_bytes().to_vec())
}

/// Types whose binary format is their text.
fn is_text(of: &Type) -> bool {
    matches!(
        *of,
        Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::UNKNOWN
            | Type::JSON
            | Type::XML
    ) || matches!(of.kind(), Kind::Enum(_))
        || matches!(of.name(), "citext" | "ltree" | "lquery" | "ltxtquery")
}

fn uuid(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let plain = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| plain)?;
    Some(number.to_be_bytes().to_vec())
}

/// Dates, times and intervals. None: the value is something else or the type
/// is; none inside: there is no such moment.
#[expect(clippy::option_option, reason = "another type and no such value are two things")]
fn moment(of: &Type, value: &ParameterValue) -> Option<Option<Vec<u8>>> {
    let stamp = matches!(*of, Type::TIMESTAMP | Type::TIMESTAMPTZ);
    let bytes = |number: i64| number.to_be_bytes().to_vec();
    Some(match value {
        ParameterValue::Date(date) if *of == Type::DATE => {
            days_from_date(*date).map(|days| days.to_be_bytes().to_vec())
        }
        ParameterValue::Time(time) if *of == Type::TIME => micros_from_time(*time).map(bytes),
        ParameterValue::Datetime((year, month, day, hour, minute, second, nanosecond)) if stamp => {
            let time = (*hour, *minute, *second, *nanosecond);
            micros_from_datetime((*year, *month, *day), time).map(bytes)
        }
        ParameterValue::Timestamp(seconds) if *of == Type::INT8 => Some(bytes(*seconds)),
        ParameterValue::Timestamp(seconds) if stamp => micros_from_unix(*seconds).map(bytes),
        ParameterValue::Interval(Interval { micros, days, months }) if *of == Type::INTERVAL => {
            let parts: [&[u8]; 3] =
                [&micros.to_be_bytes(), &days.to_be_bytes(), &months.to_be_bytes()];
            Some(parts.concat())
        }
        _ => return None,
    })
}

/// Ranges and arrays, with the meaning of none as for [`moment`].
#[expect(clippy::option_option, reason = "another type and no such value are two things")]
fn collection(of: &Type, value: &ParameterValue) -> Option<Option<Vec<u8>>> {
    let int32 = |number: &i32| Some(number.to_be_bytes().to_vec());
    let int64 = |number: &i64| Some(number.to_be_bytes().to_vec());
    let number = |text: &String| decimal::binary(text);
    let text = |text: &String| Some(text.clone().into_bytes());
    let of_text = matches!(*of, Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY);
    Some(match value {
        ParameterValue::RangeInt32(bounds) if *of == Type::INT4_RANGE => range(bounds, int32),
        ParameterValue::RangeInt64(bounds) if *of == Type::INT8_RANGE => range(bounds, int64),
        ParameterValue::RangeDecimal(bounds) if *of == Type::NUM_RANGE => range(bounds, number),
        ParameterValue::ArrayInt32(all) if *of == Type::INT4_ARRAY => array(of, all, int32),
        ParameterValue::ArrayInt64(all) if *of == Type::INT8_ARRAY => array(of, all, int64),
        ParameterValue::ArrayDecimal(all) if *of == Type::NUMERIC_ARRAY => array(of, all, number),
        ParameterValue::ArrayStr(all) if of_text => array(of, all, text),
        _ => return None,
    })
}

type Bound<T> = Option<(T, RangeBoundKind)>;

fn range<T>(
    (lower, upper): &(Bound<T>, Bound<T>),
    bytes: impl Fn(&T) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut tag = 0;
    let mut encoded = vec![0];
    for (bound, unbounded, inclusive) in [
        (lower, flags::LOWER_UNBOUNDED, flags::LOWER_INCLUSIVE),
        (upper, flags::UPPER_UNBOUNDED, flags::UPPER_INCLUSIVE),
    ] {
        let Some((value, kind)) = bound else {
            tag |= unbounded;
            continue;
        };
        if matches!(kind, RangeBoundKind::Inclusive) {
            tag |= inclusive;
        }
        push_sized(&mut encoded, &bytes(value)?)?;
    }
    if let Some(first) = encoded.first_mut() {
        *first = tag;
    }
    Some(encoded)
}

fn array<T>(
    of: &Type,
    elements: &[Option<T>],
    bytes: impl Fn(&T) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let Kind::Array(element_type) = of.kind() else { return None };
    let length = i32::try_from(elements.len()).ok()?;
    let has_nulls = i32::from(elements.iter().any(Option::is_none));
    let mut encoded = Vec::new();
    // One dimension, whose first index is 1.
    for field in [1, has_nulls, element_type.oid() as i32, length, 1] {
        encoded.extend(field.to_be_bytes());
    }
    for element in elements {
        match element {
            Some(element) => push_sized(&mut encoded, &bytes(element)?)?,
            None => encoded.extend((-1_i32).to_be_bytes()),
        }
    }
    Some(encoded)
}

fn push_sized(encoded: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    encoded.extend(i32::try_from(bytes.len()).ok()?.to_be_bytes());
    encoded.extend(bytes);
    Some(())
}
