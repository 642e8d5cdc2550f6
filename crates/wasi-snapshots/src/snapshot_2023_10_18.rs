//! WASI as it was on 2023-10-18: version `0.2.0-rc-2023-10-18` of `wasi:cli`,
//! `wasi:clocks`, `wasi:filesystem`, `wasi:http`, `wasi:io`, `wasi:random` and
//! `wasi:sockets`. The Spin Rust SDK 2.x builds for it.
//!
//! Where this snapshot asks for something today's host does not do:
//!
//! - Headers cannot be refused. A header that the host keeps for itself
//!   (`host`, `connection` and the like) is left out; a malformed one traps.
//!   Headers of incoming requests and responses may be changed; the change
//!   stays in the guest's copy.
//! - A request with a malformed method, path, scheme or authority fails when
//!   it is sent. The error codes of today become the four of the snapshot, with
//!   today's name as the text.
//! - `descriptor.lock-*` and `change-*-permissions-at` give `unsupported`;
//!   `access-at` gives it for the mode `executable`. `open-at` ignores the
//!   modes of a new file, which gets the host's.
//! - TCP's `no-delay` gives `not-supported`. The option `ipv6-only` of an IPv6
//!   socket is always on.
//! - `output-stream.splice`, `blocking-splice` and `forward` own their source
//!   and close it when they are done.
//! - `wasi:clocks/timezone` is UTC.

mod filesystem;
mod http;
mod io;
mod name_lookup;
mod udp;

use crate::Snapshot;
use crate::table::table;
use crate::unchanged::{cli, clocks, random, sockets};
use wasmtime::component::{Component, Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::clocks::{WasiClocksCtxView, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi::p2::bindings::sockets::tcp::{HostTcpSocket, TcpSocket};
use wasmtime_wasi::p2::{DynPollable, SocketResult};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView as _};
use wasmtime_wasi_http::WasiHttpView;

const SNAPSHOT: Snapshot = Snapshot("0.2.0-rc-2023-10-18");

/// Whether `component` imports anything of this snapshot, so that a linker for it
/// needs [`add_to_linker`].
pub fn is_used_by(component: &Component) -> bool {
    SNAPSHOT.is_used_by(component)
}

/// Links every interface of this snapshot.
///
/// # Errors
///
/// Fails when `linker` has one of them already.
pub fn add_to_linker<T>(linker: &mut Linker<T>) -> wasmtime::Result<()>
where
    T: WasiView + WasiHttpView + 'static,
{
    cli::add_to_linker(linker, SNAPSHOT)?;
    random::add_to_linker(linker, SNAPSHOT)?;
    add_clocks(linker)?;
    io::add_to_linker(linker)?;
    filesystem::add_to_linker(linker)?;
    sockets::add_to_linker(linker, SNAPSHOT)?;
    add_tcp(linker)?;
    udp::add_to_linker(linker)?;
    name_lookup::add_to_linker(linker)?;
    http::add_to_linker(linker)
}

fn add_clocks<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    clocks::add_to_linker(linker, SNAPSHOT)?;
    table!(SNAPSHOT.instance(linker, "wasi:clocks/monotonic-clock")?, T::clocks, {
        "subscribe" => value subscribe[when: u64, absolute: bool];
    });
    Ok(())
}

fn subscribe(
    view: &mut WasiClocksCtxView<'_>,
    when: u64,
    absolute: bool,
) -> wasmtime::Result<Resource<DynPollable>> {
    if absolute { view.subscribe_instant(when) } else { view.subscribe_duration(when) }
}

fn add_tcp<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Tcp = Resource<TcpSocket>;
    table!(SNAPSHOT.instance(linker, "wasi:sockets/tcp")?, T::sockets, {
        "[method]tcp-socket.keep-alive" => outcome HostTcpSocket::keep_alive_enabled[socket: Tcp];
        "[method]tcp-socket.set-keep-alive" => outcome HostTcpSocket::set_keep_alive_enabled[
            socket: Tcp, value: bool
        ];
        "[method]tcp-socket.no-delay" => outcome no_delay[socket: Tcp];
        "[method]tcp-socket.set-no-delay" => outcome set_no_delay[socket: Tcp, value: bool];
        "[method]tcp-socket.unicast-hop-limit" => outcome HostTcpSocket::hop_limit[socket: Tcp];
        "[method]tcp-socket.set-unicast-hop-limit" => outcome HostTcpSocket::set_hop_limit[
            socket: Tcp, value: u8
        ];
    });
    Ok(())
}

fn no_delay(_: &mut WasiSocketsCtxView<'_>, _: Resource<TcpSocket>) -> SocketResult<bool> {
    Err(ErrorCode::NotSupported.into())
}

fn set_no_delay(
    _: &mut WasiSocketsCtxView<'_>,
    _: Resource<TcpSocket>,
    _: bool,
) -> SocketResult<()> {
    Err(ErrorCode::NotSupported.into())
}
