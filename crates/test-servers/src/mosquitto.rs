//! Mosquitto.

use std::process::Command;

use anyhow::Result;
use fs_err as fs;

use crate::Authority;
use crate::server::{Server, folder, program, run};

/// An MQTT broker.
#[derive(Debug)]
pub struct Mosquitto {
    server: Server,
}

impl Mosquitto {
    /// The user it knows.
    pub const USER: &str = "guest";
    /// That user's password.
    pub const PASSWORD: &str = "guest's password";

    /// A broker that knows one user and nobody else.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// The same for connections over TLS only, as `localhost`; `mutual`: it asks
    /// clients for a certificate of the same authority.
    ///
    /// # Errors
    ///
    /// Fails when it is not installed or does not start.
    pub fn with_tls(authority: &Authority, mutual: bool) -> Result<Self> {
        let own = authority.issue(&["localhost"])?;
        Self::start_with(&format!(
            "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate {mutual}\n",
            authority.certificate().display(),
            own.certificate.display(),
            own.key.display(),
        ))
    }

    fn start_with(settings_of_listener: &str) -> Result<Self> {
        let folder = folder("mosquitto")?;
        let passwords = folder.path().join("passwords");
        let create = ["-b".into(), "-c".into(), passwords.clone().into_os_string()];
        let user = [Self::USER.into(), Self::PASSWORD.into()];
        run(&program("mosquitto_passwd")?, &[&create[..], &user[..]].concat())?;
        let server = Server::start(folder, |folder, port| {
            let settings = folder.join("mosquitto.conf");
            fs::write(
                &settings,
                format!(
                    "user root\nlistener {port} 127.0.0.1\n{settings_of_listener}\
                     allow_anonymous false\npassword_file {}\npersistence false\n",
                    passwords.display()
                ),
            )?;
            let mut command = Command::new(program("mosquitto")?);
            command.arg("-c").arg(settings);
            Ok(command)
        })?;
        Ok(Self { server })
    }

    /// The port it listens on, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Its address as guests write it, with this client id.
    pub fn address(&self, client_id: &str) -> String {
        format!("mqtt://127.0.0.1:{}?client_id={client_id}", self.port())
    }

    /// A command that prints every message published on `topic`.
    ///
    /// # Errors
    ///
    /// Fails when the client is not installed.
    pub fn subscriber(&self, topic: &str) -> Result<Command> {
        let mut command = Command::new(program("mosquitto_sub")?);
        command.args(["-h", "127.0.0.1", "-u", Self::USER, "-P", Self::PASSWORD, "-q", "2"]);
        command.args(["-p", &self.port().to_string(), "-t", topic, "-v"]);
        Ok(command)
    }
}
