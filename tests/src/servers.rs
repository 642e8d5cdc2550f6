//! Servers of the distribution, and a stand-in for AWS, each on a private loopback
//! port that it keeps when it is stopped and started again.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::process::{Running, free_address, output_of, wait_until};
use crate::workspace::{system_program, tool};

const START: Duration = Duration::from_mins(1);

/// A server of one test; ends with the value.
#[derive(Debug)]
struct Server {
    process: Option<Running>,
    port: u16,
    folder: TempDir,
}

impl Server {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("spinlet-test-").tempdir()?;
        Ok(Self { process: None, port: free_address()?.port(), folder })
    }

    fn start(&mut self, command: &mut Command) -> Result<()> {
        let mut process = Running::start(command, &self.folder.path().join("server.log"))?;
        let answers = || {
            ensure!(process.ended()?.is_none(), "it has ended");
            Ok(TcpStream::connect(("127.0.0.1", self.port)).ok())
        };
        let result = wait_until(START, answers);
        result.with_context(|| format!("{command:?} does not listen\n{}", process.output()))?;
        self.process = Some(process);
        Ok(())
    }
}

/// Redis without data.
#[derive(Debug)]
pub struct Redis(Server);

impl Redis {
    /// Starts a server.
    ///
    /// # Errors
    /// Fails when it is not installed or does not start.
    pub fn start() -> Result<Self> {
        let mut redis = Self(Server::new()?);
        redis.start_again()?;
        Ok(redis)
    }

    /// Starts it on the port that it had.
    ///
    /// # Errors
    /// Fails when it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let port = self.0.port.to_string();
        let mut command = Command::new(system_program("redis-server")?);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port]);
        command.arg("--dir").arg(self.0.folder.path());
        self.0.start(&mut command)
    }

    /// Ends it; its port stays its own.
    pub fn stop(&mut self) {
        self.0.process = None;
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port)
    }

    /// Publishes a message; how many connections have received it.
    ///
    /// # Errors
    /// Fails when the server does not take it.
    pub fn publish(&self, channel: &str, message: &str) -> Result<u32> {
        let port = self.0.port.to_string();
        let mut command = Command::new(system_program("redis-cli")?);
        command.args(["-p", &port, "publish", channel, message]);
        let count = output_of(&mut command, START)?;
        count.trim().parse().with_context(|| format!("redis-cli says {count:?}"))
    }
}

/// Mosquitto, which anybody may use.
#[derive(Debug)]
pub struct Mosquitto(Server);

impl Mosquitto {
    /// Starts a server.
    ///
    /// # Errors
    /// Fails when it is not installed or does not start.
    pub fn start() -> Result<Self> {
        let mut mosquitto = Self(Server::new()?);
        mosquitto.start_again()?;
        Ok(mosquitto)
    }

    /// Starts it on the port that it had.
    ///
    /// # Errors
    /// Fails when it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let configuration = self.0.folder.path().join("mosquitto.conf");
        let text = format!("listener {} 127.0.0.1\nallow_anonymous true\n", self.0.port);
        fs::write(&configuration, text)?;
        let mut command = Command::new(system_program("mosquitto")?);
        self.0.start(command.arg("-c").arg(configuration))
    }

    /// Ends it; its port stays its own.
    pub fn stop(&mut self) {
        self.0.process = None;
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.0.port)
    }

    /// Publishes a message and waits until the server has it.
    ///
    /// # Errors
    /// Fails when the server does not take it.
    pub fn publish(&self, topic: &str, message: &str) -> Result<()> {
        let port = self.0.port.to_string();
        let mut command = Command::new(system_program("mosquitto_pub")?);
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-m", message]);
        output_of(&mut command, START).map(drop)
    }
}

/// Moto, which stands in for a service of AWS: another implementation of its
/// protocol that does not check signatures and forgets everything when it ends.
#[derive(Debug)]
pub struct Moto {
    server: Server,
    service: &'static str,
}

impl Moto {
    /// Starts a stand-in for `service`, such as `sqs`.
    ///
    /// # Errors
    /// Fails when it is not installed or does not start.
    pub fn start(service: &'static str) -> Result<Self> {
        let mut moto = Self { server: Server::new()?, service };
        moto.start_again()?;
        Ok(moto)
    }

    /// Starts it on the port that it had.
    ///
    /// # Errors
    /// Fails when it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        let port = self.server.port.to_string();
        let mut command = Command::new(tool("moto")?.join("bin/moto_server"));
        command.args(["--host", "127.0.0.1", "--port", &port]);
        self.server.start(&mut command)
    }

    /// Ends it; its port stays its own.
    pub fn stop(&mut self) {
        self.server.process = None;
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }

    /// Calls an operation by its full name, such as `AmazonSQS.SendMessage`.
    ///
    /// # Errors
    /// Fails when it is refused.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value> {
        let scope = format!("id/20260101/eu-west-1/{}/aws4_request", self.service);
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}");
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", operation),
            ("authorization", &authorization),
        ];
        let address = ([127, 0, 0, 1], self.server.port).into();
        let answer = http::request(address, "POST", "/", &headers, input.to_string().as_bytes())?;
        ensure!(answer.status == 200, "{operation}: {}", answer.text());
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }
}
