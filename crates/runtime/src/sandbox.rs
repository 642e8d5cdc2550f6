//! The container of this process.

use container::enter::{Container, Entered};
use container::{Bundle, RootfsMount};

use crate::RuntimeError;

/// Where a kubelet looks for the reason of a container's end.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// The container that this process will enter; without one it stays where it is.
#[derive(Debug)]
pub struct Sandbox {
    container: Option<Container>,
}

/// The container that this process has entered.
#[derive(Debug)]
pub struct EnteredSandbox {
    entered: Option<Entered>,
}

impl Sandbox {
    /// Checks everything that can be checked without entering.
    ///
    /// # Errors
    /// The bundle cannot be read or asks for what is not supported.
    pub fn prepare(sandbox: Option<&control::Sandbox>) -> Result<Self, RuntimeError> {
        let Some(sandbox) = sandbox else { return Ok(Self { container: None }) };
        let rootfs: Vec<RootfsMount> = sandbox
            .rootfs
            .iter()
            .map(|mount| RootfsMount {
                kind: mount.kind.clone(),
                source: mount.source.clone(),
                options: mount.options.clone(),
            })
            .collect();
        let bundle = Bundle::load(&sandbox.bundle)?;
        Ok(Self { container: Some(Container::prepare(bundle, &rootfs)?) })
    }

    /// Enters namespaces and file system. The process must have one thread.
    ///
    /// # Errors
    /// Names the step that the kernel refused; the process must then end.
    pub fn enter(self) -> Result<EnteredSandbox, RuntimeError> {
        let entered = self.container.map(Container::enter).transpose()?;
        Ok(EnteredSandbox { entered })
    }
}

impl EnteredSandbox {
    /// Whether there is a container, and its root filesystem is `/` now.
    pub fn is_container(&self) -> bool {
        self.entered.is_some()
    }

    /// Gives up all privileges that the container does not have.
    ///
    /// # Errors
    /// Names the step that the kernel refused; the process must then end.
    pub fn drop_privileges(self) -> Result<(), RuntimeError> {
        Ok(self.entered.map_or(Ok(()), Entered::drop_privileges)?)
    }
}

/// Leaves the reason of this process's end where a kubelet finds it. Does nothing
/// where none has put a file for it.
pub(crate) fn leave_reason(message: &str) {
    use std::io::Write as _;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(TERMINATION_LOG)
        .and_then(|mut file| file.write_all(message.as_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, "no termination message is left");
    }
}
