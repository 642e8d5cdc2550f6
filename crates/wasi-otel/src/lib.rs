//! `wasi:otel` of 0.2.0-rc.2: spans, metrics and log records that guests make
//! themselves go where those of their app go.
//!
//! What is told when nothing is exported is forgotten. A guest's spans are in the
//! trace of its request if it asks for `outer-span-context`; while one of them is
//! open, requests that the guest sends are its children.

mod logs;
mod metrics;
mod tracing;
mod values;

use std::sync::Arc;

use telemetry::{Instance, Telemetry};
use wasmtime::component::{HasData, Linker};

mod bindings {
    wasmtime::component::bindgen!({ path: "wit" });
}

use bindings::wasi::otel;

/// The interfaces that [`add_to_linker`] adds.
pub const PROVIDES: &[&str] = &[
    "wasi:otel/types@0.2.0-rc.2",
    "wasi:otel/tracing@0.2.0-rc.2",
    "wasi:otel/metrics@0.2.0-rc.2",
    "wasi:otel/logs@0.2.0-rc.2",
];

/// To whom an instance tells something.
pub struct GuestTelemetry<'a> {
    /// The app's telemetry.
    pub telemetry: &'a Telemetry,
    /// What is told of the instance itself; none when nobody listens.
    pub instance: Option<&'a Arc<Instance>>,
}

/// What the functions in a linker work on: a [`GuestTelemetry`].
pub struct Otel;

impl HasData for Otel {
    type Data<'a> = GuestTelemetry<'a>;
}

/// Adds every interface in [`PROVIDES`]; `telemetry` finds to whom an instance
/// tells.
///
/// # Errors
///
/// Fails when `linker` has one of them already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    telemetry: fn(&mut T) -> GuestTelemetry<'_>,
) -> wasmtime::Result<()> {
    otel::types::add_to_linker::<_, Otel>(linker, telemetry)?;
    otel::tracing::add_to_linker::<_, Otel>(linker, telemetry)?;
    otel::metrics::add_to_linker::<_, Otel>(linker, telemetry)?;
    otel::logs::add_to_linker::<_, Otel>(linker, telemetry)
}

impl otel::types::Host for GuestTelemetry<'_> {}
