//! Key-value stores for guests.
//!
//! One implementation serves every version of the interface: `fermyon:spin`
//! without a version and 2.0.0, `spin:key-value` 3.0.0, and `wasi:keyvalue`
//! 0.2.0-draft2.
//!
//! - [`Stores`]: all stores of an app, by label.
//! - [`ComponentStores`]: those that one component may open.
//! - [`InstanceStores`]: what one instance has open; its data is in the store of
//!   wasmtime, and [`add_to_linker`] is told how to find it there.
//! - [`Store`]: one store. The backend here is an embedded SQLite database whose
//!   table is the one that Spin uses, so an app finds its data again; there every
//!   call is atomic, and numbers are 8 bytes, little endian. Other backends are
//!   crates of their own.
//!
//! Limits: [`MAX_OPEN`] open stores per instance, [`MAX_KEY`] and [`MAX_VALUE`]
//! bytes for a key and a value, [`MAX_RESULT`] bytes for everything one call
//! returns. Every write is on disk when it returns. `increment` and `swap` are
//! atomic, also between processes that share a file.

mod instance;
mod interface;
mod sqlite_store;
mod store;
mod stores;

pub use embedded_database::Location;
pub use instance::{InstanceStores, MAX_OPEN, OpenError, OpenStore, OpenSwap, Wrap};
pub use interface::{KeyValue, PROVIDES, add_to_linker};
pub use sqlite_store::SqliteStores;
pub use store::{
    MAX_KEY, MAX_RESULT, MAX_VALUE, ResultSize, Store, StoreError, Swap, check_entry, check_key,
};
pub use stores::{ComponentStores, FILE_NAME, Stores, UnknownLabel};

#[cfg(test)]
mod tests;
