use super::*;
use crate::tests::State;
use wasmtime_wasi::p2::bindings::io::poll::HostPollable;
use wasmtime_wasi::p2::bindings::sockets::instance_network::Host as _;

const LOOPBACK: (u8, u8, u8, u8) = (127, 0, 0, 1);

fn open_state() -> State {
    State::with(|wasi| {
        wasi.allow_udp(true).inherit_network();
    })
}

fn loopback(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: LOOPBACK })
}

fn code<V: std::fmt::Debug>(outcome: SocketResult<V>) -> ErrorCode {
    outcome.unwrap_err().downcast().unwrap()
}

fn borrow(socket: &Udp) -> Udp {
    Resource::new_borrow(socket.rep())
}

async fn socket(view: &mut WasiSocketsCtxView<'_>) -> Udp {
    create(view, IpAddressFamily::Ipv4).await.unwrap()
}

async fn bound(view: &mut WasiSocketsCtxView<'_>) -> (Udp, IpSocketAddress) {
    let socket = socket(view).await;
    let network = view.instance_network().unwrap();
    start_bind(view, borrow(&socket), network, loopback(0)).await.unwrap();
    finish_bind(view, borrow(&socket)).await.unwrap();
    let address = local_address(view, borrow(&socket)).unwrap();
    (socket, address)
}

async fn connect(
    view: &mut WasiSocketsCtxView<'_>,
    socket: &Udp,
    remote: IpSocketAddress,
) -> SocketResult<()> {
    let network = view.instance_network().unwrap();
    start_connect(view, borrow(socket), network, remote).await?;
    finish_connect(view, borrow(socket))
}

/// Waits for a datagram as a guest does.
async fn receive_one(view: &mut WasiSocketsCtxView<'_>, socket: &Udp) -> Datagram {
    loop {
        match receive(view, borrow(socket), 1) {
            Ok(mut datagrams) => return datagrams.remove(0),
            error => assert_eq!(code(error), ErrorCode::WouldBlock),
        }
        let pollable = subscribe(view, borrow(socket)).unwrap();
        HostPollable::block(view.table, Resource::new_borrow(pollable.rep())).await.unwrap();
        HostPollable::drop(view.table, pollable).unwrap();
    }
}

fn datagram(data: &str, remote_address: IpSocketAddress) -> Datagram {
    Datagram { data: data.as_bytes().to_vec(), remote_address }
}

#[tokio::test]
async fn datagrams_pass_between_bound_sockets() {
    let mut state = open_state();
    let view = &mut state.sockets();
    let ((one, one_address), (two, two_address)) = (bound(view).await, bound(view).await);
    assert_eq!(code(receive(view, borrow(&two), 1)), ErrorCode::WouldBlock);
    assert!(receive(view, borrow(&two), 0).unwrap().is_empty());

    let sent = send(view, borrow(&one), vec![datagram("hello", two_address)]).unwrap();
    assert_eq!(sent, 1);
    let received = receive_one(view, &two).await;
    assert_eq!(received.data, b"hello");
    assert_eq!(format!("{:?}", received.remote_address), format!("{one_address:?}"));

    super::drop(view, one).await.unwrap();
    super::drop(view, two).await.unwrap();
}

#[tokio::test]
async fn an_unbound_socket_neither_sends_nor_receives() {
    let mut state = open_state();
    let view = &mut state.sockets();
    let socket = socket(view).await;
    assert_eq!(code(receive(view, borrow(&socket), 1)), ErrorCode::InvalidState);
    let datagrams = vec![datagram("hello", loopback(9))];
    assert_eq!(code(send(view, borrow(&socket), datagrams)), ErrorCode::InvalidState);
    assert_eq!(send(view, borrow(&socket), Vec::new()).unwrap(), 0);
    assert_eq!(code(finish_connect(view, borrow(&socket))), ErrorCode::NotInProgress);
}

#[tokio::test]
async fn connecting_binds_and_may_be_repeated() {
    let mut state = open_state();
    let view = &mut state.sockets();
    let ((one, one_address), (two, two_address)) = (bound(view).await, bound(view).await);
    let socket = socket(view).await;
    for (peer, address) in [(&one, one_address), (&two, two_address)] {
        connect(view, &socket, address).await.unwrap();
        let remote = remote_address(view, borrow(&socket)).unwrap();
        assert_eq!(format!("{remote:?}"), format!("{address:?}"));
        send(view, borrow(&socket), vec![datagram("hello", address)]).unwrap();
        assert_eq!(receive_one(view, peer).await.data, b"hello");
    }
}

#[tokio::test]
async fn a_failed_connect_leaves_the_socket_bound_and_usable() {
    let mut state = open_state();
    let view = &mut state.sockets();
    let ((one, _), (two, two_address)) = (bound(view).await, bound(view).await);
    let nowhere = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 0, address: (0, 0, 0, 0) });
    assert_eq!(code(connect(view, &one, nowhere).await), ErrorCode::InvalidArgument);
    send(view, borrow(&one), vec![datagram("hello", two_address)]).unwrap();
    assert_eq!(receive_one(view, &two).await.data, b"hello");
}

#[tokio::test]
async fn a_socket_someone_waits_on_cannot_be_connected() {
    let mut state = open_state();
    let view = &mut state.sockets();
    let (socket, address) = bound(view).await;
    let pollable = subscribe(view, borrow(&socket)).unwrap();
    assert_eq!(code(connect(view, &socket, address).await), ErrorCode::InvalidState);
    HostPollable::drop(view.table, pollable).unwrap();
    connect(view, &socket, address).await.unwrap();
}

#[tokio::test]
async fn ipv6_only_is_an_option_of_ipv6_sockets_alone() {
    let mut state = open_state();
    let view = &mut state.sockets();
    let socket = socket(view).await;
    assert_eq!(code(ipv6_only(view, borrow(&socket))), ErrorCode::NotSupported);

    assert!(dual_stack_is_off(Ok(IpAddressFamily::Ipv6)).unwrap());
    set_dual_stack_off(Ok(IpAddressFamily::Ipv6), true).unwrap();
    let off = set_dual_stack_off(Ok(IpAddressFamily::Ipv6), false);
    assert_eq!(code(off), ErrorCode::NotSupported);
}
