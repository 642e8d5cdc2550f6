//! PostgreSQL.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use fs_err as fs;
use rustix::fs::{Gid, Uid};
use rustix::process::geteuid;

use crate::server::{Server, folder, program, run_command};

/// PostgreSQL refuses to run as root: the user and group `nobody` then.
const NOBODY: u32 = 65_534;

/// A PostgreSQL server with an empty database.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
}

impl Postgres {
    /// The user it knows.
    pub const USER: &str = "guest";
    /// That user's password.
    pub const PASSWORD: &str = "guest-password";

    /// A server.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn start() -> Result<Self> {
        let folder = folder("postgres")?;
        if geteuid().is_root() {
            let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            rustix::fs::chown(folder.path(), Some(user), Some(group))?;
        }
        let (data, password) = (folder.path().join("data"), folder.path().join("password"));
        fs::write(&password, Self::PASSWORD)?;
        let mut initialize = unprivileged("initdb")?;
        initialize.arg("-D").arg(&data).arg("--pwfile").arg(&password);
        initialize.args(["-U", Self::USER, "-A", "scram-sha-256", "-E", "UTF8", "--no-locale"]);
        run_command(initialize.arg("--no-sync").current_dir(folder.path()))?;
        let mut server = Server::start(folder, |folder, port| start_command(folder, &data, port))?;
        let port = server.port().to_string();
        let mut ready = Command::new(program("pg_isready")?);
        ready.args(["-q", "-h", "127.0.0.1", "-p", &port]);
        server.wait_until(|| ready.status().is_ok_and(|status| status.success()))?;
        Ok(Self { server })
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Its address as guests write it, with no TLS.
    pub fn address(&self) -> String {
        let (user, password) = (Self::USER, Self::PASSWORD);
        let port = self.port();
        format!("postgres://{user}:{password}@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }
}

fn start_command(folder: &Path, data: &Path, port: u16) -> Result<Command> {
    let mut command = unprivileged("postgres")?;
    command.arg("-D").arg(data).arg("-k").arg(folder).current_dir(folder);
    command.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    Ok(command)
}

/// A command that does not run as root.
fn unprivileged(name: &str) -> Result<Command> {
    let program = program(name)?;
    if !geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new(crate::server::program("setpriv")?);
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program);
    Ok(command)
}
