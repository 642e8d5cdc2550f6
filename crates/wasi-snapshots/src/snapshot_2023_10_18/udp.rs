//! `wasi:sockets/udp` of the snapshot: datagrams go through the socket itself
//! rather than through a pair of streams.

#[cfg(test)]
mod tests;

use super::SNAPSHOT;
use crate::table::table;
use crate::unchanged::sockets::{dual_stack_is_off, set_dual_stack_off};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket,
    IncomingDatagram as Datagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
    UdpSocket,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
use wasmtime_wasi::p2::{DynPollable, SocketError, SocketResult};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView as _};

/// A `udp-socket`.
struct Socket {
    /// Today's socket.
    inner: Resource<UdpSocket>,
    /// Its streams, as long as it is bound.
    streams: Option<Streams>,
    /// Between `start-connect` and `finish-connect`.
    connecting: bool,
    /// What the guest tried last, and will wait for if it waits.
    last: Operation,
}

struct Streams {
    incoming: Resource<IncomingDatagramStream>,
    outgoing: Resource<OutgoingDatagramStream>,
}

#[derive(Clone, Copy)]
enum Operation {
    Receive,
    Send,
}

type Udp = Resource<Socket>;

pub(super) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    table!(SNAPSHOT.instance(linker, "wasi:sockets/udp-create-socket")?, T::sockets, {
        "create-udp-socket" => async_outcome create[family: IpAddressFamily];
    });
    table!(SNAPSHOT.instance(linker, "wasi:sockets/udp")?, T::sockets, {
        "udp-socket" => async_resource drop[socket: Socket];
        "[method]udp-socket.start-bind" => async_outcome start_bind[
            socket: Udp, network: Resource<Network>, local: IpSocketAddress
        ];
        "[method]udp-socket.finish-bind" => async_outcome finish_bind[socket: Udp];
        "[method]udp-socket.start-connect" => async_outcome start_connect[
            socket: Udp, network: Resource<Network>, remote: IpSocketAddress
        ];
        "[method]udp-socket.finish-connect" => outcome finish_connect[socket: Udp];
        "[method]udp-socket.receive" => outcome receive[socket: Udp, max_results: u64];
        "[method]udp-socket.send" => outcome send[socket: Udp, datagrams: Vec<Datagram>];
        "[method]udp-socket.local-address" => outcome local_address[socket: Udp];
        "[method]udp-socket.remote-address" => outcome remote_address[socket: Udp];
        "[method]udp-socket.address-family" => value address_family[socket: Udp];
        "[method]udp-socket.ipv6-only" => outcome ipv6_only[socket: Udp];
        "[method]udp-socket.set-ipv6-only" => outcome set_ipv6_only[socket: Udp, value: bool];
        "[method]udp-socket.unicast-hop-limit" => outcome unicast_hop_limit[socket: Udp];
        "[method]udp-socket.set-unicast-hop-limit" => outcome set_unicast_hop_limit[
            socket: Udp, value: u8
        ];
        "[method]udp-socket.receive-buffer-size" => outcome receive_buffer_size[socket: Udp];
        "[method]udp-socket.set-receive-buffer-size" => outcome set_receive_buffer_size[
            socket: Udp, value: u64
        ];
        "[method]udp-socket.send-buffer-size" => outcome send_buffer_size[socket: Udp];
        "[method]udp-socket.set-send-buffer-size" => outcome set_send_buffer_size[
            socket: Udp, value: u64
        ];
        "[method]udp-socket.subscribe" => value subscribe[socket: Udp];
    });
    Ok(())
}

async fn create(view: &mut WasiSocketsCtxView<'_>, family: IpAddressFamily) -> SocketResult<Udp> {
    let inner = view.create_udp_socket(family).await?;
    let last = Operation::Receive;
    Ok(view.table.push(Socket { inner, streams: None, connecting: false, last })?)
}

/// Today's socket, for one call.
fn inner(view: &WasiSocketsCtxView<'_>, socket: &Udp) -> SocketResult<Resource<UdpSocket>> {
    Ok(Resource::new_borrow(view.table.get(socket)?.inner.rep()))
}

