//! From the types of older versions to those of the newest and back.

use super::{Error, QueryError};

/// What an error of the newest version is called in older ones.
pub(super) enum OlderError {
    ConnectionFailed(String),
    BadParameter(String),
    QueryFailed(String),
    ValueConversionFailed(String),
    Other(String),
}

impl From<Error> for OlderError {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
            Error::BadParameter(text) => Self::BadParameter(text),
            Error::QueryFailed(QueryError::Text(text)) => Self::QueryFailed(text),
            Error::QueryFailed(QueryError::DbError(error)) => Self::QueryFailed(error.as_text),
            Error::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
            Error::Other(text) => Self::Other(text),
        }
    }
}

/// Conversions of values that all versions have, and of sets of rows; in
/// parentheses those that only some have.
macro_rules! values {
    ($types:ident; results: $($more:ident),*; parameters: $($parameter:ident),*; refused: $($refused:ident),*) => {
        impl From<DbDataType> for $types::DbDataType {
            fn from(of: DbDataType) -> Self {
                match of {
                    DbDataType::Boolean => Self::Boolean,
                    DbDataType::Int8 => Self::Int8,
                    DbDataType::Int16 => Self::Int16,
                    DbDataType::Int32 => Self::Int32,
                    DbDataType::Int64 => Self::Int64,
                    DbDataType::Floating32 => Self::Floating32,
                    DbDataType::Floating64 => Self::Floating64,
                    DbDataType::Str => Self::Str,
                    DbDataType::Binary => Self::Binary,
                    $(DbDataType::$more => Self::$more,)*
                    _ => Self::Other,
                }
            }
        }

        impl From<DbValue> for $types::DbValue {
            fn from(value: DbValue) -> Self {
                match value {
                    DbValue::Boolean(value) => Self::Boolean(value),
                    DbValue::Int8(value) => Self::Int8(value),
                    DbValue::Int16(value) => Self::Int16(value),
                    DbValue::Int32(value) => Self::Int32(value),
                    DbValue::Int64(value) => Self::Int64(value),
                    DbValue::Floating32(value) => Self::Floating32(value),
                    DbValue::Floating64(value) => Self::Floating64(value),
                    DbValue::Str(value) => Self::Str(value),
                    DbValue::Binary(value) => Self::Binary(value),
                    DbValue::DbNull => Self::DbNull,
                    $(DbValue::$more(value) => Self::$more(value),)*
                    _ => Self::Unsupported,
                }
            }
        }

        impl From<RowSet> for $types::RowSet {
            fn from(set: RowSet) -> Self {
                let columns = set.columns.into_iter().map(|column| $types::Column {
                    name: column.name,
                    data_type: column.data_type.into(),
                });
                let rows = set.rows.into_iter().map(|row| row.into_iter().map(Into::into).collect());
                Self { columns: columns.collect(), rows: rows.collect() }
            }
        }

        fn ours(parameters: Vec<$types::ParameterValue>) -> Result<Vec<ParameterValue>, Error> {
            parameters.into_iter().map(our).collect()
        }

        fn our(parameter: $types::ParameterValue) -> Result<ParameterValue, Error> {
            Ok(match parameter {
                $types::ParameterValue::Boolean(value) => ParameterValue::Boolean(value),
                $types::ParameterValue::Int8(value) => ParameterValue::Int8(value),
                $types::ParameterValue::Int16(value) => ParameterValue::Int16(value),
                $types::ParameterValue::Int32(value) => ParameterValue::Int32(value),
                $types::ParameterValue::Int64(value) => ParameterValue::Int64(value),
                $types::ParameterValue::Floating32(value) => ParameterValue::Floating32(value),
                $types::ParameterValue::Floating64(value) => ParameterValue::Floating64(value),
                $types::ParameterValue::Str(value) => ParameterValue::Str(value),
                $types::ParameterValue::Binary(value) => ParameterValue::Binary(value),
                $types::ParameterValue::DbNull => ParameterValue::DbNull,
                $($types::ParameterValue::$parameter(value) => ParameterValue::$parameter(value),)*
                $($types::ParameterValue::$refused(_) => {
                    let text = "Postgres does not support unsigned integers";
                    return Err(Error::ValueConversionFailed(text.to_owned()));
                })*
            })
        }
    };
}

/// The conversion of errors whose last one is called `$other`.
macro_rules! errors {
    ($types:ident :: $error:ident, $other:ident) => {
        impl From<Error> for $types::$error {
            fn from(error: Error) -> Self {
                match OlderError::from(error) {
                    OlderError::ConnectionFailed(text) => Self::ConnectionFailed(text),
                    OlderError::BadParameter(text) => Self::BadParameter(text),
                    OlderError::QueryFailed(text) => Self::QueryFailed(text),
                    OlderError::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
                    OlderError::Other(text) => Self::$other(text),
                }
            }
        }
    };
}

pub(super) use {errors, values};
