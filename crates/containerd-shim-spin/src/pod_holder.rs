//! The process that a pod's namespaces belong to: this program once more, which
//! enters them, gives up all privileges and waits. In a pod whose containers share
//! their processes it is the first of them, and reaps those that nobody else does.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, bail};
use container::enter::Container;
use container::{Bundle, spawn};
use process_setup::chain;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{SignalKind, signal};

/// The first argument of such a process; the second is the folder of the sandbox.
pub(crate) const ACTION: &str = "hold-namespaces";
/// The descriptor on which it says that the namespaces are there, or why not.
pub(crate) const REPORT: i32 = 3;
/// What it says in the good case.
pub(crate) const READY: &[u8] = b"ready";

/// Holds the namespaces until SIGTERM.
pub(crate) fn hold(folder: &Path) -> anyhow::Result<()> {
    let mut report = UnixStream::from(spawn::inherited(REPORT).context("no shim to report to")?);
    if let Err(error) = enter(folder) {
        let _ = report.write_all(chain(error.as_ref()).as_bytes());
        bail!(error);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut children = signal(SignalKind::child())?;
        report.write_all(READY)?;
        drop(report);
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = children.recv() => reap(),
            }
        }
    })
}

fn enter(folder: &Path) -> anyhow::Result<()> {
    let container = Container::prepare(Bundle::load(folder)?, &[])?;
    container.enter()?.drop_privileges()?;
    Ok(())
}

/// Takes the status of every child that has ended.
fn reap() {
    let any = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    while matches!(waitid(WaitId::All, any), Ok(Some(_))) {}
}
