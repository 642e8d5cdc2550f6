//! The socket on which a runtime hands over a terminal's controlling side.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

/// A listening socket in a folder; removed on drop.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens under a name in a folder. The folder's own path may be longer than a
    /// socket's can be.
    pub(crate) fn bind(folder: &Path, name: &str) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::openat(CWD, folder, flags, Mode::empty())?;
        let short = format!("/proc/self/fd/{}/{name}", place.as_raw_fd());
        Ok(Self { listener: UnixListener::bind(short)?, path: folder.join(name) })
    }

    /// Waits for the terminal.
    pub(crate) async fn receive(&self) -> std::io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept().await?;
        received(&stream).await
    }
}

async fn received(stream: &UnixStream) -> std::io::Result<OwnedFd> {
    loop {
        stream.readable().await?;
        let receive = || Ok(receive_descriptor(stream.as_fd())?);
        match stream.try_io(Interest::READABLE, receive) {
            Ok(Some(terminal)) => return Ok(terminal),
            Ok(None) => return Err(std::io::Error::other("the runtime has sent no terminal")),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

fn receive_descriptor(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    // The message itself is the terminal's name, which says nothing here.
    let mut name = [0; 4096];
    let mut buffers = [IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let rights = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(rights)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    #[tokio::test]
    async fn a_terminal_is_received_in_a_folder_with_a_long_path_and_the_socket_removed() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("a".repeat(120));
        fs_err::create_dir(&long).unwrap();
        let socket = ConsoleSocket::bind(&long, "console").unwrap();
        let place = fs_err::File::open(&long).unwrap();
        let short = format!("/proc/self/fd/{}/console", place.as_raw_fd());
        let client = std::os::unix::net::UnixStream::connect(short).unwrap();
        let (_, sent) = rustix::pipe::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [sent.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&client, &[IoSlice::new(b"/dev/pts/7")], &mut ancillary, SendFlags::empty())
            .unwrap();
        let received = socket.receive().await.unwrap();
        let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
        assert_eq!(inode(received.as_fd()), inode(sent.as_fd()));
        drop(socket);
        assert!(!long.join("console").exists());
    }

    #[tokio::test]
    async fn a_runtime_that_sends_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let socket = ConsoleSocket::bind(folder.path(), "console").unwrap();
        drop(std::os::unix::net::UnixStream::connect(folder.path().join("console")).unwrap());
        let error = socket.receive().await.unwrap_err().to_string();
        assert!(error.contains("no terminal"), "{error}");
    }
}
