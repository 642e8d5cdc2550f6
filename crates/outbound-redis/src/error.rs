//! What can go wrong between a guest and a Redis server.

use outbound_network::{ConnectError, NotPermitted, PoolError};

use crate::AddressError;
use crate::instance::MAX_OPEN;

/// Opening a connection, or a command, failed.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The component may not go there.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The instance has [`MAX_OPEN`] connections open.
    #[error("the instance has {MAX_OPEN} connections open")]
    TooManyConnections,
    /// The app has as many connections as it may have.
    #[error("all connections are in use")]
    Busy(#[source] PoolError<std::convert::Infallible>),
    /// The server cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A value has another type than the command needs.
    #[error("the value has the wrong type")]
    Type,
    /// The server, or the connection to it, says why in words a guest can use.
    #[error("{0}")]
    Command(String),
}

impl RedisError {
    /// The error with its causes, as one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl From<PoolError<Self>> for RedisError {
    fn from(error: PoolError<Self>) -> Self {
        match error {
            PoolError::Exhausted => Self::Busy(PoolError::Exhausted),
            PoolError::Connect(error) => error,
        }
    }
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        let mistyped = error.kind() == redis::ErrorKind::UnexpectedReturnType
            || error.code() == Some("WRONGTYPE");
        if mistyped { Self::Type } else { Self::Command(error.to_string()) }
    }
}
