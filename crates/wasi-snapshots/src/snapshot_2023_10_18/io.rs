//! `wasi:io` of the snapshot: `error` lives in `streams`, pollables have no
//! methods, and splicing takes the source away from the guest.

#[cfg(test)]
mod tests;

use super::SNAPSHOT;
use crate::table::table;
use crate::unchanged::io::{self, resources};
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::bindings::io::streams::{HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

/// The most that `forward` holds at a time, in bytes.
const CHUNK: usize = 64 * 1024;

pub(super) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Source = Resource<DynInputStream>;
    type Sink = Resource<DynOutputStream>;
    io::add_to_linker(linker, SNAPSHOT, "wasi:io/streams")?;
    table!(SNAPSHOT.instance(linker, "wasi:io/poll")?, resources, {
        "poll-list" => async_value poll::Host::poll[pollables: Vec<Resource<DynPollable>>];
        "poll-one" => async_unit HostPollable::block[pollable: Resource<DynPollable>];
    });
    table!(SNAPSHOT.instance(linker, "wasi:io/streams")?, resources, {
        "[method]output-stream.splice" => async_outcome splice[
            sink: Sink, source: Source, len: u64
        ];
        "[method]output-stream.blocking-splice" => async_outcome blocking_splice[
            sink: Sink, source: Source, len: u64
        ];
        "[method]output-stream.forward" => async_outcome forward[sink: Sink, source: Source];
    });
    Ok(())
}

async fn splice(
    resources: &mut &mut ResourceTable,
    sink: Resource<DynOutputStream>,
    source: Resource<DynInputStream>,
    len: u64,
) -> StreamResult<u64> {
    let spliced =
        HostOutputStream::splice(resources, sink, Resource::new_borrow(source.rep()), len);
    close(resources, source).await?;
    spliced
}

async fn blocking_splice(
    resources: &mut &mut ResourceTable,
    sink: Resource<DynOutputStream>,
    source: Resource<DynInputStream>,
    len: u64,
) -> StreamResult<u64> {
    let borrowed = Resource::new_borrow(source.rep());
    let spliced = HostOutputStream::blocking_splice(resources, sink, borrowed, len).await;
    close(resources, source).await?;
    spliced
}

async fn forward(
    resources: &mut &mut ResourceTable,
    sink: Resource<DynOutputStream>,
    source: Resource<DynInputStream>,
) -> StreamResult<u64> {
    let forwarded = copy(resources, &sink, &source).await;
    close(resources, source).await?;
    forwarded
}

/// Writes all of `source` to `sink`, flushes, and returns how many bytes it was.
async fn copy(
    resources: &mut ResourceTable,
    sink: &Resource<DynOutputStream>,
    source: &Resource<DynInputStream>,
) -> StreamResult<u64> {
    let mut copied = 0;
    loop {
        let permit = resources.get_mut(sink)?.write_ready().await?;
        let bytes = match resources.get_mut(source)?.blocking_read(permit.min(CHUNK)).await {
            Ok(bytes) => bytes,
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error),
        };
        copied += bytes.len() as u64;
        resources.get_mut(sink)?.write(bytes)?;
        // Two streams that are always ready would otherwise keep this thread,
        // and no deadline could end the copy.
        tokio::task::yield_now().await;
    }
    let sink = resources.get_mut(sink)?;
    sink.flush()?;
    sink.write_ready().await?;
    Ok(copied)
}

/// Drops a stream that the guest gave away.
async fn close(
    resources: &mut &mut ResourceTable,
    source: Resource<DynInputStream>,
) -> StreamResult<()> {
    HostInputStream::drop(resources, source).await.map_err(StreamError::Trap)
}
