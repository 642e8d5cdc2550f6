//! MariaDB.

use std::process::Command;

use anyhow::Result;
use fs_err as fs;

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
                     CREATE USER '{user}'@'%' IDENTIFIED BY '{password}';\n\
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
