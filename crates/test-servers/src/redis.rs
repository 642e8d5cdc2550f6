//! Redis.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::Authority;
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

    /// A server for connections over TLS only, as `localhost`; `mutual`: it asks
    /// clients for a certificate of the same authority.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn with_tls(authority: &Authority, mutual: bool) -> Result<Self> {
        let own = authority.issue(&["localhost"])?;
        let server = Server::start(folder("redis")?, |folder, port| {
            let mut command = plain(folder)?;
            command.args(["--port", "0", "--tls-port", &port.to_string()]);
            command.arg("--tls-cert-file").arg(own.certificate);
            command.arg("--tls-key-file").arg(own.key);
            command.arg("--tls-ca-cert-file").arg(authority.certificate());
            command.args(["--tls-auth-clients", if mutual { "yes" } else { "no" }]);
            Ok(command)
        })?;
        Ok(Self { server })
    }

    fn start_with(arguments: &[&str]) -> Result<Self> {
        let server = Server::start(folder("redis")?, |folder, port| {
            let mut command = plain(folder)?;
            command.arg("--port").arg(port.to_string()).args(arguments);
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

/// A server without data.
fn plain(folder: &Path) -> Result<Command> {
    let mut command = Command::new(program("redis-server")?);
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(folder);
    Ok(command)
}
