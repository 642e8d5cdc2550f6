//! The command line, with a state directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::http;
use crate::process::{Finished, Running, finish, free_address, output_of, wait_until};
use crate::workspace::programs;

/// Compiling the largest guest on a busy machine takes a while.
const START: Duration = Duration::from_mins(4);

/// The command line of one test.
#[derive(Debug)]
pub struct Spinlet {
    folder: TempDir,
    program: PathBuf,
    environment: Vec<(String, String)>,
}

impl Spinlet {
    /// A command line with an empty state directory.
    ///
    /// # Errors
    /// Fails when it is not built.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("spinlet-test-").tempdir()?;
        Ok(Self { folder, program: programs()?.join("spinlet"), environment: Vec::new() })
    }

    /// The same with one more environment variable.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.environment.push((name.into(), value.as_ref().display().to_string()));
        self
    }

    /// The folder of this test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A command that uses the state directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("SPINLET_STATE_DIR", self.state()).current_dir(self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments);
        command
    }

    /// Runs a command that must succeed; returns its standard output.
    ///
    /// # Errors
    /// Fails when it does not; the error carries what it wrote.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        output_of(&mut self.command(arguments), START)
    }

    /// Runs a command to its end, however that is.
    ///
    /// # Errors
    /// Fails when it does not end in time.
    pub fn finish(&self, arguments: &[&str]) -> Result<Finished> {
        finish(&mut self.command(arguments), START)
    }

    /// Serves an app on a free address, with more arguments, and waits until it
    /// answers.
    ///
    /// # Errors
    /// Fails when it does not listen in time; the error carries what it wrote.
    pub fn up(&self, app: &str, arguments: &[&str]) -> Result<Served> {
        let listen = free_address()?;
        let mut command = self.command(&["up", app, "--listen", &listen.to_string()]);
        command.args(arguments);
        Served::start(&mut command, listen, &self.folder.path().join(format!("up-{listen}.log")))
    }
}

/// An app that `spinlet up` serves; ends with the value.
#[derive(Debug)]
pub struct Served {
    process: Running,
    address: SocketAddr,
}

impl Served {
    /// Starts a command that will serve on `address` and waits until it does.
    ///
    /// # Errors
    /// Fails when it ends before or does not listen in time.
    pub fn start(command: &mut Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let mut process = Running::start(command, log)?;
        let listens = || {
            let ended = process.ended()?;
            anyhow::ensure!(ended.is_none(), "ended with {}", ended.unwrap_or_default());
            Ok(std::net::TcpStream::connect(address).ok())
        };
        let result = wait_until(START, listens);
        result.with_context(|| format!("nothing listens on {address}\n{}", process.output()))?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process of the command line.
    pub fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    /// What it has written on both outputs so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// One GET request.
    ///
    /// # Errors
    /// Fails when there is no whole response.
    pub fn get(&self, target: &str) -> Result<http::Response> {
        http::get(self.address, target)
    }

    /// Waits until the output contains a text.
    ///
    /// # Errors
    /// Fails after ten seconds; the error carries the output.
    pub fn wait_for_output(&self, text: &str) -> Result<()> {
        let appeared = || Ok(self.output().contains(text).then_some(()));
        wait_until(Duration::from_secs(10), appeared)
            .with_context(|| format!("{text:?} is not in the output:\n{}", self.output()))
    }
}
