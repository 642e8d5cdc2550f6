//! Writing to a pipe without waiting.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;

/// `PIPE_BUF` of Linux, and a page: as much a pipe takes whole when it takes anything.
const WHOLE: usize = 4096;

/// The writing end of a pipe.
#[derive(Debug)]
pub(super) struct Pipe(OwnedFd);

impl Pipe {
    /// None for any other kind of stream: none of them says how much it would take.
    pub(super) fn of(stream: impl AsFd) -> Option<Self> {
        let status = rustix::fs::fstat(&stream).ok()?;
        if FileType::from_raw_mode(status.st_mode) != FileType::Fifo {
            return None;
        }
        stream.as_fd().try_clone_to_owned().ok().map(Self)
    }

    /// Writes the bytes if the pipe has room for them now; whether they need no
    /// further care. Waits only if somebody else fills the pipe in this very moment.
    pub(super) fn takes(&self, bytes: &[u8]) -> bool {
        if bytes.len() > WHOLE {
            return false;
        }
        let mut asked = [PollFd::new(&self.0, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let has_room = poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready == 1);
        let [asked] = asked;
        has_room && asked.revents() == PollFlags::OUT && rustix::io::write(&self.0, bytes).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_pipe_takes_lines_until_it_is_full_and_loses_none() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let pipe = Pipe::of(&writer).unwrap();
        let line = [b'x'; 1000];
        let taken = (0..1000).take_while(|_| pipe.takes(&line)).count();
        assert!((16..1000).contains(&taken), "{taken} lines in a pipe of 64 KiB");
        assert!(!pipe.takes(&[b'x'; WHOLE + 1]));
        drop((pipe, writer));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), taken * line.len());
    }

    #[test]
    fn a_pipe_without_a_reader_takes_nothing_and_other_streams_are_none() {
        let (reader, writer) = std::io::pipe().unwrap();
        let pipe = Pipe::of(&writer).unwrap();
        drop(reader);
        assert!(!pipe.takes(b"a line\n"));
        assert!(Pipe::of(tempfile::tempfile().unwrap()).is_none());
    }
}
