//! The first steps of the daemon that `start` has spawned.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use fs_err::OpenOptions;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

use super::BootstrapError;

/// Descriptors for which the table has room: those of a dozen containers.
const DESCRIPTORS: i32 = 256;
/// The fifo in the bundle from which containerd reads a shim's log.
const LOG: &str = "log";

/// Makes this process the daemon of the bundle that is the working directory,
/// and returns the socket it inherited as its standard input.
///
/// It gets a session of its own, so that no signal for containerd's group
/// reaches it; orphans of its containers become its children; its standard error
/// is containerd's log. The log never waits for a reader and survives one that
/// goes away: what does not fit into the fifo is lost.
///
/// # Errors
/// Fails when standard input is no listening socket.
pub fn become_daemon() -> Result<UnixListener, BootstrapError> {
    // Fails only for a leader of a session or group, which has what it wants.
    let _ = rustix::process::setsid();
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own))
        .map_err(|errno| BootstrapError::system("adopt orphans")(errno.into()))?;
    let listener = std::io::stdin().as_fd().try_clone_to_owned().map(UnixListener::from);
    let listener = listener
        .and_then(|listener| listener.local_addr().map(|_| listener))
        .map_err(BootstrapError::system("take the socket from standard input"))?;
    let null = OpenOptions::new()
        .read(true)
        .open("/dev/null")
        .map_err(BootstrapError::system("let go of standard input"))?;
    rustix::stdio::dup2_stdin(&null)
        .map_err(|errno| BootstrapError::system("let go of standard input")(errno.into()))?;
    log_to(Path::new(LOG));
    widen_descriptor_table(&listener);
    Ok(listener)
}

/// Has the kernel make room for more descriptors now, with one thread. In a process
/// with several it waits for a grace period of all processors when the table grows,
/// some 7 ms of the first container's start.
fn widen_descriptor_table(any: impl AsFd) {
    // Where so many are not allowed, the table grows when it has to.
    let _ = rustix::io::fcntl_dupfd_cloexec(any, DESCRIPTORS - 1);
}

/// Both ends are opened: with a reading end of its own, a pipe never breaks.
fn log_to(path: &Path) {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    if let Ok(log) = options.open(path) {
        let _ = rustix::stdio::dup2_stderr(&log);
    }
}
