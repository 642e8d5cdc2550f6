//! PostgreSQL.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use fs_err as fs;
use rustix::fs::{Gid, Uid};
use rustix::process::geteuid;

use crate::Authority;
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
        Self::start_with(|_| Ok(Vec::new()))
    }

    /// The same, which speaks TLS as `localhost` as well; `mutual`: over TLS it asks
    /// clients for a certificate of the same authority.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn with_tls(authority: &Authority, mutual: bool) -> Result<Self> {
        Self::start_with(|folder| {
            let own = authority.issue(&["localhost"])?;
            let files = [
                ("ssl_cert_file", own.certificate.as_path()),
                ("ssl_key_file", own.key.as_path()),
                ("ssl_ca_file", authority.certificate()),
            ];
            let mut settings = vec!["ssl=on".to_owned()];
            for (setting, path) in files {
                // It wants them to be its own.
                let copy = folder.join(setting);
                fs::copy(path, &copy)?;
                fs::set_permissions(&copy, Permissions::from_mode(0o600))?;
                give_away(&copy)?;
                settings.push(format!("{setting}={}", copy.display()));
            }
            if mutual {
                let rule = "hostssl all all all scram-sha-256 clientcert=verify-ca\n";
                fs::write(folder.join("data/pg_hba.conf"), rule)?;
            }
            Ok(settings)
        })
    }

    /// `more` makes settings of a folder with an initialized database.
    fn start_with(more: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<Self> {
        let folder = folder("postgres")?;
        give_away(folder.path())?;
        let (data, password) = (folder.path().join("data"), folder.path().join("password"));
        fs::write(&password, Self::PASSWORD)?;
        let mut initialize = unprivileged("initdb")?;
        initialize.arg("-D").arg(&data).arg("--pwfile").arg(&password);
        initialize.args(["-U", Self::USER, "-A", "scram-sha-256", "-E", "UTF8", "--no-locale"]);
        run_command(initialize.arg("--no-sync").current_dir(folder.path()))?;
        let settings = more(folder.path())?;
        let mut server = Server::start(folder, |folder, port| {
            let mut command = start_command(folder, &data, port)?;
            command.args(settings.iter().flat_map(|setting| ["-c", setting]));
            Ok(command)
        })?;
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

/// Gives a file to the user that the server runs as.
fn give_away(path: &Path) -> Result<()> {
    if geteuid().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::fs::chown(path, Some(user), Some(group))?;
    }
    Ok(())
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
