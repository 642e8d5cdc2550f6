//! Standard error as a place for log lines that never holds up who logs.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a pipe with any room takes without waiting.
const PIECE: usize = 4096;
/// How long the first line waits for a reader that does not get on.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How long further lines wait, until one could be written again.
const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

static LOST: Mutex<u64> = Mutex::new(0);

/// Standard error. While nobody reads it and it is full, lines are dropped, and
/// how many is said as soon as there is room: a containerd that restarts reads
/// nothing for a while, and requests must not wait for their access log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogStream;

impl Write for LogStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        write_or_drop(io::stderr().as_fd(), bytes, &mut lost)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a piece of a line, or drops what is left of it; `lost` counts the lines
/// dropped since one was last written.
fn write_or_drop(stream: BorrowedFd<'_>, bytes: &[u8], lost: &mut u64) -> io::Result<usize> {
    if !has_room(stream, if *lost == 0 { PATIENCE } else { NONE })? {
        *lost += 1;
        return Ok(bytes.len());
    }
    if *lost > 0 {
        // It begins a line of its own also after one that was broken off.
        let notice = format!("\n{lost} log lines were dropped: nobody read them\n");
        rustix::io::write(stream, notice.as_bytes())?;
        *lost = 0;
        if !has_room(stream, NONE)? {
            *lost = 1;
            return Ok(bytes.len());
        }
    }
    Ok(rustix::io::write(stream, bytes.get(..PIECE).unwrap_or(bytes))?)
}

fn has_room(stream: BorrowedFd<'_>, patience: Timespec) -> io::Result<bool> {
    let mut streams = [PollFd::new(&stream, PollFlags::OUT)];
    match poll(&mut streams, Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn a_full_pipe_costs_lines_and_no_time_and_says_so_when_it_is_read() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let line = [b'x'; 999].iter().copied().chain([b'\n']).collect::<Vec<_>>();
        let mut lost = 0;
        let started = Instant::now();
        for _ in 0..1000 {
            assert_eq!(write_or_drop(writer.as_fd(), &line, &mut lost).unwrap(), line.len());
        }
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        let dropped = lost;
        assert!(dropped > 900, "{dropped}");

        let mut read = vec![0; 1 << 20];
        let length = rustix::io::read(&reader, &mut read).unwrap();
        assert!(read[..length].chunks(1000).all(|found| found == line));
        write_or_drop(writer.as_fd(), b"next\n", &mut lost).unwrap();
        let length = rustix::io::read(&reader, &mut read).unwrap();
        let text = String::from_utf8_lossy(&read[..length]);
        assert_eq!(text, format!("\n{dropped} log lines were dropped: nobody read them\nnext\n"));
        assert_eq!(lost, 0);
    }

    #[test]
    fn a_long_line_is_written_in_pieces() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut lost = 0;
        let written = write_or_drop(writer.as_fd(), &[b'x'; 10_000], &mut lost).unwrap();
        assert_eq!(written, PIECE);
        assert_eq!(rustix::io::read(&reader, &mut vec![0; 20_000]).unwrap(), PIECE);
    }
}
