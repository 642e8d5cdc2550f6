//! `binary://` loggers: a program that reads the container's output.
//!
//! The contract is containerd's: output on descriptor 3, errors on 4, and the
//! program closes 5 when it is ready.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use crate::error::Error;
use crate::process::Process;

/// How long a logger may take to become ready.
const READY: Duration = Duration::from_secs(10);
/// How long it may go on after the container's end, and again after SIGTERM.
const FINISH: Duration = Duration::from_secs(5);

const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;

/// A running logger.
#[derive(Debug)]
pub(super) struct Logger {
    process: Process,
}

impl Logger {
    /// Starts the program and waits until it is ready; returns the ends for the
    /// container's output and errors too.
    pub(super) async fn start(
        program: &Path,
        arguments: &[String],
        id: &str,
        namespace: &str,
    ) -> Result<(Self, OwnedFd, OwnedFd), Error> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Error::failed(format!("cannot start logger {}", program.display()), error)
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(&errno));
        let (output, stdout) = pipe()?;
        let (errors, stderr) = pipe()?;
        let (ready, ready_in_child) = pipe()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("CONTAINER_ID", id)
            .env("CONTAINER_NAMESPACE", namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
            .fd_mappings(vec![
                FdMapping { parent_fd: output, child_fd: 3 },
                FdMapping { parent_fd: errors, child_fd: 4 },
                FdMapping { parent_fd: ready_in_child, child_fd: 5 },
            ])
            .map_err(|error| failed(&error))?;
        let (process, _) = Process::spawn(&mut command).map_err(|error| failed(&error))?;
        // The command holds the child's ends.
        drop(command);
        let logger = Self { process };
        let mut ready = Receiver::from_owned_fd(ready).map_err(|error| failed(&error))?;
        match timeout(READY, ready.read(&mut [0])).await {
            Ok(Ok(_)) => Ok((logger, stdout, stderr)),
            Ok(Err(error)) => {
                logger.end(SIGKILL).await;
                Err(failed(&error))
            }
            Err(_) => {
                logger.end(SIGKILL).await;
                Err(Error::DeadlineExceeded(format!(
                    "logger {} was not ready within {} seconds",
                    program.display(),
                    READY.as_secs()
                )))
            }
        }
    }

    /// Waits for the logger, whose input has ended with the container.
    pub(super) async fn finish(&self) {
        if timeout(FINISH, self.process.wait()).await.is_err() && !self.end(SIGTERM).await {
            self.end(SIGKILL).await;
        }
    }

    /// Signals the logger; tells whether it ended soon.
    async fn end(&self, signal: u32) -> bool {
        self.process.signal(signal).is_err() || timeout(FINISH, self.process.wait()).await.is_ok()
    }
}
