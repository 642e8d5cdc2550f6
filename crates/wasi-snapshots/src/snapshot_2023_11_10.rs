//! WASI as it was on 2023-11-10: version `0.2.0-rc-2023-11-10` of `wasi:cli`,
//! `wasi:clocks`, `wasi:filesystem`, `wasi:http`, `wasi:io`, `wasi:random` and
//! `wasi:sockets`.
//!
//! It differs little from 0.2.0. Where it does:
//!
//! - The timeouts of `request-options` (`connect-timeout-ms` and the others)
//!   count milliseconds, as the names say and as hosts of that time did,
//!   although the type `duration` counts nanoseconds elsewhere.
//! - `future-trailers.get` has no way to say that the trailers were taken
//!   before: that is the error code `internal-error`.
//! - The option `ipv6-only` of an IPv6 socket is always on.
//! - `wasi:clocks/timezone` is UTC.

mod http;

use crate::Snapshot;
use crate::table::table;
use crate::unchanged::io::resources;
use crate::unchanged::sockets::{dual_stack_is_off, set_dual_stack_off};
use crate::unchanged::{cli, clocks, filesystem, io, random, sockets};
use wasmtime::component::{Component, Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::bindings::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::bindings::io::streams::HostOutputStream;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::{HostTcpSocket, TcpSocket};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagramStream,
    OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, SocketResult};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView as _};
use wasmtime_wasi_http::WasiHttpView;

const SNAPSHOT: Snapshot = Snapshot("0.2.0-rc-2023-11-10");

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
    add_io(linker)?;
    add_filesystem(linker)?;
    sockets::add_to_linker(linker, SNAPSHOT)?;
    add_tcp(linker)?;
    add_udp(linker)?;
    add_datagrams(linker)?;
    add_name_lookup(linker)?;
    http::add_to_linker(linker)
}

fn add_clocks<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    clocks::add_to_linker(linker, SNAPSHOT)?;
    table!(SNAPSHOT.instance(linker, "wasi:clocks/monotonic-clock")?, T::clocks, {
        "subscribe-instant" => value monotonic_clock::Host::subscribe_instant[when: u64];
        "subscribe-duration" => value monotonic_clock::Host::subscribe_duration[when: u64];
    });
    Ok(())
}

fn add_io<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    io::add_to_linker(linker, SNAPSHOT, "wasi:io/error")?;
    table!(SNAPSHOT.instance(linker, "wasi:io/poll")?, resources, {
        "poll" => async_value poll::Host::poll[pollables: Vec<Resource<DynPollable>>];
        "[method]pollable.ready" => async_value HostPollable::ready[
            pollable: Resource<DynPollable>
        ];
        "[method]pollable.block" => async_unit HostPollable::block[
            pollable: Resource<DynPollable>
        ];
    });
    table!(SNAPSHOT.instance(linker, "wasi:io/streams")?, resources, {
        "[method]output-stream.splice" => outcome HostOutputStream::splice[
            stream: Resource<DynOutputStream>, src: Resource<DynInputStream>, len: u64
        ];
        "[method]output-stream.blocking-splice" => async_outcome HostOutputStream::blocking_splice[
            stream: Resource<DynOutputStream>, src: Resource<DynInputStream>, len: u64
        ];
    });
    Ok(())
}

fn add_filesystem<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    filesystem::add_to_linker(linker, SNAPSHOT)?;
    table!(SNAPSHOT.instance(linker, "wasi:filesystem/types")?, T::filesystem, {
        "[method]descriptor.open-at" => async_outcome HostDescriptor::open_at[
            fd: Resource<Descriptor>,
            path_flags: PathFlags,
            path: String,
            open_flags: OpenFlags,
            flags: DescriptorFlags
        ];
    });
    Ok(())
}

fn add_tcp<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Tcp = Resource<TcpSocket>;
    table!(SNAPSHOT.instance(linker, "wasi:sockets/tcp")?, T::sockets, {
        "[method]tcp-socket.is-listening" => value HostTcpSocket::is_listening[socket: Tcp];
        "[method]tcp-socket.keep-alive-enabled" => outcome HostTcpSocket::keep_alive_enabled[
            socket: Tcp
        ];
        "[method]tcp-socket.set-keep-alive-enabled" =>
            outcome HostTcpSocket::set_keep_alive_enabled[socket: Tcp, value: bool];
        "[method]tcp-socket.keep-alive-idle-time" => outcome HostTcpSocket::keep_alive_idle_time[
            socket: Tcp
        ];
        "[method]tcp-socket.set-keep-alive-idle-time" =>
            outcome HostTcpSocket::set_keep_alive_idle_time[socket: Tcp, value: u64];
        "[method]tcp-socket.keep-alive-interval" => outcome HostTcpSocket::keep_alive_interval[
            socket: Tcp
        ];
        "[method]tcp-socket.set-keep-alive-interval" =>
            outcome HostTcpSocket::set_keep_alive_interval[socket: Tcp, value: u64];
        "[method]tcp-socket.keep-alive-count" => outcome HostTcpSocket::keep_alive_count[
            socket: Tcp
        ];
        "[method]tcp-socket.set-keep-alive-count" => outcome HostTcpSocket::set_keep_alive_count[
            socket: Tcp, value: u32
        ];
        "[method]tcp-socket.hop-limit" => outcome HostTcpSocket::hop_limit[socket: Tcp];
        "[method]tcp-socket.set-hop-limit" => outcome HostTcpSocket::set_hop_limit[
            socket: Tcp, value: u8
        ];
    });
    Ok(())
}

