//! Why an app cannot be prepared.

use std::io;

use app::Problems;

use crate::outbound_http::HttpClientError;

/// Why an app cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Variables without a value, and components with bad templates, bad allowed hosts
    /// or unknown labels; all of them.
    #[error("{0}")]
    Components(Problems),
    /// A bad memory limit.
    #[error(transparent)]
    MaxMemory(#[from] engine::MaxMemoryError),
    /// A bad setting of the HTTP client.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// The clock that interrupts guests cannot be started.
    #[error("cannot start the thread that interrupts guests")]
    Ticker(#[source] io::Error),
    /// A component that the app does not have.
    #[error("the app has no component {id:?}")]
    UnknownComponent {
        /// Its id.
        id: String,
    },
}
