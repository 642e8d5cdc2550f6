//! A runtime process that was started for one container, and the processes of a
//! container's cgroup.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use container::Bundle as OciBundle;
use container::bundle::Namespace;
use container::cgroup::Cgroup;
use container::spawn::{PidNamespace, Program, spawn};
use containerd_task::{Error, Process, Stdio};
use control::{CONTROL_FD, Channel};
use process_setup::ALLOCATOR;

use rustix::process::{Pid, Signal, kill_process};

use crate::settings;

/// Where a container says which certificates its clients trust. They are read, in
/// the container, from the environment of the process.
const TRUST: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Starts the runtime in the container's cgroup and pid namespace, with its
/// standard streams and one end of a control socket; returns the other end.
pub(crate) fn start_runtime(
    program: PathBuf,
    oci: &OciBundle,
    cgroup: &Cgroup,
    stdio: Stdio,
) -> Result<(Process, Channel), Error> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::failed("cannot start the runtime", error)
    };
    let (ours, theirs) = control::pair().map_err(|error| failed(&error))?;
    let channel = Channel::new(ours).map_err(|error| failed(&error))?;
    let child = spawn(Program {
        arguments: vec![program_name(&program)],
        path: program,
        environment: environment(oci),
        descriptors: vec![
            (stdio.stdin, 0),
            (stdio.stdout, 1),
            (stdio.stderr, 2),
            (theirs, CONTROL_FD),
        ],
        entrance: Some(cgroup.entrance().map_err(|error| failed(&error))?),
        pid_namespace: pid_namespace(oci)?,
    })
    .map_err(|error| failed(&error))?;
    let process = child
        .as_fd()
        .try_clone_to_owned()
        .and_then(|pidfd| Process::new(child.pid().unsigned_abs(), pidfd))
        .map_err(|error| {
            let _ = child.kill(KILL);
            failed(&error)
        })?;
    Ok((process, channel))
}

fn environment(oci: &OciBundle) -> Vec<(String, String)> {
    let of_container = oci.environment().into_iter();
    let trust = of_container.filter(|(name, value)| TRUST.contains(&&**name) && !value.is_empty());
    let allocator = (ALLOCATOR.0.to_owned(), ALLOCATOR.1.to_owned());
    settings::ours_as_text().into_iter().chain(trust).chain([allocator]).collect()
}

/// SIGKILL.
pub(crate) const KILL: i32 = 9;

fn program_name(program: &std::path::Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The pid namespace that the configuration of a container names.
pub(crate) fn pid_namespace(oci: &OciBundle) -> Result<PidNamespace, Error> {
    match oci.pid_namespace() {
        Namespace::Inherit => Ok(PidNamespace::Inherit),
        Namespace::New => Ok(PidNamespace::New),
        Namespace::Path(path) => fs_err::File::open(path)
            .map(|file| PidNamespace::Join(OwnedFd::from(file.into_parts().0)))
            .map_err(|error| Error::failed("cannot open the pod's pid namespace", &error)),
    }
}

/// The processes of a container.
pub(crate) fn pids(cgroup: &Cgroup) -> Result<Vec<u32>, Error> {
    let pids = cgroup.pids().map_err(|error| Error::failed("cannot list processes", &error))?;
    Ok(pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect())
}

/// Signals every process of a container, which must have one.
pub(crate) fn signal_all(cgroup: &Cgroup, number: u32, id: &str) -> Result<(), Error> {
    let signal = i32::try_from(number).ok().and_then(Signal::from_named_raw);
    let signal =
        signal.ok_or_else(|| Error::InvalidArgument(format!("unknown signal {number}")))?;
    let reached = pids(cgroup)?
        .into_iter()
        .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
        .filter(|pid| kill_process(*pid, signal).is_ok())
        .count();
    if reached > 0 {
        return Ok(());
    }
    Err(Error::NotFound(format!("container {id} has no process")))
}

/// Ends everything in a cgroup and removes it, on a thread of its own: the
/// kernel may take its time.
pub(crate) async fn clear(cgroup: Cgroup) -> Result<(), Error> {
    blocking("remove the container's cgroup", move || {
        cgroup.kill_all()?;
        cgroup.remove()
    })
    .await
}

/// Runs a step that may block on a thread of its own.
pub(crate) async fn blocking<T, E>(
    what: &'static str,
    step: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Error>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let failed =
        |error: &(dyn std::error::Error + 'static)| Error::failed(format!("cannot {what}"), error);
    match tokio::task::spawn_blocking(step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}
