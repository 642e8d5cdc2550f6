//! Which network destinations a component may reach.
//!
//! - [`AllowedHosts`]: the `allowed_outbound_hosts` of a component. Whether a
//!   destination, as a guest writes it, is granted is decided before its name is
//!   resolved.
//! - [`BlockedNetworks`]: the networks that nothing leads to, whatever is allowed.
//!   Every address of a granted destination is checked after its name was
//!   resolved.
//! - [`parse_url`]: the addresses of servers as guests write them.
//! - [`address`]: addresses and networks themselves.
//!
//! This crate is pure: it knows names and numbers, not sockets.

pub mod address;
mod allowed_hosts;
mod blocked_networks;
mod url;

pub use self::url::{parse_url, percent_decoded};
pub use allowed_hosts::{
    AllowedHost, AllowedHosts, CHAINING_SUFFIX, Destination, EntryError, Grant, SELF_HOST,
    default_port,
};
pub use blocked_networks::{BlockedNetworks, NetworkError};
