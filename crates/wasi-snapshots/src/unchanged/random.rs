//! `wasi:random`.

use crate::Snapshot;
use crate::table::table;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::WasiRandomView as _;

/// Links all of `wasi:random`.
pub(crate) fn add_to_linker<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:random/random")?, T::random, {
        "get-random-bytes" => value random::Host::get_random_bytes[len: u64];
        "get-random-u64" => value random::Host::get_random_u64[];
    });
    table!(snapshot.instance(linker, "wasi:random/insecure")?, T::random, {
        "get-insecure-random-bytes" => value insecure::Host::get_insecure_random_bytes[len: u64];
        "get-insecure-random-u64" => value insecure::Host::get_insecure_random_u64[];
    });
    table!(snapshot.instance(linker, "wasi:random/insecure-seed")?, T::random, {
        "insecure-seed" => value insecure_seed::Host::insecure_seed[];
    });
    Ok(())
}
