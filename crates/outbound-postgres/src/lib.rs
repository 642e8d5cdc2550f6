//! PostgreSQL for guests.
//!
//! One implementation serves every version of the interface: `fermyon:spin`
//! without a version and 2.0.0, `spin:postgres` 3.0.0 and 4.0.0 to 4.2.0. The
//! types of the newest are the model; older ones are translated.
//!
//! - [`Connections`]: the connections an app has to PostgreSQL servers.
//! - [`ComponentPostgres`]: what one component may reach.
//! - [`InstanceConnections`]: what one instance has open; its data is in the
//!   store of wasmtime, and [`add_to_linker`] is told how to find it there.
//!
//! An address is a URL or `key=value` pairs, as libpq knows them. Each of its
//! hosts must be granted by `allowed_outbound_hosts` as `postgres://host:port`.
//! TLS is used if the server offers it (`sslmode=prefer`, the default), always
//! (`require`) or never (`disable`); certificates are always checked.
//!
//! A connection belongs to one user at a time. When it is done the session is
//! reset and kept for the next instance of the component that opens the same
//! address. Limits: [`MAX_OPEN`] connections per instance, [`PER_ADDRESS`] per
//! component and address, those of [`outbound_network::Pool`], and [`MAX_ROWS`]
//! bytes for the rows of a query, streamed or not, as in Spin.

#![expect(
    clippy::result_large_err,
    reason = "the error of the interface carries everything the server says"
)]

mod address;
mod client;
mod instance;
mod interface;
mod tls;
mod value;

pub use address::{AddressError, PostgresAddress};
pub use client::{Connection, Connections, MAX_ROWS, PER_ADDRESS};
pub use instance::{Builder, ComponentPostgres, InstanceConnections, MAX_OPEN, OpenConnection};
pub use interface::{Error, OutboundPostgres, PROVIDES, add_to_linker};

#[cfg(test)]
mod tests;
