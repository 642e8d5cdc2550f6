//! Redis for guests.
//!
//! One implementation serves every version of the interface: `fermyon:spin`
//! without a version and 2.0.0, `spin:redis` 3.0.0.
//!
//! - [`Connections`]: the connections an app has to Redis servers.
//! - [`ComponentRedis`]: what one component may reach.
//! - [`InstanceConnections`]: what one instance has open; its data is in the
//!   store of wasmtime, and [`add_to_linker`] is told how to find it there.
//!
//! An address is a URL: `redis://[user[:password]@]host[:port][/database]`, over
//! TLS with the scheme `rediss`, `?protocol=resp3` for RESP3. It must be granted
//! by `allowed_outbound_hosts` with the scheme it has.
//!
//! A connection belongs to one user at a time. When it is done the connection is
//! kept for the next instance of the component that opens the same address,
//! unless one of the commands left something behind in it (`SELECT`, `MULTI`,
//! `SUBSCRIBE`, ...) or was given up. Limits: [`MAX_OPEN`] connections per
//! instance, [`PER_ADDRESS`] per component and address, and those of
//! [`outbound_network::Pool`].

mod address;
mod client;
mod error;
mod instance;
mod interface;

pub use address::{AddressError, RedisAddress};
pub use client::{Connection, Connections, PER_ADDRESS, Parameter, Reply};
pub use error::RedisError;
pub use instance::{ComponentRedis, InstanceConnections, MAX_OPEN, OpenConnection};
pub use interface::{OutboundRedis, PROVIDES, add_to_linker};

#[cfg(test)]
mod tests;
