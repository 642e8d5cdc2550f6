//! Restarting containerd, and asking it whether it is back.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Cri, CriError};

/// How long containerd may take to come back.
const PATIENCE: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(500);

/// The node's containerd, as far as an installation deals with it.
pub trait Containerd {
    /// Restarts a service and returns when containerd answers again, with the
    /// handlers that it then knows.
    ///
    /// # Errors
    /// Fails when it cannot be restarted or does not answer in time.
    fn restart(&mut self, unit: &str) -> Result<Vec<String>, RestartError>;
}

/// containerd could not be restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// The program that restarts services cannot be started.
    #[error("cannot run {0}")]
    Run(String, #[source] io::Error),
    /// It reports a failure.
    #[error("`{command}` failed: {output}")]
    Failed {
        /// What was run.
        command: String,
        /// What it said.
        output: String,
    },
    /// Nobody answers at the socket.
    #[error("containerd did not come back within {} s", PATIENCE.as_secs())]
    Silent(#[source] CriError),
    /// This process cannot wait for an answer.
    #[error("cannot start an event loop")]
    EventLoop(#[source] io::Error),
}

/// The node's own service manager: systemd, or whatever is restarted with the
/// same words.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    /// What comes before `systemctl`, such as a program that enters the node's
    /// namespaces.
    pub prefix: Vec<String>,
    /// containerd's socket, as this process sees it.
    pub socket: PathBuf,
}

impl Containerd for ServiceManager {
    fn restart(&mut self, unit: &str) -> Result<Vec<String>, RestartError> {
        let words = self.prefix.iter().map(String::as_str).chain(["systemctl", "restart", unit]);
        run(&words.collect::<Vec<_>>())?;
        wait(&self.socket)
    }
}

fn run(words: &[&str]) -> Result<(), RestartError> {
    let command = words.join(" ");
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| RestartError::Run(command.clone(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let output = if said.is_empty() { output.status.to_string() } else { said };
    Err(RestartError::Failed { command, output })
}

/// Waits until containerd answers, and returns its handlers.
pub(crate) fn wait(socket: &Path) -> Result<Vec<String>, RestartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RestartError::EventLoop)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = runtime.block_on(async { Cri::connect(socket).await?.handlers().await });
        match asked {
            Ok(handlers) => return Ok(handlers),
            Err(error) if Instant::now() > deadline => return Err(RestartError::Silent(error)),
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}
