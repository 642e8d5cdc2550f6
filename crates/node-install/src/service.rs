//! Restarting containerd, and asking it whether it is back.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{Cri, CriError, HANDLERS};

/// How long containerd may take to come back.
const PATIENCE: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(500);
/// How long one that answers may not know the handlers yet, where a restart is
/// not seen to be over.
const SETTLING: Duration = Duration::from_secs(10);

/// What containerd is restarted by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// systemd, and the name of its unit.
    Unit(String),
    /// A command, word by word.
    Command(Vec<String>),
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(name) => write!(f, "`systemctl restart {name}`"),
            Self::Command(words) => write!(f, "`{}`", words.join(" ")),
        }
    }
}

/// How containerd comes to read its configuration again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It is restarted.
    Service {
        /// By what.
        service: Service,
        /// Whether systemd has to read its own files again before.
        reload: bool,
    },
    /// The distribution notices the change.
    ByItself,
}

/// The node's containerd, as far as an installation deals with it.
pub trait Containerd {
    /// Starts a program of the node, which has to print its version and end.
    ///
    /// # Errors
    /// Fails when the node cannot run it.
    fn try_program(&mut self, program: &Path) -> Result<(), RestartError>;

    /// Makes containerd read its configuration, and returns when it answers
    /// again, with the handlers that it then knows.
    ///
    /// # Errors
    /// Fails when it cannot be restarted or does not answer in time.
    fn restart(&mut self, restart: &Restart) -> Result<Vec<String>, RestartError>;
}

/// containerd could not be restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// A program cannot be started.
    #[error("cannot run `{0}`")]
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

/// The node's own service manager.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    /// What comes before every command, such as a program that enters the node's
    /// namespaces.
    pub prefix: Vec<String>,
    /// containerd's socket, as this process sees it.
    pub socket: PathBuf,
}

impl ServiceManager {
    fn run(&self, words: &[&str]) -> Result<(), RestartError> {
        let prefix = self.prefix.iter().map(String::as_str);
        let all: Vec<_> = prefix.chain(words.iter().copied()).collect();
        let command = words.join(" ");
        let Some((program, arguments)) = all.split_first() else { return Ok(()) };
        let output = Command::new(program).args(arguments).output();
        let output = output.map_err(|error| RestartError::Run(command.clone(), error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let output = if said.is_empty() { output.status.to_string() } else { said };
        Err(RestartError::Failed { command, output })
    }
}

impl Containerd for ServiceManager {
    fn try_program(&mut self, program: &Path) -> Result<(), RestartError> {
        self.run(&[&program.display().to_string(), "-v"])
    }

    fn restart(&mut self, restart: &Restart) -> Result<Vec<String>, RestartError> {
        match restart {
            Restart::Service { service: Service::Unit(name), reload } => {
                if *reload {
                    self.run(&["systemctl", "daemon-reload"])?;
                }
                self.run(&["systemctl", "restart", name])?;
                wait(&self.socket, Duration::ZERO)
            }
            Restart::Service { service: Service::Command(words), .. } => {
                self.run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
                wait(&self.socket, SETTLING)
            }
            Restart::ByItself => wait(&self.socket, PATIENCE),
        }
    }
}

/// Whether every handler of ours is among those that containerd knows.
pub(crate) fn know_ours(handlers: &[String]) -> bool {
    HANDLERS.iter().all(|name| handlers.iter().any(|handler| handler == name))
}

/// Waits until containerd answers and knows our handlers, or has not come to know
/// them in the time that it gets; returns those that it knows.
fn wait(socket: &Path, settling: Duration) -> Result<Vec<String>, RestartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RestartError::EventLoop)?;
    let started = Instant::now();
    loop {
        let asked = runtime.block_on(async { Cri::connect(socket).await?.handlers().await });
        let waited = started.elapsed();
        match asked {
            Ok(handlers) if waited >= settling || know_ours(&handlers) => return Ok(handlers),
            Err(error) if waited >= PATIENCE => return Err(RestartError::Silent(error)),
            _ => std::thread::sleep(INTERVAL),
        }
    }
}
