//! Being told when the kernel kills for want of memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::stats::pairs;
use super::{CgroupError, write};

/// Watches one cgroup for out-of-memory kills.
///
/// Its descriptor becomes readable when something happened; then ask
/// [`OomWatch::new_kills`].
#[derive(Debug)]
pub struct OomWatch {
    descriptor: OwnedFd,
    folder: PathBuf,
    /// The file whose `oom_kill` line counts.
    counter: &'static str,
    seen: u64,
}

impl OomWatch {
    /// Version 1: an event counter registered with the memory controller.
    pub(super) fn v1(folder: PathBuf) -> Result<Self, CgroupError> {
        let failed = |source: std::io::Error| CgroupError::Watch { path: folder.clone(), source };
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| failed(errno.into()))?;
        let control = fs_err::File::open(folder.join("memory.oom_control")).map_err(failed)?;
        let registration = format!(
            "{} {}",
            std::os::fd::AsRawFd::as_raw_fd(&descriptor),
            std::os::fd::AsRawFd::as_raw_fd(&control)
        );
        write(&folder, "cgroup.event_control", &registration)?;
        Ok(Self::started(descriptor, folder, "memory.oom_control"))
    }

    /// Version 2: changes of the file of counters.
    pub(super) fn v2(folder: PathBuf) -> Result<Self, CgroupError> {
        let failed =
            |errno: Errno| CgroupError::Watch { path: folder.clone(), source: errno.into() };
        let descriptor =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        inotify::add_watch(&descriptor, folder.join("memory.events"), WatchFlags::MODIFY)
            .map_err(failed)?;
        Ok(Self::started(descriptor, folder, "memory.events"))
    }

    fn started(descriptor: OwnedFd, folder: PathBuf, counter: &'static str) -> Self {
        let mut watch = Self { descriptor, folder, counter, seen: 0 };
        watch.seen = watch.kills();
        watch
    }

    /// Takes note of what made the descriptor readable and tells how many
    /// processes were killed since the last time.
    ///
    /// # Errors
    /// Fails when the descriptor does, which the kernel gives no reason to expect.
    pub fn new_kills(&mut self) -> std::io::Result<u64> {
        let mut events = [0_u8; 4096];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.descriptor, &mut events)) {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        let kills = self.kills();
        let new = kills.saturating_sub(self.seen);
        self.seen = self.seen.max(kills);
        Ok(new)
    }

    fn kills(&self) -> u64 {
        pairs(Some(&self.folder), self.counter).get("oom_kill").copied().unwrap_or(0)
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
