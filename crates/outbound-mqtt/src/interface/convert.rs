//! Between our types and those of one version of the interface, which are the
//! same in all of them but for their Rust names.

/// Conversions for the types in `$bindings`.
macro_rules! conversions {
    ($($bindings:ident)::+) => {
        use $($bindings)::+ as types;

        impl From<types::Qos> for $crate::QualityOfService {
            fn from(quality: types::Qos) -> Self {
                match quality {
                    types::Qos::AtMostOnce => Self::AtMostOnce,
                    types::Qos::AtLeastOnce => Self::AtLeastOnce,
                    types::Qos::ExactlyOnce => Self::ExactlyOnce,
                }
            }
        }

        impl From<$crate::MqttError> for types::Error {
            fn from(error: $crate::MqttError) -> Self {
                use $crate::MqttError as E;
                match error {
                    E::Address(_) => Self::InvalidAddress,
                    E::TooManyConnections => Self::TooManyConnections,
                    E::NotPermitted(_) | E::Connect(_) | E::Refused(_) => {
                        Self::ConnectionFailed(error.to_string())
                    }
                    E::Closed(_) | E::Topic(_) | E::TooLong(_) | E::NoNumber => {
                        Self::Other(error.to_string())
                    }
                }
            }
        }
    };
}

pub(super) use conversions;