async fn start_bind(
    view: &mut WasiSocketsCtxView<'_>,
    socket: Udp,
    network: Resource<Network>,
    local: IpSocketAddress,
) -> SocketResult<()> {
    let Socket { inner, connecting, .. } = view.table.get(&socket)?;
    if *connecting {
        return Err(ErrorCode::ConcurrencyConflict.into());
    }
    let inner = Resource::new_borrow(inner.rep());
    view.start_bind(inner, network, local).await
}

async fn finish_bind(view: &mut WasiSocketsCtxView<'_>, socket: Udp) -> SocketResult<()> {
    let inner = inner(view, &socket)?;
    view.finish_bind(inner)?;
    open(view, &socket, None).await
}

async fn start_connect(
    view: &mut WasiSocketsCtxView<'_>,
    socket: Udp,
    network: Resource<Network>,
    remote: IpSocketAddress,
) -> SocketResult<()> {
    let Socket { streams, connecting, .. } = view.table.get(&socket)?;
    if *connecting {
        return Err(ErrorCode::ConcurrencyConflict.into());
    }
    if streams.is_none() {
        bind_to_any(view, &socket, network).await?;
    }
    close(view, &socket).await?;
    if let Err(error) = open(view, &socket, Some(remote)).await {
        open(view, &socket, None).await?;
        return Err(error);
    }
    view.table.get_mut(&socket)?.connecting = true;
    Ok(())
}

/// The bind that connecting an unbound socket includes.
async fn bind_to_any(
    view: &mut WasiSocketsCtxView<'_>,
    socket: &Udp,
    network: Resource<Network>,
) -> SocketResult<()> {
    let borrowed = inner(view, socket)?;
    let family = HostUdpSocket::address_family(view, borrowed).map_err(SocketError::trap)?;
    let any = match family {
        IpAddressFamily::Ipv4 => {
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) })
        }
        IpAddressFamily::Ipv6 => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: 0,
            flow_info: 0,
            address: (0, 0, 0, 0, 0, 0, 0, 0),
            scope_id: 0,
        }),
    };
    let borrowed = inner(view, socket)?;
    view.start_bind(borrowed, network, any).await?;
    let borrowed = inner(view, socket)?;
    view.finish_bind(borrowed)
}

fn finish_connect(view: &mut WasiSocketsCtxView<'_>, socket: Udp) -> SocketResult<()> {
    let socket = view.table.get_mut(&socket)?;
    if !std::mem::take(&mut socket.connecting) {
        return Err(ErrorCode::NotInProgress.into());
    }
    Ok(())
}

/// Opens the streams, to and from `remote` only if there is one.
async fn open(
    view: &mut WasiSocketsCtxView<'_>,
    socket: &Udp,
    remote: Option<IpSocketAddress>,
) -> SocketResult<()> {
    let inner = inner(view, socket)?;
    let (incoming, outgoing) = view.stream(inner, remote).await?;
    view.table.get_mut(socket)?.streams = Some(Streams { incoming, outgoing });
    Ok(())
}

/// Closes the streams, unless the guest holds a pollable of one.
async fn close(view: &mut WasiSocketsCtxView<'_>, socket: &Udp) -> SocketResult<()> {
    if let Some(streams) = &view.table.get(socket)?.streams
        && (view.table.iter_children(&streams.incoming)?.next().is_some()
            || view.table.iter_children(&streams.outgoing)?.next().is_some())
    {
        return Err(ErrorCode::InvalidState.into());
    }
    if let Some(streams) = view.table.get_mut(socket)?.streams.take() {
        drop_streams(view, streams).await.map_err(SocketError::trap)?;
    }
    Ok(())
}

async fn drop_streams(view: &mut WasiSocketsCtxView<'_>, streams: Streams) -> wasmtime::Result<()> {
    HostIncomingDatagramStream::drop(view, streams.incoming)?;
    HostOutgoingDatagramStream::drop(view, streams.outgoing).await
}

async fn drop(view: &mut WasiSocketsCtxView<'_>, socket: Udp) -> wasmtime::Result<()> {
    let Socket { inner, streams, .. } = view.table.delete(socket)?;
    if let Some(streams) = streams {
        drop_streams(view, streams).await?;
    }
    HostUdpSocket::drop(view, inner)
}

