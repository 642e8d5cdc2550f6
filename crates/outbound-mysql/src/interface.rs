//! The interface, in all its versions.

mod older;
mod unversioned;
mod version_2;
mod version_3;

use wasmtime::component::{HasData, Linker};

pub use version_3::Error;
pub(crate) use version_3::{Column, DbDataType, DbValue, ParameterValue, Row};

use crate::InstanceConnections;

/// The interfaces that [`add_to_linker`] adds; those that have nothing but types
/// need nothing added.
pub const PROVIDES: &[&str] = &[
    "fermyon:spin/mysql",
    "fermyon:spin/rdbms-types",
    "fermyon:spin/mysql@2.0.0",
    "fermyon:spin/rdbms-types@2.0.0",
    "spin:mysql/mysql@3.0.0",
];

/// What the functions in a linker work on: an [`InstanceConnections`].
pub struct OutboundMysql;

impl HasData for OutboundMysql {
    type Data<'a> = &'a mut InstanceConnections;
}

/// Adds every interface in [`PROVIDES`] that has functions; `connections` finds
/// what the instance has open.
///
/// # Errors
///
/// Fails when `linker` has one of them already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    unversioned::add_to_linker(linker, connections)?;
    version_2::add_to_linker(linker, connections)?;
    version_3::add_to_linker(linker, connections)
}
