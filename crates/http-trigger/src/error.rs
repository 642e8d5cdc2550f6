//! Why an app cannot be served.

use std::io;
use std::net::SocketAddr;

use app::Problems;
use host::HostError;

/// Why an app cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Triggers, routes or components are not usable; all problems.
    #[error("{0}")]
    App(Problems),
    /// A component is not prepared by the host.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is none.
    #[error("cannot listen on {address}: the name does not lead to an address")]
    Resolve {
        /// The address as given.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: the port is in use by another process in this network \
         namespace"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// A socket that was handed over cannot be used.
    #[error("cannot use the socket that was handed over")]
    TakeOver(#[source] io::Error),
    /// The system refuses.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}
