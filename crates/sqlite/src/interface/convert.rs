//! Between our types and those of one version of the interface, which are the
//! same in all of them but for their Rust names.

/// Conversions for the types in `$bindings`.
macro_rules! conversions {
    ($($bindings:ident)::+) => {
        use $($bindings)::+ as types;

        impl From<types::Value> for $crate::Value {
            fn from(value: types::Value) -> Self {
                match value {
                    types::Value::Integer(number) => Self::Integer(number),
                    types::Value::Real(number) => Self::Real(number),
                    types::Value::Text(text) => Self::Text(text),
                    types::Value::Blob(bytes) => Self::Blob(bytes),
                    types::Value::Null => Self::Null,
                }
            }
        }

        impl From<$crate::Value> for types::Value {
            fn from(value: $crate::Value) -> Self {
                match value {
                    $crate::Value::Integer(number) => Self::Integer(number),
                    $crate::Value::Real(number) => Self::Real(number),
                    $crate::Value::Text(text) => Self::Text(text),
                    $crate::Value::Blob(bytes) => Self::Blob(bytes),
                    $crate::Value::Null => Self::Null,
                }
            }
        }

        impl From<Vec<$crate::Value>> for types::RowResult {
            fn from(values: Vec<$crate::Value>) -> Self {
                Self { values: values.into_iter().map(Into::into).collect() }
            }
        }

        impl From<$crate::QueryResult> for types::QueryResult {
            fn from(result: $crate::QueryResult) -> Self {
                let rows = result.rows.into_iter().map(Into::into).collect();
                Self { columns: result.columns, rows }
            }
        }

        impl From<$crate::SqliteError> for types::Error {
            fn from(error: $crate::SqliteError) -> Self {
                match error {
                    $crate::SqliteError::Full => Self::DatabaseFull,
                    error => Self::Io(error.chain()),
                }
            }
        }

        impl From<$crate::OpenError> for types::Error {
            fn from(error: $crate::OpenError) -> Self {
                match error {
                    $crate::OpenError::AccessDenied => Self::AccessDenied,
                    // The interface has no other word for it.
                    $crate::OpenError::TableFull => Self::DatabaseFull,
                    $crate::OpenError::Database(error) => error.into(),
                }
            }
        }

        fn ours(parameters: Vec<types::Value>) -> Vec<$crate::Value> {
            parameters.into_iter().map(Into::into).collect()
        }
    };
}

pub(super) use conversions;
