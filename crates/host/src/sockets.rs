//! Limits of the sockets of guests: each has a share from when it is connected or
//! bound until it is dropped.
//!
//! The host of WASI asks before it connects or binds, but tells nobody when a
//! socket is gone; so what ends sockets is replaced here.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use outbound_network::{Limit, Share};
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2;
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::udp::HostUdpSocket;
use wasmtime_wasi::p3::bindings::sockets::types as p3;
use wasmtime_wasi::sockets::{SocketAddrUse, TcpSocket, UdpSocket, WasiSocketsView as _};

use crate::InstanceState;

/// The shares that the sockets of one instance have.
pub(crate) struct SocketShares {
    limit: Limit,
    held: Mutex<Vec<Share>>,
}

impl SocketShares {
    /// None yet.
    pub(crate) fn new(limit: Limit) -> Arc<Self> {
        Arc::new(Self { limit, held: Mutex::default() })
    }

    /// Whether a socket may be used in this way, which takes a share when it is
    /// connected or bound.
    pub(crate) fn take(&self, purpose: SocketAddrUse) -> bool {
        let begins = matches!(purpose, SocketAddrUse::TcpConnect | SocketAddrUse::UdpBind);
        if !begins || !self.limit.is_limited() {
            return true;
        }
        let share = self.limit.share_now();
        let taken = share.is_some();
        self.held().extend(share);
        taken
    }

    /// A socket is gone; `others` remain.
    fn give_back(&self, had_share: bool, others: usize) {
        let mut held = self.held();
        if had_share {
            held.pop();
        }
        // One whose connection failed has nothing to show for its share.
        held.truncate(others);
    }

    fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<Share>> {
        // Nothing under this lock leaves it half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has sockets of WASI 0.2 give their shares back.
pub(crate) fn link_0_2(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    ending::<p2::TcpSocket>(&mut tcp, "tcp-socket", |state, rep| {
        let mut sockets = state.sockets();
        let had_share = HostTcpSocket::remote_address(&mut sockets, borrow(rep)).is_ok();
        HostTcpSocket::drop(&mut sockets, Resource::new_own(rep)).map(|()| had_share)
    })?;
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    ending::<p2::UdpSocket>(&mut udp, "udp-socket", |state, rep| {
        let mut sockets = state.sockets();
        let had_share = HostUdpSocket::local_address(&mut sockets, borrow(rep)).is_ok();
        HostUdpSocket::drop(&mut sockets, Resource::new_own(rep)).map(|()| had_share)
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Has sockets of WASI 0.3 give their shares back.
pub(crate) fn link_0_3(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:sockets/types@0.3.0")?;
    ending::<TcpSocket>(&mut types, "tcp-socket", |state, rep| {
        let mut sockets = state.sockets();
        let had_share = p3::HostTcpSocket::get_remote_address(&mut sockets, borrow(rep)).is_ok();
        p3::HostTcpSocket::drop(&mut sockets, Resource::new_own(rep)).map(|()| had_share)
    })?;
    ending::<UdpSocket>(&mut types, "udp-socket", |state, rep| {
        let mut sockets = state.sockets();
        let had_share = p3::HostUdpSocket::get_local_address(&mut sockets, borrow(rep)).is_ok();
        p3::HostUdpSocket::drop(&mut sockets, Resource::new_own(rep)).map(|()| had_share)
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn borrow<T: 'static>(rep: u32) -> Resource<T> {
    Resource::new_borrow(rep)
}

/// Drops a socket; whether it was connected or bound.
type End = fn(&mut InstanceState, u32) -> wasmtime::Result<bool>;

fn ending<S: 'static>(
    interface: &mut LinkerInstance<'_, InstanceState>,
    resource: &str,
    end: End,
) -> wasmtime::Result<()> {
    interface.resource(resource, ResourceType::host::<S>(), move |mut store, rep| {
        let state = store.data_mut();
        let had_share = end(state, rep)?;
        if !state.socket_shares.is_empty() {
            let others = state.table.iter_mut().filter(|entry| is_socket(*entry)).count();
            state.socket_shares.give_back(had_share, others);
        }
        Ok(())
    })
}

fn is_socket(entry: &(dyn Any + Send)) -> bool {
    entry.is::<p2::TcpSocket>()
        || entry.is::<p2::UdpSocket>()
        || entry.is::<TcpSocket>()
        || entry.is::<UdpSocket>()
}

#[cfg(test)]
mod tests {
    use outbound_network::OutboundNetwork;

    use super::*;

    fn shares(limit: usize) -> Arc<SocketShares> {
        SocketShares::new(OutboundNetwork::default().limit("socket", Some(limit)))
    }

    #[test]
    fn a_socket_has_a_share_from_its_connection_to_its_end() {
        let shares = shares(1);
        assert!(shares.take(SocketAddrUse::TcpConnect));
        assert!(!shares.take(SocketAddrUse::TcpConnect));
        assert!(!shares.take(SocketAddrUse::UdpBind));
        assert!(shares.take(SocketAddrUse::UdpSend), "what is sent needs no share of its own");
        shares.give_back(true, 3);
        assert!(shares.take(SocketAddrUse::UdpBind));
    }

    #[test]
    fn a_socket_that_failed_to_connect_gives_its_share_back_with_its_end() {
        let shares = shares(2);
        assert!(shares.take(SocketAddrUse::TcpConnect));
        assert!(shares.take(SocketAddrUse::TcpConnect));
        shares.give_back(false, 1);
        assert!(shares.take(SocketAddrUse::TcpConnect));
    }
}
