//! What can go wrong between a guest and a broker.

use outbound_network::{ConnectError, NotPermitted};

use crate::AddressError;
use crate::codec::MAX_PACKET;
use crate::instance::MAX_OPEN;

/// Opening a connection, or publishing, failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MqttError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The component may not go there.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// The instance has [`MAX_OPEN`] connections open, or the app as many as it
    /// may have.
    #[error("too many connections are open; an instance may have {MAX_OPEN}")]
    TooManyConnections,
    /// The broker cannot be reached.
    #[error("{0}")]
    Connect(String),
    /// The broker refuses the connection.
    #[error("the broker refuses the connection: {0}")]
    Refused(&'static str),
    /// The connection ended.
    #[error("the connection to the broker ended: {0}")]
    Closed(String),
    /// The topic is empty, too long, or a filter.
    #[error("{0:?} is not the name of a topic")]
    Topic(String),
    /// The message is too long.
    #[error("the message has more than {0} bytes")]
    TooLong(usize),
    /// No acknowledgement came.
    #[error("all {} message numbers are in use", u16::MAX)]
    NoNumber,
}

impl MqttError {
    pub(crate) fn too_long() -> Self {
        Self::TooLong(MAX_PACKET)
    }
}

impl From<ConnectError> for MqttError {
    fn from(error: ConnectError) -> Self {
        let mut text = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        Self::Connect(text)
    }
}
