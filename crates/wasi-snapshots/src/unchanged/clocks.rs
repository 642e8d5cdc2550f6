//! `wasi:clocks`: all but the subscriptions.

use crate::Snapshot;
use crate::table::table;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::clocks::{WasiClocksCtxView, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::{self, Datetime};

/// How to display a point in time: always in UTC, as the snapshots ask of a
/// host that exposes no time zone to its guests.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct TimezoneDisplay {
    #[component(name = "utc-offset")]
    utc_offset: i32,
    name: String,
    #[component(name = "in-daylight-saving-time")]
    in_daylight_saving_time: bool,
}

/// Links the clocks and the time zone, without `monotonic-clock.subscribe*`.
pub(crate) fn add_to_linker<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:clocks/wall-clock")?, T::clocks, {
        "now" => value wall_clock::Host::now[];
        "resolution" => value wall_clock::Host::resolution[];
    });
    table!(snapshot.instance(linker, "wasi:clocks/monotonic-clock")?, T::clocks, {
        "now" => value monotonic_clock::Host::now[];
        "resolution" => value monotonic_clock::Host::resolution[];
    });
    table!(snapshot.instance(linker, "wasi:clocks/timezone")?, T::clocks, {
        "display" => value display[when: Datetime];
        "utc-offset" => value utc_offset[when: Datetime];
    });
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a host function")]
fn display(_: &mut WasiClocksCtxView<'_>, _: Datetime) -> wasmtime::Result<TimezoneDisplay> {
    let name = "UTC".to_owned();
    Ok(TimezoneDisplay { utc_offset: 0, name, in_daylight_saving_time: false })
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a host function")]
fn utc_offset(_: &mut WasiClocksCtxView<'_>, _: Datetime) -> wasmtime::Result<i32> {
    Ok(0)
}
