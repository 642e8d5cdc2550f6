//! The interface, in all its versions.

mod older;
mod unversioned;
mod version_2;
mod version_3;
mod version_4;

use wasmtime::component::{HasData, Linker};

pub use version_4::Error;
pub(crate) use version_4::{
    Column, DbDataType, DbError, DbValue, Interval, ParameterValue, QueryError, RangeBoundKind,
    Row, RowSet,
};

use crate::InstanceConnections;

/// The interfaces that [`add_to_linker`] adds. The last one serves versions 4.0.0
/// and 4.1.0 as well; those that have nothing but types need nothing added.
pub const PROVIDES: &[&str] = &[
    "fermyon:spin/postgres",
    "fermyon:spin/rdbms-types",
    "fermyon:spin/postgres@2.0.0",
    "fermyon:spin/rdbms-types@2.0.0",
    "spin:postgres/postgres@3.0.0",
    "spin:postgres/postgres@4.2.0",
];

/// What the functions in a linker work on: an [`InstanceConnections`].
pub struct OutboundPostgres;

impl HasData for OutboundPostgres {
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
    version_3::add_to_linker(linker, connections)?;
    version_4::add_to_linker(linker, connections)
}
