//! MariaDB.

use std::process::Command;

use anyhow::Result;
use fs_err as fs;

use crate::Authority;
use crate::server::{Server, folder, program, run};

/// A MariaDB server with an empty database.
#[derive(Debug)]
pub struct MariaDb {
    server: Server,
}

impl MariaDb {
    /// The user it knows, who may do everything in [`MariaDb::DATABASE`].
    pub const USER: &str = "guest";
    /// That user's password.
    pub const PASSWORD: &str = "guest-password";
    /// The database.
    pub const DATABASE: &str = "shop";

    /// A server.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with("", &[])
    }

    /// The same for connections over TLS only, as `localhost`; `mutual`: it asks the
    /// user for a certificate of the same authority.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn with_tls(authority: &Authority, mutual: bool) -> Result<Self> {
        let own = authority.issue(&["localhost"])?;
        let settings = [
            format!("--ssl-ca={}", authority.certificate().display()),
            format!("--ssl-cert={}", own.certificate.display()),
            format!("--ssl-key={}", own.key.display()),
            "--require-secure-transport=ON".to_owned(),
        ];
        Self::start_with(if mutual { "REQUIRE X509" } else { "REQUIRE SSL" }, &settings)
    }

    fn start_with(require: &str, settings: &[String]) -> Result<Self> {
        let folder = folder("mariadb")?;
        let data = format!("--datadir={}", folder.path().join("data").display());
        // At its start a server removes the temporary tables of all others there.
        let temporary = format!("--tmpdir={}", folder.path().display());
        let install = program("mariadb-install-db")?;
        let owner = ["--no-defaults", "--skip-test-db", "--user=root"];
        run(
            &install,
            &[&owner[..], &["--auth-root-authentication-method=normal", &data, &temporary]]
                .concat(),
        )?;
        let server = Server::start(folder, |folder, port| {
            let first = folder.join("first.sql");
            let (user, password, database) = (Self::USER, Self::PASSWORD, Self::DATABASE);
            fs::write(
                &first,
                format!(
                    "CREATE DATABASE {database};\n\
                     CREATE USER '{user}'@'%' IDENTIFIED BY '{password}' {require};\n\
                     GRANT ALL ON {database}.* TO '{user}'@'%';\n"
                ),
            )?;
            let mut command = Command::new(program("mariadbd")?);
            command.args([
                "--no-defaults",
                "--user=root",
                "--bind-address=127.0.0.1",
                &data,
                &temporary,
            ]);
            command.arg(format!("--port={port}"));
            command.arg(format!("--socket={}", folder.join("socket").display()));
            command.arg(format!("--pid-file={}", folder.join("pid").display()));
            command.arg(format!("--init-file={}", first.display()));
            command.args(settings);
            command.args(["--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"]);
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
        let (user, password, database) = (Self::USER, Self::PASSWORD, Self::DATABASE);
        format!("mysql://{user}:{password}@127.0.0.1:{}/{database}", self.port())
    }
}
