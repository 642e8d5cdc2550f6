//! MySQL and MariaDB for guests.
//!
//! One implementation serves every version of the interface: `fermyon:spin`
//! without a version and 2.0.0, `spin:mysql` 3.0.0.
//!
//! - [`Connections`]: the connections an app has to MySQL servers.
//! - [`ComponentMysql`]: what one component may reach.
//! - [`InstanceConnections`]: what one instance has open; its data is in the
//!   store of wasmtime, and [`add_to_linker`] is told how to find it there.
//!
//! An address is a URL: `mysql://user:password@host[:port]/database`. It must be
//! granted by `allowed_outbound_hosts` as `mysql://host:port`. TLS is used when
//! `?ssl-mode=` says anything but `disabled`; certificates are always checked.
//!
//! A connection belongs to one user at a time. When it is done the session is
//! reset and kept for the next instance of the component that opens the same
//! address. Limits: [`MAX_OPEN`] connections per instance, [`PER_ADDRESS`] per
//! component and address, those of [`outbound_network::Pool`], and [`MAX_ROWS`]
//! bytes for the rows of a query, streamed or not, as in Spin.

mod address;
mod client;
mod instance;
mod interface;
mod value;

pub use address::{AddressError, MysqlAddress};
pub use client::{Connection, Connections, MAX_ROWS, PER_ADDRESS};
pub use instance::{ComponentMysql, InstanceConnections, MAX_OPEN, OpenConnection};
pub use interface::{Error, OutboundMysql, PROVIDES, add_to_linker};

#[cfg(test)]
mod tests;
