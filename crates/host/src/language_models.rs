//! Language models for guests.

use wasmtime::component::Linker;

use crate::InstanceState;

pub(crate) fn link(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    llm::add_to_linker(linker, |state| &mut state.models)
}
