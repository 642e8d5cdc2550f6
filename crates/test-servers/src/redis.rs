//! Redis.

use std::process::Command;

use anyhow::Result;

use crate::server::{Server, folder, program};

/// A Redis server without data.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

impl Redis {
    /// A server that anybody may use.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// A server that asks for this password.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn with_password(password: &str) -> Result<Self> {
        Self::start_with(&["--requirepass", password])
    }

    fn start_with(arguments: &[&str]) -> Result<Self> {
        let server = Server::start(folder("redis")?, |folder, port| {
            let mut command = Command::new(program("redis-server")?);
            command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
            command.arg("--dir").arg(folder).arg("--port").arg(port.to_string()).args(arguments);
            Ok(command)
        })?;
        Ok(Self { server })
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Its address as guests write it.
    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }
}
