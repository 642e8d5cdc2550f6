//! The interfaces, each in all its versions.

mod unversioned;
mod version_2;
mod version_3;
mod wasi;

use wasmtime::component::{HasData, Linker};

use crate::InstanceStores;

/// The interfaces that [`add_to_linker`] adds.
pub const PROVIDES: &[&str] = &[
    "fermyon:spin/key-value",
    "fermyon:spin/key-value@2.0.0",
    "spin:key-value/key-value@3.0.0",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
];

/// What the functions in a linker work on: an [`InstanceStores`].
pub struct KeyValue;

impl HasData for KeyValue {
    type Data<'a> = &'a mut InstanceStores;
}

/// Adds every interface in [`PROVIDES`]; `stores` finds what the instance has
/// open.
///
/// # Errors
///
/// Fails when `linker` has one of them already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    stores: fn(&mut T) -> &mut InstanceStores,
) -> wasmtime::Result<()> {
    unversioned::add_to_linker(linker, stores)?;
    version_2::add_to_linker(linker, stores)?;
    version_3::add_to_linker(linker, stores)?;
    wasi::add_to_linker(linker, stores)
}
