//! `wasi:io`: the streams, but for `splice` and the place of `error`.

use crate::Snapshot;
use crate::table::table;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::io::error::HostError;
use wasmtime_wasi::p2::bindings::io::poll::HostPollable;
use wasmtime_wasi::p2::bindings::io::streams::{HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, IoError};

/// What `wasi:io` needs of the store's data.
pub(crate) fn resources<T: WasiView>(data: &mut T) -> &mut ResourceTable {
    data.ctx().table
}

/// Links the resources `pollable`, `input-stream`, `output-stream`, and, in
/// the interface `errors`, `error`.
pub(crate) fn add_to_linker<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
    errors: &str,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, errors)?, resources, {
        "error" => resource HostError::drop[error: IoError];
        "[method]error.to-debug-string" => value HostError::to_debug_string[
            error: Resource<IoError>
        ];
    });
    table!(snapshot.instance(linker, "wasi:io/poll")?, resources, {
        "pollable" => resource HostPollable::drop[pollable: DynPollable];
    });
    table!(snapshot.instance(linker, "wasi:io/streams")?, resources, {
        "input-stream" => async_resource HostInputStream::drop[stream: DynInputStream];
        "[method]input-stream.read" => outcome HostInputStream::read[
            stream: Resource<DynInputStream>, len: u64
        ];
        "[method]input-stream.blocking-read" => async_outcome HostInputStream::blocking_read[
            stream: Resource<DynInputStream>, len: u64
        ];
        "[method]input-stream.skip" => outcome HostInputStream::skip[
            stream: Resource<DynInputStream>, len: u64
        ];
        "[method]input-stream.blocking-skip" => async_outcome HostInputStream::blocking_skip[
            stream: Resource<DynInputStream>, len: u64
        ];
        "[method]input-stream.subscribe" => value HostInputStream::subscribe[
            stream: Resource<DynInputStream>
        ];
    });
    add_output_stream(linker, snapshot)
}

fn add_output_stream<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    type Stream = Resource<DynOutputStream>;
    table!(snapshot.instance(linker, "wasi:io/streams")?, resources, {
        "output-stream" => async_resource HostOutputStream::drop[stream: DynOutputStream];
        "[method]output-stream.check-write" => outcome HostOutputStream::check_write[
            stream: Stream
        ];
        "[method]output-stream.write" => outcome HostOutputStream::write[
            stream: Stream, contents: Vec<u8>
        ];
        "[method]output-stream.blocking-write-and-flush" =>
            async_outcome HostOutputStream::blocking_write_and_flush[
                stream: Stream, contents: Vec<u8>
            ];
        "[method]output-stream.flush" => outcome HostOutputStream::flush[stream: Stream];
        "[method]output-stream.blocking-flush" => async_outcome HostOutputStream::blocking_flush[
            stream: Stream
        ];
        "[method]output-stream.subscribe" => value HostOutputStream::subscribe[stream: Stream];
        "[method]output-stream.write-zeroes" => outcome HostOutputStream::write_zeroes[
            stream: Stream, len: u64
        ];
        "[method]output-stream.blocking-write-zeroes-and-flush" =>
            async_outcome HostOutputStream::blocking_write_zeroes_and_flush[
                stream: Stream, len: u64
            ];
    });
    Ok(())
}
