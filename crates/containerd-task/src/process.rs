//! Child processes that are waited for through their pidfd, each by one owner.
//!
//! There is no reaper of all children: an exit status is only ever taken by the
//! [`Process`] it belongs to. [`sweep_orphans`] collects the zombies that
//! nobody owns, which a shim inherits as a subreaper.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::Error;

/// Children with an owner, which [`sweep_orphans`] leaves alone.
static OWNED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// One child process, referred to by pidfd, so that neither a signal nor a wait
/// can hit another process that got the same number.
///
/// Dropping it neither kills nor reaps the process; once it has ended,
/// [`sweep_orphans`] does.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Takes over a child that was started with a pidfd.
    ///
    /// # Errors
    /// Fails outside a tokio runtime, or for a pid that is not positive.
    pub fn new(pid: u32, pidfd: OwnedFd) -> std::io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("{pid} is not a pid"))
        })?;
        Self::owned(pid, pidfd, &mut owned())
    }

    fn owned(pid: Pid, pidfd: OwnedFd, owned: &mut BTreeSet<i32>) -> std::io::Result<Self> {
        #[expect(
            deprecated,
            reason = "the descriptor is owned, so that this is sound; the \
                                       replacement is the same, but unsafe for the sake of others"
        )]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        owned.insert(pid.as_raw_nonzero().get());
        Ok(Self { pid, pidfd })
    }

    /// Starts a command as a child with one owner. Its piped streams are in the
    /// returned [`Child`], which must not be waited for.
    ///
    /// # Errors
    /// Fails when the command cannot be started.
    pub fn spawn(command: &mut Command) -> std::io::Result<(Self, Child)> {
        // Held over the start, so that no sweep comes in between.
        let mut owned = owned();
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok((Self::owned(pid, pidfd, &mut owned)?, child))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal; 0 only asks whether the process still runs.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the process has ended, [`Error::InvalidArgument`]
    /// for a number that is no signal of the C library's named ones.
    pub fn signal(&self, number: u32) -> Result<(), Error> {
        // A zombie takes signals without effect, so that sending alone would
        // not tell.
        if self.has_ended() {
            return Err(self.finished());
        }
        if number == 0 {
            return Ok(());
        }
        let signal = i32::try_from(number)
            .ok()
            .and_then(Signal::from_named_raw)
            .ok_or_else(|| Error::InvalidArgument(format!("unknown signal {number}")))?;
        match pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::SRCH) => Err(self.finished()),
            Err(errno) => Err(Error::failed(
                format!("cannot send signal {number} to process {}", self.pid()),
                &std::io::Error::from(errno),
            )),
        }
    }

    /// Waits for the end of the process and reaps it; returns its exit code, or
    /// 128 plus the number of the signal that ended it.
    ///
    /// Cancel safety: dropping the future before it is ready loses nothing. A
    /// second wait after a successful one fails.
    ///
    /// # Errors
    /// Fails when somebody else has reaped the process.
    pub async fn wait(&self) -> std::io::Result<(u32, SystemTime)> {
        let status = self
            .pidfd
            .async_io(Interest::READABLE, |pidfd| {
                let id = WaitId::PidFd(pidfd.as_fd());
                match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)? {
                    Some(status) => Ok(status),
                    None => Err(std::io::ErrorKind::WouldBlock.into()),
                }
            })
            .await?;
        Ok((exit_code(&status), SystemTime::now()))
    }

    fn has_ended(&self) -> bool {
        let id = WaitId::PidFd(self.pidfd.get_ref().as_fd());
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(id, peek), Ok(None))
    }

    fn finished(&self) -> Error {
        Error::NotFound(format!("process {} has already finished", self.pid()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        owned().remove(&self.pid.as_raw_nonzero().get());
    }
}

fn owned() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn exit_code(status: &WaitIdStatus) -> u32 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|n| 128 + n));
    // Both numbers are small and positive.
    code.and_then(|code| u32::try_from(code).ok()).unwrap_or(255)
}

/// Reaps ended children that no [`Process`] owns: processes whose own parent
/// died, which the kernel gives to a subreaper. To be called on SIGCHLD, on the
/// thread that starts children, so that none is seen before its owner is known.
///
/// Does nothing on kernels that do not list children.
pub fn sweep_orphans() {
    let Ok(tasks) = fs_err::read_dir("/proc/self/task") else { return };
    let owned = owned();
    for task in tasks.flatten() {
        let children = fs_err::read_to_string(task.path().join("children")).unwrap_or_default();
        let pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
        for pid in pids.filter(|pid| !owned.contains(pid)).filter_map(Pid::from_raw) {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn(Command::new("sh").arg("-c").arg(script)).unwrap().0
    }

    #[tokio::test]
    async fn the_exit_code_is_exact() {
        assert_eq!(shell("exit 0").wait().await.unwrap().0, 0);
        assert_eq!(shell("exit 3").wait().await.unwrap().0, 3);
    }

    #[tokio::test]
    async fn a_death_by_signal_counts_from_128() {
        let process = shell("exec sleep 100");
        process.signal(9).unwrap();
        assert_eq!(process.wait().await.unwrap().0, 137);
    }

    #[tokio::test]
    async fn a_process_that_has_ended_takes_no_signal_reaped_or_not() {
        let process = shell("exit 0");
        while process.signal(0).is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(process.signal(15), Err(Error::NotFound(_))));
        process.wait().await.unwrap();
        assert!(matches!(process.signal(15), Err(Error::NotFound(_))));
        assert!(matches!(process.signal(0), Err(Error::NotFound(_))));
    }

    #[tokio::test]
    async fn a_number_that_is_no_signal_is_refused() {
        let process = shell("exec sleep 100");
        assert!(matches!(process.signal(4711), Err(Error::InvalidArgument(_))));
        process.signal(9).unwrap();
        process.wait().await.unwrap();
    }

    #[tokio::test]
    async fn a_sweep_takes_no_status_away_from_its_owner() {
        let process = shell("exit 7");
        while process.signal(0).is_ok() {
            tokio::task::yield_now().await;
        }
        sweep_orphans();
        assert_eq!(process.wait().await.unwrap().0, 7);
    }
}
