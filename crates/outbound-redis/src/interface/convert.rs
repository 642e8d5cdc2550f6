//! Between our types and those of one version of the interface, which are the
//! same in all of them but for their Rust names.

/// Conversions for the types in `$bindings`.
macro_rules! conversions {
    ($($bindings:ident)::+) => {
        use $($bindings)::+ as types;

        impl From<types::RedisParameter> for $crate::Parameter {
            fn from(parameter: types::RedisParameter) -> Self {
                match parameter {
                    types::RedisParameter::Int64(number) => Self::Integer(number),
                    types::RedisParameter::Binary(bytes) => Self::Binary(bytes),
                }
            }
        }

        impl From<$crate::Reply> for types::RedisResult {
            fn from(reply: $crate::Reply) -> Self {
                match reply {
                    $crate::Reply::Nil => Self::Nil,
                    $crate::Reply::Status(text) => Self::Status(text),
                    $crate::Reply::Integer(number) => Self::Int64(number),
                    $crate::Reply::Binary(bytes) => Self::Binary(bytes),
                }
            }
        }

        fn ours(parameters: Vec<types::RedisParameter>) -> Vec<$crate::Parameter> {
            parameters.into_iter().map(Into::into).collect()
        }

        fn theirs(replies: Vec<$crate::Reply>) -> Vec<types::RedisResult> {
            replies.into_iter().map(Into::into).collect()
        }
    };
}

/// The conversion of errors, for versions that tell them apart.
macro_rules! errors {
    ($($bindings:ident)::+) => {
        impl From<$crate::RedisError> for $($bindings)::+::Error {
            fn from(error: $crate::RedisError) -> Self {
                match error {
                    $crate::RedisError::Address(_) | $crate::RedisError::NotPermitted(_) => {
                        Self::InvalidAddress
                    }
                    $crate::RedisError::TooManyConnections => Self::TooManyConnections,
                    $crate::RedisError::Type => Self::TypeError,
                    error => Self::Other(error.chain()),
                }
            }
        }
    };
}

pub(super) use {conversions, errors};
