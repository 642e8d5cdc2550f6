//! A terminal's controlling side, and the bytes between it and the streams that
//! containerd has named.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::{Stdio, StdioHold};
use crate::error::Error;

/// How long a reader may take to fetch what a terminal has said at last.
const DRAIN: Duration = Duration::from_secs(2);
/// How much is moved at a time.
const CHUNK: usize = 4096;

/// A terminal whose other side is a container's, or that of a process in it.
///
/// What is written there goes to the standard output, what comes from the
/// standard input goes there. A slow reader holds the writer up; nothing is
/// lost and nothing piles up here.
#[derive(Debug)]
pub struct Terminal {
    controller: Arc<Stream>,
    input: AbortHandle,
    output: Mutex<Option<JoinHandle<()>>>,
    hold: Arc<StdioHold>,
}

impl Terminal {
    /// Connects a terminal's controlling side with streams. Must be called on a
    /// tokio runtime.
    ///
    /// # Errors
    /// Fails when a descriptor cannot be watched.
    pub fn new(controller: OwnedFd, stdio: Stdio, hold: StdioHold) -> std::io::Result<Self> {
        let controller = Arc::new(Stream::polled(controller)?);
        let input = Stream::new(stdio.stdin)?;
        let output = Stream::new(stdio.stdout)?;
        let (to, from) = (Arc::clone(&controller), Arc::clone(&controller));
        let input = tokio::spawn(async move { copy(&input, &to).await }).abort_handle();
        let hold = Arc::new(hold);
        let ended = Arc::clone(&hold);
        let output = tokio::spawn(async move {
            copy(&from, &output).await;
            ended.end_outputs();
        });
        Ok(Self { controller, input, output: Mutex::new(Some(output)), hold })
    }

    /// Tells the terminal its size in characters.
    ///
    /// # Errors
    /// Fails when the other side is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.controller.descriptor(), size)
            .map_err(|errno| Error::failed("cannot resize the terminal", &errno))
    }

    /// Takes no more input once every other writer has closed it too.
    pub fn close_input(&self) {
        self.hold.close_input();
    }

    /// Lets go of everything after the other side was closed; a reader that is there is
    /// given two seconds for the rest.
    pub async fn close(&self) {
        // Without a reader, whoever writes into a full pipe is told so and waits no more.
        self.hold.end_outputs();
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut output) = output
            && timeout(DRAIN, &mut output).await.is_err()
        {
            output.abort();
        }
        self.input.abort();
        self.hold.close().await;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.input.abort();
        if let Some(output) = self.output.lock().unwrap_or_else(PoisonError::into_inner).take() {
            output.abort();
        }
    }
}

/// One end of a copy.
#[derive(Debug)]
enum Stream {
    /// A pipe or a terminal.
    Polled(AsyncFd<OwnedFd>),
    /// A file or a null device, which is always ready.
    Plain(OwnedFd),
}

impl Stream {
    fn new(descriptor: OwnedFd) -> std::io::Result<Self> {
        match FileType::from_raw_mode(fstat(&descriptor)?.st_mode) {
            FileType::Fifo | FileType::Socket => Self::polled(descriptor),
            _ => Ok(Self::Plain(descriptor)),
        }
    }

    fn polled(descriptor: OwnedFd) -> std::io::Result<Self> {
        fcntl_setfl(&descriptor, fcntl_getfl(&descriptor)? | OFlags::NONBLOCK)?;
        let interest = match fcntl_getfl(&descriptor)? & OFlags::RWMODE {
            OFlags::RDONLY => Interest::READABLE,
            OFlags::WRONLY => Interest::WRITABLE,
            _ => Interest::READABLE | Interest::WRITABLE,
        };
        #[expect(
            deprecated,
            reason = "the descriptor is owned, so that this is sound; the \
                                       replacement is the same, but unsafe for the sake of others"
        )]
        AsyncFd::with_interest(descriptor, interest).map(Self::Polled)
    }

    fn descriptor(&self) -> &OwnedFd {
        match self {
            Self::Polled(descriptor) => descriptor.get_ref(),
            Self::Plain(descriptor) => descriptor,
        }
    }

    async fn read(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Polled(descriptor) => {
                let read = |fd: &OwnedFd| Ok(rustix::io::read(fd.as_fd(), &mut *buffer)?);
                descriptor.async_io(Interest::READABLE, read).await
            }
            Self::Plain(descriptor) => Ok(rustix::io::read(descriptor, buffer)?),
        }
    }

    async fn write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Polled(descriptor) => {
                let write = |fd: &OwnedFd| Ok(rustix::io::write(fd, bytes)?);
                descriptor.async_io(Interest::WRITABLE, write).await
            }
            Self::Plain(descriptor) => Ok(rustix::io::write(descriptor, bytes)?),
        }
    }
}

/// Copies until one end is closed.
async fn copy(from: &Stream, to: &Stream) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut rest = match from.read(&mut buffer).await {
            Ok(0) => return,
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(error) if is_interruption(&error) => continue,
            // EIO is how a terminal says that its other side is closed.
            Err(_) => return,
        };
        while !rest.is_empty() {
            match to.write(rest).await {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if is_interruption(&error) => {}
                Err(_) => return,
            }
        }
    }
}

fn is_interruption(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INTR.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;
    use crate::stdio::StdioPaths;

    /// A new terminal: its controlling side and the other one.
    fn terminal() -> (OwnedFd, std::fs::File) {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let path = std::path::Path::new(name.to_str().unwrap());
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let other = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
        (controller, std::fs::File::from(other))
    }

    fn fifo(folder: &std::path::Path, name: &str) -> String {
        let path = folder.join(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
        path.display().to_string()
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_is_seen_by_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StdioPaths {
            stdin: fifo(folder.path(), "in"),
            stdout: fifo(folder.path(), "out"),
            ..StdioPaths::default()
        };
        let (stdio, hold) = paths.open().await.unwrap();
        let (controller, mut other) = terminal();
        let terminal = Terminal::new(controller, stdio, hold).unwrap();
        let output = paths.stdout.clone();
        let reader = std::thread::spawn(move || fs_err::read_to_string(output).unwrap());
        let mut input = fs_err::OpenOptions::new().write(true).open(&paths.stdin).unwrap();

        input.write_all(b"hello\n").unwrap();
        let (line, mut other) = tokio::task::spawn_blocking(move || {
            let mut line = [0; 6];
            other.read_exact(&mut line).unwrap();
            (line, other)
        })
        .await
        .unwrap();
        assert_eq!(&line, b"hello\n");
        terminal.resize(80, 24).unwrap();
        assert_eq!(rustix::termios::tcgetwinsize(&other).unwrap().ws_col, 80);

        other.write_all(b"world\n").unwrap();
        drop(other);
        terminal.close().await;
        let text = reader.join().unwrap();
        assert!(text.ends_with("world\r\n"), "{text:?}");
    }

    #[tokio::test]
    async fn a_terminal_that_is_full_and_has_no_reader_is_closed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths = StdioPaths { stdout: fifo(folder.path(), "out"), ..StdioPaths::default() };
        let (stdio, hold) = paths.open().await.unwrap();
        let (controller, mut other) = terminal();
        let terminal = Terminal::new(controller, stdio, hold).unwrap();
        // More than the pipe and the terminal hold: the last write never ends.
        let writer = std::thread::spawn(move || while other.write_all(&[b'x'; CHUNK]).is_ok() {});
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = std::time::Instant::now();
        terminal.close().await;
        assert!(begun.elapsed() < DRAIN, "{:?}", begun.elapsed());
        drop(terminal);
        writer.join().unwrap();
    }
}
