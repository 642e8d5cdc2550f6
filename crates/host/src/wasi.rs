//! WASI 0.2 and 0.3: cli, clocks, filesystem, io, random, sockets.

use wasmtime::component::{Component, Linker};
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::{InstanceState, sockets};

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// WASI 0.2.
pub(crate) fn link_0_2(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    sockets::link_0_2(linker)
}

/// WASI 0.3.0.
pub(crate) fn link_0_3(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p3::add_to_linker(linker)?;
    sockets::link_0_3(linker)
}

/// Whether `component` imports anything of WASI 0.2, its release candidates
/// apart.
pub(crate) fn is_0_2_used_by(component: &Component) -> bool {
    imports(component, "0.2.")
}

/// Whether `component` imports anything of WASI 0.3.
pub(crate) fn is_0_3_used_by(component: &Component) -> bool {
    imports(component, "0.3.")
}

fn imports(component: &Component, version_prefix: &str) -> bool {
    component.component_type().imports(component.engine()).any(|(name, _)| {
        name.strip_prefix("wasi:").and_then(|name| name.split_once('@')).is_some_and(
            |(_, version)| version.starts_with(version_prefix) && !version.contains('-'),
        )
    })
}
