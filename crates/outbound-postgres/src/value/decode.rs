//! From the binary format of a column to a value.

use tokio_postgres::types::Type;

use super::calendar::{date_from_days, datetime_from_micros, time_from_micros};
use super::{decimal, range_flags as flags};
use crate::interface::{DbDataType, DbValue, Interval, RangeBoundKind};

/// What a guest is told about the type of a column.
pub(crate) fn data_type(of: &Type) -> DbDataType {
    match *of {
        Type::BOOL => DbDataType::Boolean,
        Type::CHAR => DbDataType::Int8,
        Type::INT2 => DbDataType::Int16,
        Type::INT4 => DbDataType::Int32,
        Type::INT8 => DbDataType::Int64,
        Type::FLOAT4 => DbDataType::Floating32,
        Type::FLOAT8 => DbDataType::Floating64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => DbDataType::Str,
        Type::BYTEA => DbDataType::Binary,
        Type::DATE => DbDataType::Date,
        Type::TIME => DbDataType::Time,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => DbDataType::Datetime,
        Type::UUID => DbDataType::Uuid,
        Type::JSONB => DbDataType::Jsonb,
        Type::NUMERIC => DbDataType::Decimal,
        Type::INT4_RANGE => DbDataType::RangeInt32,
        Type::INT8_RANGE => DbDataType::RangeInt64,
        Type::NUM_RANGE => DbDataType::RangeDecimal,
        Type::INT4_ARRAY => DbDataType::ArrayInt32,
        Type::INT8_ARRAY => DbDataType::ArrayInt64,
        Type::NUMERIC_ARRAY => DbDataType::ArrayDecimal,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => DbDataType::ArrayStr,
        Type::INTERVAL => DbDataType::Interval,
        _ => DbDataType::Other(of.name().to_owned()),
    }
}

