//! From the types of older versions, which are the same but for their Rust names,
//! to those of the newest and back.

/// Conversions of values and sets of rows.
macro_rules! values {
    ($types:ident) => {
        impl From<DbDataType> for $types::DbDataType {
            fn from(of: DbDataType) -> Self {
                match of {
                    DbDataType::Boolean => Self::Boolean,
                    DbDataType::Int8 => Self::Int8,
                    DbDataType::Int16 => Self::Int16,
                    DbDataType::Int32 => Self::Int32,
                    DbDataType::Int64 => Self::Int64,
                    DbDataType::Uint8 => Self::Uint8,
                    DbDataType::Uint16 => Self::Uint16,
                    DbDataType::Uint32 => Self::Uint32,
                    DbDataType::Uint64 => Self::Uint64,
                    DbDataType::Floating32 => Self::Floating32,
                    DbDataType::Floating64 => Self::Floating64,
                    DbDataType::Str => Self::Str,
                    DbDataType::Binary => Self::Binary,
                    DbDataType::Other => Self::Other,
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
                    DbValue::Uint8(value) => Self::Uint8(value),
                    DbValue::Uint16(value) => Self::Uint16(value),
                    DbValue::Uint32(value) => Self::Uint32(value),
                    DbValue::Uint64(value) => Self::Uint64(value),
                    DbValue::Floating32(value) => Self::Floating32(value),
                    DbValue::Floating64(value) => Self::Floating64(value),
                    DbValue::Str(value) => Self::Str(value),
                    DbValue::Binary(value) => Self::Binary(value),
                    DbValue::DbNull => Self::DbNull,
                    DbValue::Unsupported => Self::Unsupported,
                }
            }
        }

        impl From<(Vec<Column>, Vec<Row>)> for $types::RowSet {
            fn from((columns, rows): (Vec<Column>, Vec<Row>)) -> Self {
                let columns = columns.into_iter().map(|column| $types::Column {
                    name: column.name,
                    data_type: column.data_type.into(),
                });
                let rows = rows.into_iter().map(|row| row.into_iter().map(Into::into).collect());
                Self { columns: columns.collect(), rows: rows.collect() }
            }
        }

        fn ours(parameters: Vec<$types::ParameterValue>) -> Vec<ParameterValue> {
            let our = |parameter| match parameter {
                $types::ParameterValue::Boolean(value) => ParameterValue::Boolean(value),
                $types::ParameterValue::Int8(value) => ParameterValue::Int8(value),
                $types::ParameterValue::Int16(value) => ParameterValue::Int16(value),
                $types::ParameterValue::Int32(value) => ParameterValue::Int32(value),
                $types::ParameterValue::Int64(value) => ParameterValue::Int64(value),
                $types::ParameterValue::Uint8(value) => ParameterValue::Uint8(value),
                $types::ParameterValue::Uint16(value) => ParameterValue::Uint16(value),
                $types::ParameterValue::Uint32(value) => ParameterValue::Uint32(value),
                $types::ParameterValue::Uint64(value) => ParameterValue::Uint64(value),
                $types::ParameterValue::Floating32(value) => ParameterValue::Floating32(value),
                $types::ParameterValue::Floating64(value) => ParameterValue::Floating64(value),
                $types::ParameterValue::Str(value) => ParameterValue::Str(value),
                $types::ParameterValue::Binary(value) => ParameterValue::Binary(value),
                $types::ParameterValue::DbNull => ParameterValue::DbNull,
            };
            parameters.into_iter().map(our).collect()
        }
    };
}

/// The conversion of errors whose last one is called `$other`.
macro_rules! errors {
    ($types:ident :: $error:ident, $other:ident) => {
        impl From<Error> for $types::$error {
            fn from(error: Error) -> Self {
                match error {
                    Error::ConnectionFailed(text) => Self::ConnectionFailed(text),
                    Error::BadParameter(text) => Self::BadParameter(text),
                    Error::QueryFailed(text) => Self::QueryFailed(text),
                    Error::ValueConversionFailed(text) => Self::ValueConversionFailed(text),
                    Error::Other(text) => Self::$other(text),
                }
            }
        }
    };
}

pub(super) use {errors, values};
