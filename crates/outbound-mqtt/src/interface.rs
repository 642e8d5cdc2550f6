//! The interface, in all its versions.

mod convert;
mod version_2;
mod version_3;

use wasmtime::component::{HasData, Linker};

use crate::InstanceConnections;

/// The interfaces that [`add_to_linker`] adds.
pub const PROVIDES: &[&str] = &["fermyon:spin/mqtt@2.0.0", "spin:mqtt/mqtt@3.0.0"];

/// What the functions in a linker work on: an [`InstanceConnections`].
pub struct OutboundMqtt;

impl HasData for OutboundMqtt {
    type Data<'a> = &'a mut InstanceConnections;
}

/// Adds every interface in [`PROVIDES`]; `connections` finds what the instance
/// has open.
///
/// # Errors
///
/// Fails when `linker` has one of them already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    version_2::add_to_linker(linker, connections)?;
    version_3::add_to_linker(linker, connections)
}