/// The value of a column of type `of`; none if the bytes do not fit the type, or
/// the value does not fit the interface (infinite dates, arrays of arrays).
pub(crate) fn decode(of: &Type, bytes: Option<&[u8]>) -> Option<DbValue> {
    let Some(bytes) = bytes else { return Some(DbValue::DbNull) };
    Some(match *of {
        Type::BOOL => DbValue::Boolean(number::<1>(bytes)? != [0]),
        Type::CHAR => DbValue::Int8(i8::from_be_bytes(number(bytes)?)),
        Type::INT2 => DbValue::Int16(i16::from_be_bytes(number(bytes)?)),
        Type::INT4 => DbValue::Int32(int32(bytes)?),
        Type::INT8 => DbValue::Int64(int64(bytes)?),
        Type::FLOAT4 => DbValue::Floating32(f32::from_be_bytes(number(bytes)?)),
        Type::FLOAT8 => DbValue::Floating64(f64::from_be_bytes(number(bytes)?)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => DbValue::Str(text(bytes)?),
        Type::BYTEA => DbValue::Binary(bytes.to_vec()),
        Type::DATE => DbValue::Date(finite_date(int32(bytes)?)?),
        Type::TIME => DbValue::Time(time_from_micros(int64(bytes)?)?),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => datetime(int64(bytes)?)?,
        Type::UUID => DbValue::Uuid(uuid(number(bytes)?)),
        // The first byte is the version of the format.
        Type::JSONB => DbValue::Jsonb(compact(bytes.strip_prefix(&[1])?)),
        Type::NUMERIC => DbValue::Decimal(decimal::text(bytes)?),
        Type::INT4_RANGE => DbValue::RangeInt32(range(bytes, int32, 0)?),
        Type::INT8_RANGE => DbValue::RangeInt64(range(bytes, int64, 0)?),
        Type::NUM_RANGE => DbValue::RangeDecimal(range(bytes, decimal::text, "0".to_owned())?),
        Type::INT4_ARRAY => DbValue::ArrayInt32(array(bytes, int32)?),
        Type::INT8_ARRAY => DbValue::ArrayInt64(array(bytes, int64)?),
        Type::NUMERIC_ARRAY => DbValue::ArrayDecimal(array(bytes, decimal::text)?),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => {
            DbValue::ArrayStr(array(bytes, text)?)
        }
        Type::INTERVAL => DbValue::Interval(interval(bytes)?),
        _ => DbValue::Unsupported(bytes.to_vec()),
    })
}

/// JSON without the spaces between its parts, as guests know it from Spin.
fn compact(json: &[u8]) -> Vec<u8> {
    let (mut in_text, mut is_escaped) = (false, false);
    let kept = json.iter().copied().filter(|byte| {
        let is_part = in_text || !byte.is_ascii_whitespace();
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
        is_part
    });
    kept.collect()
}

fn number<const SIZE: usize>(bytes: &[u8]) -> Option<[u8; SIZE]> {
    bytes.try_into().ok()
}

fn int32(bytes: &[u8]) -> Option<i32> {
    number(bytes).map(i32::from_be_bytes)
}

fn int64(bytes: &[u8]) -> Option<i64> {
    number(bytes).map(i64::from_be_bytes)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn finite_date(days: i32) -> Option<(i32, u8, u8)> {
    let infinite = days == i32::MAX || days == i32::MIN;
    if infinite { None } else { date_from_days(days.into()) }
}

fn datetime(micros: i64) -> Option<DbValue> {
    if micros == i64::MAX || micros == i64::MIN {
        return None;
    }
    let ((year, month, day), (hour, minute, second, nanosecond)) = datetime_from_micros(micros)?;
    Some(DbValue::Datetime((year, month, day, hour, minute, second, nanosecond)))
}

fn uuid(bytes: [u8; 16]) -> String {
    let number = format!("{:032x}", u128::from_be_bytes(bytes));
    let mut text = String::with_capacity(36);
    for (index, digit) in number.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

fn interval(bytes: &[u8]) -> Option<Interval> {
    let (micros, rest) = bytes.split_first_chunk()?;
    let (days, months) = rest.split_first_chunk()?;
    Some(Interval {
        micros: i64::from_be_bytes(*micros),
        days: i32::from_be_bytes(*days),
        months: int32(months)?,
    })
}

type Bound<T> = Option<(T, RangeBoundKind)>;

/// The bounds of a range. The interface has no word for an empty range: it
/// becomes one between `zero` and `zero` that contains neither.
fn range<T: Clone>(
    bytes: &[u8],
    value: impl Fn(&[u8]) -> Option<T>,
    zero: T,
) -> Option<(Bound<T>, Bound<T>)> {
    let (tag, mut rest) = bytes.split_first()?;
    if tag & flags::EMPTY != 0 {
        let nothing = Some((zero, RangeBoundKind::Exclusive));
        return Some((nothing.clone(), nothing));
    }
    let mut bound = |unbounded: u8, inclusive: u8| {
        if tag & unbounded != 0 {
            return Some(None);
        }
        let kind = if tag & inclusive == 0 {
            RangeBoundKind::Exclusive
        } else {
            RangeBoundKind::Inclusive
        };
        Some(Some((value(sized(&mut rest)??)?, kind)))
    };
    let lower = bound(flags::LOWER_UNBOUNDED, flags::LOWER_INCLUSIVE)?;
    let upper = bound(flags::UPPER_UNBOUNDED, flags::UPPER_INCLUSIVE)?;
    Some((lower, upper))
}

/// The elements of an array with one dimension at most.
fn array<T>(bytes: &[u8], value: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<Option<T>>> {
    let mut rest = bytes;
    let dimensions = take_int32(&mut rest)?;
    let (_flags, _element_type) = (take_int32(&mut rest)?, take_int32(&mut rest)?);
    if dimensions == 0 {
        return Some(Vec::new());
    }
    if dimensions != 1 {
        return None;
    }
    let (length, _first_index) = (take_int32(&mut rest)?, take_int32(&mut rest)?);
    (0..length)
        .map(|_| match sized(&mut rest)? {
            Some(element) => value(element).map(Some),
            None => Some(None),
        })
        .collect()
}

fn take_int32(rest: &mut &[u8]) -> Option<i32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i32::from_be_bytes(*number))
}

/// A length with so many bytes; -1 stands for no value.
#[expect(clippy::option_option, reason = "malformed and null are two things")]
fn sized<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take_int32(rest)?;
    if length == -1 {
        return Some(None);
    }
    let (value, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(Some(value))
}
