//! Opening a file of the cache: only what this user wrote, and whole.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::effective_user;

/// Permissions of a file: never written again, not even by its owner. Readable
/// for all since the folder is not; a process that gave up its privileges can
/// still map an entry that it holds open.
pub(super) const MODE: u32 = 0o444;

/// Why a file is not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    Absent,
    /// Not what this cache writes.
    Untrusted(&'static str),
    Io(io::Error),
}

/// Opens the file `name` in `folder`; also its size.
pub(super) fn open(
    folder: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
) -> Result<(File, u64), OpenError> {
    // Non-blocking: a FIFO in the file's place must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Err(OpenError::Absent),
        Err(Errno::LOOP | Errno::NXIO | Errno::ACCESS) => {
            return Err(OpenError::Untrusted("it is not a file of ours"));
        }
        Err(errno) => return Err(OpenError::Io(errno.into())),
    };
    let metadata = file.metadata().map_err(OpenError::Io)?;
    if metadata.nlink() == 0 {
        // Evicted or replaced a moment ago.
        return Err(OpenError::Absent);
    }
    check(&metadata)?;
    if metadata.uid() != effective_user() {
        return Err(OpenError::Untrusted("its owner is not ours"));
    }
    Ok((file, metadata.len()))
}

/// Checks that this is a file of its own that nobody writes to; it may have lost its
/// only name since it was opened.
pub(super) fn check(metadata: &Metadata) -> Result<(), OpenError> {
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Err(OpenError::Untrusted("it is not a file of its own"));
    }
    if metadata.mode() & 0o7777 != MODE {
        return Err(OpenError::Untrusted("its permissions are not ours"));
    }
    Ok(())
}
