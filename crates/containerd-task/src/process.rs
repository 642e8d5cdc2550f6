//! Child processes that are waited for through their pidfd, each by one owner.
//!
//! There is no reaper of all children: an exit status is only ever taken by the
//! [`Process`] it belongs to. [`sweep_orphans`] collects the zombies that
//! nobody owns, which a shim inherits as a subreaper. A program that hands over
//! a process of its own when it ends (an OCI runtime) is run within an
//! [`Adoption`], so that the process is not taken for an orphan even if it ends
//! at once.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::error::Error;

/// What [`sweep_orphans`] must leave alone.
static CHILDREN: Mutex<Children> = Mutex::new(Children { owned: BTreeSet::new(), adoptions: 0 });
/// Told when orphans that were left alone may be swept.
static SWEEP: Notify = Notify::const_new();

struct Children {
    /// Those with an owner.
    owned: BTreeSet<i32>,
    /// How many adoptions are under way: any child may be one that is adopted.
    adoptions: usize,
}

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
        Self::owned(pid, pidfd, &mut children())
    }

    fn owned(pid: Pid, pidfd: OwnedFd, children: &mut Children) -> std::io::Result<Self> {
        #[expect(
            deprecated,
            reason = "the descriptor is owned, so that this is sound; the \
                                       replacement is the same, but unsafe for the sake of others"
        )]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        children.owned.insert(pid.as_raw_nonzero().get());
        Ok(Self { pid, pidfd })
    }

    /// Starts a command as a child with one owner. Its piped streams are in the
    /// returned [`Child`], which must not be waited for.
    ///
    /// # Errors
    /// Fails when the command cannot be started.
    pub fn spawn(command: &mut Command) -> std::io::Result<(Self, Child)> {
        // Held over the start, so that no sweep comes in between.
        let mut children = children();
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok((Self::owned(pid, pidfd, &mut children)?, child))
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
        children().owned.remove(&self.pid.as_raw_nonzero().get());
    }
}

/// A time in which processes become children of this one that will get an owner.
///
/// Begin it before the program is started that leaves such a process behind, end
/// it by dropping it. Zombies that nobody owns wait for the end of the last one.
#[derive(Debug)]
pub struct Adoption(());

impl Adoption {
    /// Orphans are left alone from now on.
    pub fn begin() -> Self {
        children().adoptions += 1;
        Self(())
    }

    /// Takes over a process whose parent has ended, so that it is a child of this
    /// subreaper now. It may have ended too.
    ///
    /// # Errors
    /// Fails for a process that is no child of this one.
    pub fn adopt(&self, pid: u32) -> std::io::Result<Process> {
        let no_child = || std::io::Error::other(format!("process {pid} is no child of the shim"));
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(no_child)?;
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(|_| no_child())?;
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(pidfd.as_fd()), peek).map_err(|_| no_child())?;
        Process::owned(pid, pidfd, &mut children())
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        let mut children = children();
        children.adoptions = children.adoptions.saturating_sub(1);
        if children.adoptions == 0 {
            SWEEP.notify_one();
        }
    }
}

fn children() -> MutexGuard<'static, Children> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn exit_code(status: &WaitIdStatus) -> u32 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|n| 128 + n));
    // Both numbers are small and positive.
    code.and_then(|code| u32::try_from(code).ok()).unwrap_or(255)
}

/// Waits until the last [`Adoption`] has ended and orphans may be swept.
pub(crate) async fn adoptions_ended() {
    SWEEP.notified().await;
}

/// Reaps ended children that no [`Process`] owns: processes whose own parent
/// died, which the kernel gives to a subreaper. To be called some moments after
/// SIGCHLD, on the thread that starts children, so that none is seen before its
/// owner is known. While an [`Adoption`] is under way nothing is done.
pub fn sweep_orphans() {
    let children = children();
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // Mostly every child that has ended had an owner, who has reaped it.
    if children.adoptions > 0 || !matches!(waitid(WaitId::All, peek), Ok(Some(_))) {
        return;
    }
    let orphans = child_pids().into_iter().filter(|pid| !children.owned.contains(pid));
    for pid in orphans.filter_map(Pid::from_raw) {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// The children of this process.
fn child_pids() -> Vec<i32> {
    let tasks = fs_err::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists: std::io::Result<Vec<String>> =
        tasks.map(|task| fs_err::read_to_string(task.path().join("children"))).collect();
    match lists {
        Ok(lists) => {
            lists.iter().flat_map(|list| list.split_ascii_whitespace()).filter_map(number).collect()
        }
        // A kernel that does not list children.
        Err(_) => processes_with_parent(std::process::id()),
    }
}

fn processes_with_parent(parent: u32) -> Vec<i32> {
    let parent = parent.to_string();
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| number(entry.file_name().to_str()?))
        .filter(|pid| {
            let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // `7 (name) Z 1 …`; the name may hold anything.
            let parent_of = stat.rsplit_once(')').and_then(|(_, rest)| rest.split(' ').nth(2));
            parent_of == Some(parent.as_str())
        })
        .collect()
}

fn number(text: &str) -> Option<i32> {
    text.parse().ok()
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

    /// The tests share one process, and with it the children that are swept.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    /// A shell that leaves a child behind, whose number it prints.
    async fn left_behind(script: &str) -> u32 {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let script = format!("({script}) >/dev/null 2>&1 & echo $!");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).stdout(std::process::Stdio::piped());
        let (process, mut child) = Process::spawn(&mut command).unwrap();
        let mut output = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut output).unwrap();
        process.wait().await.unwrap();
        output.trim().parse().unwrap()
    }

    #[tokio::test]
    async fn an_adopted_process_that_ends_at_once_keeps_its_status() {
        let _alone = ALONE.lock().await;
        let adoption = Adoption::begin();
        // Ends when the shell is gone, which would take the status otherwise.
        let pid = left_behind("sleep 0.1; exit 42").await;
        let is_zombie = || {
            let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(") Z ")
        };
        while !is_zombie() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        sweep_orphans();
        let process = adoption.adopt(pid).unwrap();
        drop(adoption);
        sweep_orphans();
        assert_eq!(process.wait().await.unwrap().0, 42);
    }

    #[tokio::test]
    async fn an_orphan_that_nobody_adopts_is_swept() {
        let _alone = ALONE.lock().await;
        let pid = left_behind("sleep 0.1").await;
        let gone = || !fs_err::exists(format!("/proc/{pid}")).unwrap();
        for _ in 0..1000 {
            sweep_orphans();
            if gone() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(gone());
        let error = Adoption::begin().adopt(pid).unwrap_err().to_string();
        assert!(error.contains("no child"), "{error}");
    }

    #[tokio::test]
    async fn children_are_found_with_and_without_the_kernels_list() {
        let _alone = ALONE.lock().await;
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id() as i32;
        assert!(processes_with_parent(std::process::id()).contains(&pid));
        assert!(child_pids().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_sweep_takes_no_status_away_from_its_owner() {
        let _alone = ALONE.lock().await;
        let process = shell("exit 7");
        while process.signal(0).is_ok() {
            tokio::task::yield_now().await;
        }
        sweep_orphans();
        assert_eq!(process.wait().await.unwrap().0, 7);
    }
}
