//! Values between the interface and the binary protocol of MySQL.

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::{Column, Value};

use crate::interface::{DbDataType, DbValue, Error, ParameterValue};

/// The character set of columns that hold bytes, not text.
const BINARY: u16 = 63;

/// What a guest is told about the type of a column.
pub(crate) fn data_type(column: &Column) -> DbDataType {
    let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    let either = |signed, without_sign| if unsigned { without_sign } else { signed };
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY => either(DbDataType::Int8, DbDataType::Uint8),
        ColumnType::MYSQL_TYPE_SHORT => either(DbDataType::Int16, DbDataType::Uint16),
        ColumnType::MYSQL_TYPE_INT24 | ColumnType::MYSQL_TYPE_LONG => {
            either(DbDataType::Int32, DbDataType::Uint32)
        }
        ColumnType::MYSQL_TYPE_LONGLONG => either(DbDataType::Int64, DbDataType::Uint64),
        ColumnType::MYSQL_TYPE_FLOAT => DbDataType::Floating32,
        ColumnType::MYSQL_TYPE_DOUBLE => DbDataType::Floating64,
        ColumnType::MYSQL_TYPE_VARCHAR
        | ColumnType::MYSQL_TYPE_VAR_STRING
        | ColumnType::MYSQL_TYPE_STRING
        | ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_BLOB => {
            if column.character_set() == BINARY {
                DbDataType::Binary
            } else {
                DbDataType::Str
            }
        }
        _ => DbDataType::Other,
    }
}

/// The value of a column of type `of`.
pub(crate) fn decode(column: &str, of: DbDataType, value: Value) -> Result<DbValue, Error> {
    let wrong =
        || Error::ValueConversionFailed(format!("the value of column {column:?} is no {of:?}"));
    let number = || match &value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::UInt(number) => Some(i128::from(*number)),
        _ => None,
    };
    let converted = match (of, &value) {
        (_, Value::NULL) => Some(DbValue::DbNull),
        (DbDataType::Int8, _) => number().and_then(|n| n.try_into().ok()).map(DbValue::Int8),
        (DbDataType::Int16, _) => number().and_then(|n| n.try_into().ok()).map(DbValue::Int16),
        (DbDataType::Int32, _) => number().and_then(|n| n.try_into().ok()).map(DbValue::Int32),
        (DbDataType::Int64, _) => number().and_then(|n| n.try_into().ok()).map(DbValue::Int64),
        (DbDataType::Uint8, _) => number().and_then(|n| n.try_into().ok()).map(DbValue::Uint8),
        (DbDataType::Uint16, _) => number().and_then(|n| n.try_into().ok()).map(DbValue::Uint16),
        (DbDataType::Uint32, _) => number().and_then(|n| n.try_into().ok()).map(DbValue::Uint32),
        (DbDataType::Uint64, _) => number().and_then(|n| n.try_into().ok()).map(DbValue::Uint64),
        (DbDataType::Floating32, Value::Float(number)) => Some(DbValue::Floating32(*number)),
        (DbDataType::Floating64, Value::Double(number)) => Some(DbValue::Floating64(*number)),
        (DbDataType::Str, Value::Bytes(bytes)) => {
            String::from_utf8(bytes.clone()).ok().map(DbValue::Str)
        }
        (DbDataType::Binary, Value::Bytes(bytes)) => Some(DbValue::Binary(bytes.clone())),
        (DbDataType::Boolean | DbDataType::Other, _) => Some(DbValue::Unsupported),
        _ => None,
    };
    converted.ok_or_else(wrong)
}

/// A parameter of a statement.
pub(crate) fn encode(value: ParameterValue) -> Value {
    match value {
        ParameterValue::Boolean(value) => value.into(),
        ParameterValue::Int8(value) => value.into(),
        ParameterValue::Int16(value) => value.into(),
        ParameterValue::Int32(value) => value.into(),
        ParameterValue::Int64(value) => value.into(),
        ParameterValue::Uint8(value) => value.into(),
        ParameterValue::Uint16(value) => value.into(),
        ParameterValue::Uint32(value) => value.into(),
        ParameterValue::Uint64(value) => value.into(),
        ParameterValue::Floating32(value) => value.into(),
        ParameterValue::Floating64(value) => value.into(),
        ParameterValue::Str(text) => Value::Bytes(text.into_bytes()),
        ParameterValue::Binary(bytes) => Value::Bytes(bytes),
        ParameterValue::DbNull => Value::NULL,
    }
}
