//! Packets with optional file descriptors over a sequenced-packet socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The largest packet, in bytes: larger than any run specification that fits in
/// a container's environment limit of 128 KiB a variable in practice.
pub const MAX_PACKET: usize = 192 * 1024;

/// What can go wrong between supervisor and runtime.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket failed.
    #[error("control socket failed")]
    Socket(#[source] std::io::Error),
    /// The other side has closed its end or died.
    #[error("the other side of the control socket is gone")]
    Closed,
    /// A message that is not of the protocol.
    #[error("control message cannot be read")]
    Decode(#[source] serde_json::Error),
    /// A message that cannot be written as JSON.
    #[error("control message cannot be written")]
    Encode(#[source] serde_json::Error),
    /// A message over [`MAX_PACKET`].
    #[error("control message of {0} bytes is over the limit of {MAX_PACKET}")]
    TooLarge(usize),
}

/// Makes a connected pair: the supervisor's end and the end a child inherits.
/// Both are close-on-exec and non-blocking.
///
/// # Errors
/// Fails when the system has no descriptors left.
pub fn pair() -> Result<(OwnedFd, OwnedFd), ControlError> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|errno| ControlError::Socket(errno.into()))
}

/// One end of the control socket, for use on a tokio runtime.
///
/// Cancel safety: dropping a pending `send` or `receive` loses nothing; a packet
/// is transferred whole or not at all.
#[derive(Debug)]
pub struct Channel {
    // tokio has no type for sequenced packets. This one is only asked for readiness: bytes are
    // moved by `sendmsg` and `recvmsg` alone, which keep the packets apart.
    socket: UnixStream,
}

impl Channel {
    /// Takes over one end of a [`pair`].
    ///
    /// # Errors
    /// Fails outside a tokio runtime's I/O driver.
    pub fn new(socket: OwnedFd) -> Result<Self, ControlError> {
        rustix::io::ioctl_fionbio(&socket, true)
            .map_err(|errno| ControlError::Socket(errno.into()))?;
        let socket = UnixStream::from_std(std::os::unix::net::UnixStream::from(socket))
            .map_err(ControlError::Socket)?;
        Ok(Self { socket })
    }

    /// Sends one message, with a descriptor if given.
    ///
    /// # Errors
    /// [`ControlError::Closed`] when the other side is gone.
    pub async fn send<M: Serialize + Sync>(
        &self,
        message: &M,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ControlError> {
        let packet = serde_json::to_vec(message).map_err(ControlError::Encode)?;
        if packet.len() > MAX_PACKET {
            return Err(ControlError::TooLarge(packet.len()));
        }
        self.socket
            .async_io(Interest::WRITABLE, || {
                send_packet(self.socket.as_fd(), &packet, descriptor).map_err(std::io::Error::from)
            })
            .await
            .map_err(closed_or_failed)
    }

    /// Receives one message and the descriptor that came with it.
    ///
    /// # Errors
    /// [`ControlError::Closed`] at the end of the stream.
    pub async fn receive<M: DeserializeOwned>(&self) -> Result<(M, Option<OwnedFd>), ControlError> {
        let (packet, descriptor) = self
            .socket
            .async_io(Interest::READABLE, || {
                receive_packet(self.socket.as_fd()).map_err(std::io::Error::from)
            })
            .await
            .map_err(closed_or_failed)?;
        if packet.is_empty() {
            return Err(ControlError::Closed);
        }
        let message = serde_json::from_slice(&packet).map_err(ControlError::Decode)?;
        Ok((message, descriptor))
    }
}

fn closed_or_failed(error: std::io::Error) -> ControlError {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe
        | std::io::ErrorKind::ConnectionReset
        | std::io::ErrorKind::NotConnected => ControlError::Closed,
        _ => ControlError::Socket(error),
    }
}

fn send_packet(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|fd| [fd]);
    if let Some(descriptors) = &descriptors {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next packet, in as much memory as it needs: both sides wait for one as long
/// as the app runs.
fn receive_packet(socket: BorrowedFd<'_>) -> Result<(Vec<u8>, Option<OwnedFd>), Errno> {
    let (_, length) = recv(socket, &mut [0_u8; 0], RecvFlags::PEEK | RecvFlags::TRUNC)?;
    if length > MAX_PACKET {
        return Err(Errno::MSGSIZE);
    }
    let mut packet = vec![0_u8; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut packet)];
    let received = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.into_iter().next().or(descriptor);
        }
    }
    packet.truncate(received.bytes);
    Ok((packet, descriptor))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;
    use crate::{FromRuntime, Phase, ToRuntime};

    fn channels() -> (Channel, Channel) {
        let (a, b) = pair().unwrap();
        (Channel::new(a).unwrap(), Channel::new(b).unwrap())
    }

    #[tokio::test]
    async fn a_message_arrives_as_it_was_sent() {
        let (supervisor, runtime) = channels();
        let sent = FromRuntime::Created { phases: vec![Phase { name: "load".into(), micros: 7 }] };
        runtime.send(&sent, None).await.unwrap();
        let (received, descriptor): (FromRuntime, _) = supervisor.receive().await.unwrap();
        assert_eq!(received, sent);
        assert!(descriptor.is_none());
    }

    #[tokio::test]
    async fn a_descriptor_travels_with_its_message() {
        let (supervisor, runtime) = channels();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"source").unwrap();
        file.rewind().unwrap();
        let sent =
            FromRuntime::Compile { digest: "sha256:00".into(), component: "c".into(), size: 6 };
        runtime.send(&sent, Some(file.as_fd())).await.unwrap();
        let (_, descriptor): (FromRuntime, _) = supervisor.receive().await.unwrap();
        let mut text = String::new();
        std::fs::File::from(descriptor.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "source");
    }

    #[tokio::test]
    async fn the_death_of_the_other_side_is_an_error_of_its_own() {
        let (supervisor, runtime) = channels();
        drop(runtime);
        assert!(matches!(supervisor.receive::<FromRuntime>().await, Err(ControlError::Closed)));
        assert!(matches!(
            supervisor.send(&ToRuntime::Start, None).await,
            Err(ControlError::Closed)
        ));
    }

    #[tokio::test]
    async fn an_oversized_message_is_refused_before_it_is_sent() {
        let (supervisor, _runtime) = channels();
        let message = ToRuntime::Compiled { digest: "d".repeat(MAX_PACKET), error: None };
        assert!(matches!(supervisor.send(&message, None).await, Err(ControlError::TooLarge(_))));
    }
}