/// The streams of a bound socket, for one call, noting what it is for.
fn streams(
    view: &mut WasiSocketsCtxView<'_>,
    socket: &Udp,
    operation: Operation,
) -> SocketResult<Streams> {
    let socket = view.table.get_mut(socket)?;
    socket.last = operation;
    let streams = socket.streams.as_ref().ok_or(ErrorCode::InvalidState)?;
    Ok(Streams {
        incoming: Resource::new_borrow(streams.incoming.rep()),
        outgoing: Resource::new_borrow(streams.outgoing.rep()),
    })
}

fn receive(
    view: &mut WasiSocketsCtxView<'_>,
    socket: Udp,
    max_results: u64,
) -> SocketResult<Vec<Datagram>> {
    let streams = streams(view, &socket, Operation::Receive)?;
    let datagrams = view.receive(streams.incoming, max_results)?;
    if datagrams.is_empty() && max_results > 0 {
        return Err(ErrorCode::WouldBlock.into());
    }
    Ok(datagrams)
}

fn send(
    view: &mut WasiSocketsCtxView<'_>,
    socket: Udp,
    datagrams: Vec<Datagram>,
) -> SocketResult<u64> {
    if datagrams.is_empty() {
        return Ok(0);
    }
    let permit = {
        let streams = streams(view, &socket, Operation::Send)?;
        view.check_send(streams.outgoing)?
    };
    let datagrams: Vec<_> = datagrams
        .into_iter()
        .take(usize::try_from(permit).unwrap_or(usize::MAX))
        .map(|Datagram { data, remote_address }| OutgoingDatagram {
            data,
            remote_address: Some(remote_address),
        })
        .collect();
    let streams = streams(view, &socket, Operation::Send)?;
    match HostOutgoingDatagramStream::send(view, streams.outgoing, datagrams)? {
        0 => Err(ErrorCode::WouldBlock.into()),
        sent => Ok(sent),
    }
}

/// Ready when what the guest tried last may succeed. A socket without streams
/// is not bound, and everything but binding it fails at once.
fn subscribe(
    view: &mut WasiSocketsCtxView<'_>,
    socket: Udp,
) -> wasmtime::Result<Resource<DynPollable>> {
    let Socket { inner, streams, last, .. } = view.table.get(&socket)?;
    match (streams, last) {
        (None, _) => {
            let inner = Resource::new_borrow(inner.rep());
            HostUdpSocket::subscribe(view, inner)
        }
        (Some(streams), Operation::Receive) => {
            let incoming = Resource::new_borrow(streams.incoming.rep());
            HostIncomingDatagramStream::subscribe(view, incoming)
        }
        (Some(streams), Operation::Send) => {
            let outgoing = Resource::new_borrow(streams.outgoing.rep());
            HostOutgoingDatagramStream::subscribe(view, outgoing)
        }
    }
}

fn address_family(
    view: &mut WasiSocketsCtxView<'_>,
    socket: Udp,
) -> wasmtime::Result<IpAddressFamily> {
    let inner = Resource::new_borrow(view.table.get(&socket)?.inner.rep());
    HostUdpSocket::address_family(view, inner)
}

fn ipv6_only(view: &mut WasiSocketsCtxView<'_>, socket: Udp) -> SocketResult<bool> {
    dual_stack_is_off(address_family(view, socket))
}

fn set_ipv6_only(view: &mut WasiSocketsCtxView<'_>, socket: Udp, value: bool) -> SocketResult<()> {
    set_dual_stack_off(address_family(view, socket), value)
}

/// Methods of a socket that are methods of today's socket.
macro_rules! methods_of_inner {
    ($($name:ident($($value:ident: $type:ty)?) -> $result:ty;)*) => {
        $(fn $name(
            view: &mut WasiSocketsCtxView<'_>,
            socket: Udp,
            $($value: $type)?
        ) -> SocketResult<$result> {
            let inner = inner(view, &socket)?;
            HostUdpSocket::$name(view, inner, $($value)?)
        })*
    };
}

methods_of_inner! {
    local_address() -> IpSocketAddress;
    remote_address() -> IpSocketAddress;
    unicast_hop_limit() -> u8;
    set_unicast_hop_limit(value: u8) -> ();
    receive_buffer_size() -> u64;
    set_receive_buffer_size(value: u64) -> ();
    send_buffer_size() -> u64;
    set_send_buffer_size(value: u64) -> ();
}