fn add_udp<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Udp = Resource<UdpSocket>;
    table!(SNAPSHOT.instance(linker, "wasi:sockets/udp-create-socket")?, T::sockets, {
        "create-udp-socket" => async_outcome udp_create_socket::Host::create_udp_socket[
            family: IpAddressFamily
        ];
    });
    table!(SNAPSHOT.instance(linker, "wasi:sockets/udp")?, T::sockets, {
        "udp-socket" => resource HostUdpSocket::drop[socket: UdpSocket];
        "[method]udp-socket.start-bind" => async_outcome HostUdpSocket::start_bind[
            socket: Udp, network: Resource<Network>, local: IpSocketAddress
        ];
        "[method]udp-socket.finish-bind" => outcome HostUdpSocket::finish_bind[socket: Udp];
        "[method]udp-socket.stream" => async_outcome HostUdpSocket::stream[
            socket: Udp, remote: Option<IpSocketAddress>
        ];
        "[method]udp-socket.local-address" => outcome HostUdpSocket::local_address[socket: Udp];
        "[method]udp-socket.remote-address" => outcome HostUdpSocket::remote_address[socket: Udp];
        "[method]udp-socket.address-family" => value HostUdpSocket::address_family[socket: Udp];
        "[method]udp-socket.ipv6-only" => outcome udp_ipv6_only[socket: Udp];
        "[method]udp-socket.set-ipv6-only" => outcome set_udp_ipv6_only[socket: Udp, value: bool];
        "[method]udp-socket.unicast-hop-limit" => outcome HostUdpSocket::unicast_hop_limit[
            socket: Udp
        ];
        "[method]udp-socket.set-unicast-hop-limit" => outcome HostUdpSocket::set_unicast_hop_limit[
            socket: Udp, value: u8
        ];
        "[method]udp-socket.receive-buffer-size" => outcome HostUdpSocket::receive_buffer_size[
            socket: Udp
        ];
        "[method]udp-socket.set-receive-buffer-size" =>
            outcome HostUdpSocket::set_receive_buffer_size[socket: Udp, value: u64];
        "[method]udp-socket.send-buffer-size" => outcome HostUdpSocket::send_buffer_size[
            socket: Udp
        ];
        "[method]udp-socket.set-send-buffer-size" => outcome HostUdpSocket::set_send_buffer_size[
            socket: Udp, value: u64
        ];
        "[method]udp-socket.subscribe" => value HostUdpSocket::subscribe[socket: Udp];
    });
    Ok(())
}

fn add_datagrams<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    table!(SNAPSHOT.instance(linker, "wasi:sockets/udp")?, T::sockets, {
        "incoming-datagram-stream" => resource HostIncomingDatagramStream::drop[
            stream: IncomingDatagramStream
        ];
        "[method]incoming-datagram-stream.receive" => outcome HostIncomingDatagramStream::receive[
            stream: Resource<IncomingDatagramStream>, max_results: u64
        ];
        "[method]incoming-datagram-stream.subscribe" =>
            value HostIncomingDatagramStream::subscribe[stream: Resource<IncomingDatagramStream>];
        "outgoing-datagram-stream" => async_resource HostOutgoingDatagramStream::drop[
            stream: OutgoingDatagramStream
        ];
        "[method]outgoing-datagram-stream.check-send" =>
            outcome HostOutgoingDatagramStream::check_send[
                stream: Resource<OutgoingDatagramStream>
            ];
        "[method]outgoing-datagram-stream.send" => outcome HostOutgoingDatagramStream::send[
            stream: Resource<OutgoingDatagramStream>, datagrams: Vec<OutgoingDatagram>
        ];
        "[method]outgoing-datagram-stream.subscribe" =>
            value HostOutgoingDatagramStream::subscribe[stream: Resource<OutgoingDatagramStream>];
    });
    Ok(())
}

fn add_name_lookup<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    table!(SNAPSHOT.instance(linker, "wasi:sockets/ip-name-lookup")?, T::sockets, {
        "resolve-addresses" => outcome ip_name_lookup::Host::resolve_addresses[
            network: Resource<Network>, name: String
        ];
        "resolve-address-stream" => resource HostResolveAddressStream::drop[
            stream: ResolveAddressStream
        ];
        "[method]resolve-address-stream.resolve-next-address" =>
            outcome HostResolveAddressStream::resolve_next_address[
                stream: Resource<ResolveAddressStream>
            ];
        "[method]resolve-address-stream.subscribe" => value HostResolveAddressStream::subscribe[
            stream: Resource<ResolveAddressStream>
        ];
    });
    Ok(())
}

fn udp_ipv6_only(
    view: &mut WasiSocketsCtxView<'_>,
    socket: Resource<UdpSocket>,
) -> SocketResult<bool> {
    dual_stack_is_off(HostUdpSocket::address_family(view, socket))
}

fn set_udp_ipv6_only(
    view: &mut WasiSocketsCtxView<'_>,
    socket: Resource<UdpSocket>,
    value: bool,
) -> SocketResult<()> {
    set_dual_stack_off(HostUdpSocket::address_family(view, socket), value)
}
