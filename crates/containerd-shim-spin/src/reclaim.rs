//! Taking back what a shim that died has left of a container, from its bundle
//! alone.

use anyhow::Context;
use container::cgroup::{Cgroup, Layout};
use containerd_task::{Bundle, InitProcess};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::linux_workload::recorded;
use crate::outline::Outline;

/// Ends the container's processes and removes its cgroup. What is gone already
/// is fine, also the bundle itself.
pub(crate) fn reclaim(bundle: &Bundle, id: &str) -> anyhow::Result<()> {
    if let Some(init) = bundle.init() {
        kill(&init).context("cannot end the container's process")?;
    }
    // The runtime forgets the container; its cgroup is seen to below all the same.
    let forgotten = recorded(bundle).map_or(Ok(()), |oci| oci.delete_now());
    if !bundle.path().join("config.json").exists() {
        return Ok(forgotten?);
    }
    let outline = Outline::read(bundle.path())?;
    let cgroup = Cgroup::at(&Layout::detect()?, outline.cgroups_path(), id)?;
    cgroup.kill_all()?;
    cgroup.remove()?;
    Ok(forgotten?)
}

/// Kills the recorded process, and no other that has its number now: the pidfd
/// is opened before the check.
fn kill(init: &InitProcess) -> std::io::Result<()> {
    let Some(pid) = i32::try_from(init.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) if init.exists() => match pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        },
        Ok(_) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_recorded_process_is_killed_and_reclaiming_again_finds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(folder.path());
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        bundle.record_init(child.id()).unwrap();
        reclaim(&bundle, "c1").unwrap();
        assert!(!child.wait().unwrap().success());
        reclaim(&bundle, "c1").unwrap();
    }

    #[test]
    fn another_process_with_the_recorded_number_is_left_alone() {
        let own = InitProcess::observe(std::process::id()).unwrap();
        kill(&InitProcess { start_time: own.start_time + 1, ..own }).unwrap();
    }

    #[test]
    fn a_bundle_that_is_gone_is_fine() {
        reclaim(&Bundle::new("/nonexistent/bundle"), "c1").unwrap();
    }
}
