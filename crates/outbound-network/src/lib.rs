//! Connections of guests to servers, for every capability that makes some.
//!
//! - [`OutboundNetwork`]: what all components of an app share: blocked networks,
//!   limits, and the certificates servers are checked with.
//! - [`ComponentNetwork`]: what one component may reach. [`permit`] answers with a
//!   [`Permit`], and only a permit connects: the destination that was checked is
//!   the destination that is connected to.
//! - [`Pool`]: connections that are kept for the next one who needs them.
//! - [`Limit`]: how many connections there may be at a time.
//! - [`Tls`]: whom a connection trusts and who it is.
//!
//! A name is resolved once per connection; every address is checked and only
//! checked addresses are connected to. Nothing is read, resolved or opened before
//! the first use.
//!
//! [`permit`]: ComponentNetwork::permit

mod component;
mod connect;
mod limit;
mod pool;
mod shared;
mod tls;

pub use component::{ComponentNetwork, NotPermitted, Permit};
pub use connect::{CONNECT_TIMEOUT, ConnectError};
pub use limit::{Keeper, Limit, PermitObserver, Share};
pub use pool::{Call, IDLE_LIMIT, IDLE_TIME, Lease, Pool, PoolError, PoolKey, Reusable, WAIT};
pub use shared::OutboundNetwork;
pub use tls::{ClientIdentity, Tls, TlsFileError, TlsRule, TlsSettings, read_authorities, secure};
