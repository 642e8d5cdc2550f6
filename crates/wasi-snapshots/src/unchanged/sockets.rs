//! `wasi:sockets`: the network and most of TCP.

use crate::Snapshot;
use crate::table::table;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::{HostTcpSocket, ShutdownType, TcpSocket};
use wasmtime_wasi::p2::bindings::sockets::{instance_network, tcp_create_socket};
use wasmtime_wasi::p2::{SocketError, SocketResult};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView as _};

type Tcp = Resource<TcpSocket>;

/// Links the interfaces `network`, `instance-network`, `tcp-create-socket`,
/// and of `tcp` what is the same in both snapshots.
pub(crate) fn add_to_linker<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:sockets/network")?, T::sockets, {
        "network" => resource network::HostNetwork::drop[network: Network];
    });
    table!(snapshot.instance(linker, "wasi:sockets/instance-network")?, T::sockets, {
        "instance-network" => value instance_network::Host::instance_network[];
    });
    table!(snapshot.instance(linker, "wasi:sockets/tcp-create-socket")?, T::sockets, {
        "create-tcp-socket" => outcome tcp_create_socket::Host::create_tcp_socket[
            family: IpAddressFamily
        ];
    });
    table!(snapshot.instance(linker, "wasi:sockets/tcp")?, T::sockets, {
        "tcp-socket" => resource HostTcpSocket::drop[socket: TcpSocket];
        "[method]tcp-socket.start-bind" => async_outcome HostTcpSocket::start_bind[
            socket: Tcp, network: Resource<Network>, local: IpSocketAddress
        ];
        "[method]tcp-socket.finish-bind" => outcome HostTcpSocket::finish_bind[socket: Tcp];
        "[method]tcp-socket.start-connect" => outcome HostTcpSocket::start_connect[
            socket: Tcp, network: Resource<Network>, remote: IpSocketAddress
        ];
        "[method]tcp-socket.finish-connect" => outcome HostTcpSocket::finish_connect[socket: Tcp];
        "[method]tcp-socket.start-listen" => async_outcome HostTcpSocket::start_listen[socket: Tcp];
        "[method]tcp-socket.finish-listen" => outcome HostTcpSocket::finish_listen[socket: Tcp];
        "[method]tcp-socket.accept" => outcome HostTcpSocket::accept[socket: Tcp];
        "[method]tcp-socket.subscribe" => value HostTcpSocket::subscribe[socket: Tcp];
        "[method]tcp-socket.shutdown" => outcome HostTcpSocket::shutdown[
            socket: Tcp, how: ShutdownType
        ];
    });
    add_tcp_options(linker, snapshot)
}

fn add_tcp_options<T: WasiView + 'static>(
    linker: &mut Linker<T>,
    snapshot: Snapshot,
) -> wasmtime::Result<()> {
    table!(snapshot.instance(linker, "wasi:sockets/tcp")?, T::sockets, {
        "[method]tcp-socket.local-address" => outcome HostTcpSocket::local_address[socket: Tcp];
        "[method]tcp-socket.remote-address" => outcome HostTcpSocket::remote_address[socket: Tcp];
        "[method]tcp-socket.address-family" => value HostTcpSocket::address_family[socket: Tcp];
        "[method]tcp-socket.ipv6-only" => outcome ipv6_only[socket: Tcp];
        "[method]tcp-socket.set-ipv6-only" => outcome set_ipv6_only[socket: Tcp, value: bool];
        "[method]tcp-socket.set-listen-backlog-size" =>
            outcome HostTcpSocket::set_listen_backlog_size[socket: Tcp, value: u64];
        "[method]tcp-socket.receive-buffer-size" => outcome HostTcpSocket::receive_buffer_size[
            socket: Tcp
        ];
        "[method]tcp-socket.set-receive-buffer-size" =>
            outcome HostTcpSocket::set_receive_buffer_size[socket: Tcp, value: u64];
        "[method]tcp-socket.send-buffer-size" => outcome HostTcpSocket::send_buffer_size[
            socket: Tcp
        ];
        "[method]tcp-socket.set-send-buffer-size" => outcome HostTcpSocket::set_send_buffer_size[
            socket: Tcp, value: u64
        ];
    });
    Ok(())
}

fn ipv6_only(view: &mut WasiSocketsCtxView<'_>, socket: Tcp) -> SocketResult<bool> {
    dual_stack_is_off(view.address_family(socket))
}

fn set_ipv6_only(view: &mut WasiSocketsCtxView<'_>, socket: Tcp, value: bool) -> SocketResult<()> {
    set_dual_stack_off(view.address_family(socket), value)
}

/// The option `ipv6-only` of a socket of `family`: always on for IPv6, because today's
/// host has no dual-stack sockets; IPv4 sockets do not have the option.
pub(crate) fn dual_stack_is_off(family: wasmtime::Result<IpAddressFamily>) -> SocketResult<bool> {
    match family.map_err(SocketError::trap)? {
        IpAddressFamily::Ipv6 => Ok(true),
        IpAddressFamily::Ipv4 => Err(ErrorCode::NotSupported.into()),
    }
}

/// Sets the option `ipv6-only` to the one value it can have.
pub(crate) fn set_dual_stack_off(
    family: wasmtime::Result<IpAddressFamily>,
    value: bool,
) -> SocketResult<()> {
    match (family.map_err(SocketError::trap)?, value) {
        (IpAddressFamily::Ipv6, true) => Ok(()),
        _ => Err(ErrorCode::NotSupported.into()),
    }
}
