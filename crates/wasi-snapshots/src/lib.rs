//! WASI as it was on 2023-10-18 and 2023-11-10, served by today's host.
//!
//! Guest SDKs of that time (the Spin Rust SDK 2.x among them) build components
//! whose imports carry pre-release versions such as
//! `wasi:http/types@0.2.0-rc-2023-10-18`. A pre-release version matches only
//! itself, so the interfaces of WASI 0.2 do not serve these components, and
//! some of them had other shapes.
//!
//! [`snapshot_2023_10_18`] and [`snapshot_2023_11_10`] each link all of
//! `wasi:cli`, `wasi:clocks`, `wasi:filesystem`, `wasi:http`, `wasi:io`,
//! `wasi:random` and `wasi:sockets` of their date. All of it ends up in the
//! same `wasmtime-wasi` and `wasmtime-wasi-http` contexts as WASI 0.2: the
//! same limits, the same permissions, the same resources. The function `handle`
//! that a component exports in a snapshot's `wasi:http/incoming-handler`
//! therefore takes the same `HostIncomingRequest` and `HostResponseOutparam` as
//! that of 0.2, and whoever calls one calls the other by its other name.
//!
//! The signatures are in `wit/`, one folder per snapshot.
//!
//! [`candidates`] does the same with `wasi:http` of two release candidates of
//! WASI 0.3.

#![expect(clippy::mut_mut, reason = "what some interfaces work on is a mutable reference itself")]

pub mod candidates;
pub mod snapshot_2023_10_18;
pub mod snapshot_2023_11_10;
mod table;
mod unchanged;

#[cfg(test)]
mod tests;

use wasmtime::component::{Component, Linker, LinkerInstance};

/// The version that all packages of one snapshot have.
#[derive(Clone, Copy)]
struct Snapshot(&'static str);

impl Snapshot {
    /// Where the functions of `interface` go, such as `wasi:io/poll`.
    fn instance<'linker, T: 'static>(
        self,
        linker: &'linker mut Linker<T>,
        interface: &str,
    ) -> wasmtime::Result<LinkerInstance<'linker, T>> {
        linker.instance(&format!("{interface}@{}", self.0))
    }

    /// Whether `component` imports an interface of this snapshot. One that
    /// exports a handler imports the types of its parameters.
    fn is_used_by(self, component: &Component) -> bool {
        component.component_type().imports(component.engine()).any(|(name, _)| {
            name.split_once('@').is_some_and(|(interface, version)| {
                interface.starts_with("wasi:") && version == self.0
            })
        })
    }
}
