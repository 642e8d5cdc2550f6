//! SQLite databases for guests.
//!
//! One implementation serves every version of the interface: `fermyon:spin`
//! without a version and 2.0.0, `spin:sqlite` 3.0.0 and 3.1.0.
//!
//! - [`Databases`]: all databases of an app, by label.
//! - [`ComponentDatabases`]: those that one component may open.
//! - [`InstanceConnections`]: what one instance has open; its data is in the
//!   store of wasmtime, and [`add_to_linker`] is told how to find it there.
//! - [`Database`] and [`Connection`]: one database, embedded or remote.
//!
//! Limits: [`MAX_OPEN`] connections per instance, [`MAX_RESULT`] bytes for the
//! rows of one statement and for a single value. A statement that nobody waits
//! for any more is interrupted.
//!
//! A guest reaches its own databases and nothing else: statements that would open
//! another file (`ATTACH`, `VACUUM INTO`) or change what all databases of the
//! process share (some pragmas) are refused; extensions cannot be loaded.

mod database;
mod databases;
mod embedded;
mod guard;
mod instance;
mod interface;

pub use database::{Connection, Database, MAX_RESULT, QueryResult, SqliteError, Value};
pub use databases::{ComponentDatabases, Databases, FILE_NAME, UnknownLabel};
pub use embedded::Embedded;
pub use embedded_database::Location;
pub use instance::{InstanceConnections, MAX_OPEN, OpenConnection, OpenError, Wrap};
pub use interface::{PROVIDES, Sqlite, add_to_linker};

#[cfg(test)]
mod tests;
