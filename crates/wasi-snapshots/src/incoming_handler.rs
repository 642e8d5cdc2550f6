//! Calling the request handler that a component exports.

use wasmtime::AsContextMut;
use wasmtime::component::{Component, ComponentExportIndex, Instance, Resource};
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

/// The function `handle` that a component exports in a version of
/// `wasi:http/incoming-handler`.
///
/// It has had one shape from 2023-10-18 to all of 0.2, so whoever serves 0.2
/// serves the snapshots by looking under another name: make the request and the
/// response outparam with `WasiHttpCtxView`, call, and wait for the response.
pub struct IncomingHandler {
    handle: ComponentExportIndex,
}

impl IncomingHandler {
    /// The handler that `component` exports under the full name `export`, for
    /// example [`snapshot_2023_10_18::EXPORT`](crate::snapshot_2023_10_18::EXPORT);
    /// `None` when it exports none.
    pub fn of(component: &Component, export: &str) -> Option<Self> {
        let interface = component.get_export_index(None, export)?;
        let handle = component.get_export_index(Some(&interface), "handle")?;
        Some(Self { handle })
    }

    /// Has `instance` handle `request`. The response arrives through
    /// `response`, usually before this returns; the guest may go on working.
    /// When this returns and nothing has arrived, the guest gave no response.
    ///
    /// # Errors
    ///
    /// Fails when the guest traps, when the store interrupts it, or when the
    /// export is not the function that `wasi:http` describes.
    ///
    /// # Panics
    ///
    /// Panics when `instance` is not one of the component that this is
    /// [of](Self::of), or not in `store`.
    pub async fn call_handle<T: Send + 'static>(
        &self,
        mut store: impl AsContextMut<Data = T>,
        instance: &Instance,
        request: Resource<HostIncomingRequest>,
        response: Resource<HostResponseOutparam>,
    ) -> wasmtime::Result<()> {
        let handle = instance
            .get_typed_func::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(
                &mut store,
                &self.handle,
            )?;
        handle.call_async(store, (request, response)).await
    }
}
