//! A private registry on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use tempfile::TempDir;

use crate::http;
use crate::process::{Running, free_address, output_of, wait_until};
use crate::workspace::system_program;

/// The user that a registry with a password knows.
pub const USER: &str = "ada";
/// That user's password.
pub const PASSWORD: &str = "correct horse";

/// What a registry asks of its clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demands {
    /// [`USER`] and [`PASSWORD`].
    pub password: bool,
    /// TLS with a certificate of the registry's own authority.
    pub tls: bool,
}

/// A running registry; ends with the value.
#[derive(Debug)]
pub struct Registry {
    process: Running,
    address: SocketAddr,
    folder: TempDir,
}

impl Registry {
    /// Starts a registry that everybody may use over plain HTTP.
    ///
    /// # Errors
    /// Fails when it is not installed or does not answer.
    pub fn start() -> Result<Self> {
        Self::start_with(Demands::default())
    }

    /// Starts a registry that asks for something.
    ///
    /// # Errors
    /// Fails when it is not installed or does not answer.
    pub fn start_with(demands: Demands) -> Result<Self> {
        let program = system_program("docker-registry")?;
        let folder = tempfile::Builder::new().prefix("spinlet-registry-").tempdir()?;
        let address = free_address()?;
        let config = folder.path().join("config.yml");
        fs::write(&config, configuration(folder.path(), address, demands)?)?;
        let log = folder.path().join("log");
        let process = Running::start(Command::new(program).arg("serve").arg(&config), &log)?;
        let registry = Self { process, address, folder };
        let answers = || Ok(std::net::TcpStream::connect(address).ok());
        wait_until(Duration::from_secs(20), answers)
            .with_context(|| format!("no registry: {}", registry.process.output()))?;
        if demands == Demands::default() {
            http::get(address, "/v2/")?;
        }
        Ok(registry)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The reference of version `v1` of an artifact there.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}:v1", self.address)
    }

    /// The certificate of the authority behind a registry with TLS.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A folder with a `config.json` that holds the password, for
    /// `DOCKER_CONFIG`.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn docker_config(&self) -> Result<PathBuf> {
        let folder = self.folder.path().join("docker");
        fs::create_dir_all(&folder)?;
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let key = self.address.to_string();
        let config = serde_json::json!({ "auths": { key: { "auth": auth } } });
        fs::write(folder.join("config.json"), config.to_string())?;
        Ok(folder)
    }

    /// What the registry has logged: one line for each request.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

fn configuration(folder: &Path, address: SocketAddr, demands: Demands) -> Result<String> {
    let place = folder.display();
    let mut lines = vec![
        "version: 0.1".to_owned(),
        "log: { level: warn, accesslog: { disabled: false } }".to_owned(),
        format!("storage: {{ filesystem: {{ rootdirectory: {place}/blobs }} }}"),
        format!("http:\n  addr: {address}"),
    ];
    if demands.tls {
        make_certificates(folder)?;
        lines
            .push(format!("  tls: {{ certificate: {place}/server.pem, key: {place}/server.key }}"));
    }
    if demands.password {
        let mut command = Command::new(system_program("htpasswd")?);
        let line = output_of(command.args(["-nbB", USER, PASSWORD]), Duration::from_secs(10))?;
        fs::write(folder.join("htpasswd"), line.trim())?;
        lines.push(format!("auth: {{ htpasswd: {{ realm: tests, path: {place}/htpasswd }} }}"));
    }
    Ok(lines.join("\n") + "\n")
}

/// An authority and a certificate for 127.0.0.1 signed by it.
fn make_certificates(folder: &Path) -> Result<()> {
    let openssl = |arguments: &str| {
        let mut command = Command::new(system_program("openssl")?);
        command.current_dir(folder).args(arguments.split(' '));
        output_of(&mut command, Duration::from_secs(20))
    };
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")?;
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tests-ca -keyout ca.key -out ca.pem",
    )?;
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr",
    )?;
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    )?;
    Ok(())
}
