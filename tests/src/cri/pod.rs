//! One pod and its containers.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde_json::{Value, json};

use super::Cri;
use crate::process::{Finished, wait_until};

/// A pod; it stays until it is removed, or until its containerd ends.
#[derive(Debug)]
pub struct Pod<'c> {
    cri: &'c Cri,
    id: String,
    name: String,
    configuration: PathBuf,
}

/// A container of a pod.
#[derive(Debug)]
pub struct Container<'c> {
    cri: &'c Cri,
    id: String,
    log: PathBuf,
}

/// How a container has ended, as `kubectl describe` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit code.
    pub code: i64,
    /// `Completed`, `Error`, `OOMKilled` …
    pub reason: String,
    /// The termination message of the runtime, if any.
    pub message: String,
}

impl<'c> Pod<'c> {
    pub(super) fn run(cri: &'c Cri, name: &str, handler: &str, more: Value) -> Result<Self> {
        let folder = cri.containerd().folder();
        let logs = folder.join("logs").join(name);
        fs::create_dir_all(&logs)?;
        let configuration = json!({
            "metadata": { "name": name, "namespace": "tests", "uid": format!("uid-{name}"), "attempt": 0 },
            "log_directory": logs,
            "linux": { "cgroup_parent": format!("/{}", cri.containerd().cgroup()) },
        });
        let file = folder.join(format!("pod-{name}.json"));
        fs::write(&file, laid_over(configuration, more).to_string())?;
        let id = cri.crictl(&["runp", "--runtime", handler, &file.display().to_string()])?;
        let id = id.trim().to_owned();
        Ok(Self { cri, id, name: name.to_owned(), configuration: file })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Makes a container; `more` is laid over the configuration of one that runs
    /// what its image says.
    ///
    /// # Errors
    /// Fails when it cannot be made.
    pub fn create(&self, name: &str, image: &str, more: Value) -> Result<Container<'c>> {
        let configuration = json!({
            "metadata": { "name": name, "attempt": 0 },
            "image": { "image": image, "user_specified_image": image },
            "log_path": format!("{name}.log"),
        });
        let folder = self.cri.containerd().folder();
        let file = folder.join(format!("container-{}-{name}.json", self.name));
        fs::write(&file, laid_over(configuration, more).to_string())?;
        let (file, pod) = (file.display().to_string(), self.configuration.display().to_string());
        let id = self.cri.crictl(&["create", &self.id, &file, &pod])?.trim().to_owned();
        let log = folder.join("logs").join(&self.name).join(format!("{name}.log"));
        Ok(Container { cri: self.cri, id, log })
    }

    /// Makes a container and starts it.
    ///
    /// # Errors
    /// Fails when one of the two does.
    pub fn start(&self, name: &str, image: &str, more: Value) -> Result<Container<'c>> {
        let container = self.create(name, image, more)?;
        container.start()?;
        Ok(container)
    }

    /// What `crictl inspectp` tells.
    ///
    /// # Errors
    /// Fails when the pod is gone.
    pub fn inspect(&self) -> Result<Value> {
        self.cri.crictl_json(&["inspectp", "-o", "json", &self.id])
    }

    /// Its address on the bridge, with a port.
    ///
    /// # Errors
    /// Fails for a pod without one.
    pub fn address(&self, port: u16) -> Result<SocketAddr> {
        let status = self.inspect()?;
        let address = status.pointer("/status/network/ip").and_then(Value::as_str);
        let address: IpAddr = address.context("no address")?.parse()?;
        Ok(SocketAddr::new(address, port))
    }

    /// Stops it and whatever runs in it.
    ///
    /// # Errors
    /// Fails when that does.
    pub fn stop(&self) -> Result<()> {
        self.cri.crictl(&["stopp", &self.id]).map(drop)
    }

    /// Stops and removes it.
    ///
    /// # Errors
    /// Fails when that does.
    pub fn remove(self) -> Result<()> {
        self.stop()?;
        self.cri.crictl(&["rmp", &self.id]).map(drop)
    }
}

impl Container<'_> {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Starts it.
    ///
    /// # Errors
    /// Fails when it does not start.
    pub fn start(&self) -> Result<()> {
        self.cri.crictl(&["start", &self.id]).map(drop)
    }

    /// Stops it with a grace period.
    ///
    /// # Errors
    /// Fails when it does not end.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        let grace = grace.as_secs().to_string();
        self.cri.crictl(&["stop", "--timeout", &grace, &self.id]).map(drop)
    }

    /// Removes it after its end.
    ///
    /// # Errors
    /// Fails when that does.
    pub fn remove(self) -> Result<()> {
        self.cri.crictl(&["rm", &self.id]).map(drop)
    }

    /// What `crictl inspect` tells.
    ///
    /// # Errors
    /// Fails when the container is gone.
    pub fn inspect(&self) -> Result<Value> {
        self.cri.crictl_json(&["inspect", "-o", "json", &self.id])
    }

    /// Its first process.
    ///
    /// # Errors
    /// Fails when there is none.
    pub fn pid(&self) -> Result<u32> {
        let status = self.inspect()?;
        let pid = status.pointer("/info/pid").and_then(Value::as_u64).context("no pid")?;
        ensure!(pid != 0, "the container has no process");
        Ok(u32::try_from(pid)?)
    }

    /// A line of `/proc/<pid>/status` of its first process.
    ///
    /// # Errors
    /// Fails when there is no such process or line.
    pub fn process_status(&self, key: &str) -> Result<String> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(value
            .with_context(|| format!("no {key}"))?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Fails when it still runs after half a minute.
    pub fn ended(&self) -> Result<Ended> {
        wait_until(Duration::from_secs(30), || {
            let inspected = self.inspect()?;
            let status = inspected.get("status").context("no status")?;
            let text =
                |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let ended = || Ended {
                code: status.get("exitCode").and_then(Value::as_i64).unwrap_or(0),
                reason: text("reason"),
                message: text("message"),
            };
            Ok((text("state") == "CONTAINER_EXITED").then(ended))
        })
        .with_context(|| format!("container {} still runs", self.id))
    }

    /// Runs a command in it.
    ///
    /// # Errors
    /// Fails when `crictl` does not end, not by the command's exit code.
    pub fn exec(&self, command: &[&str]) -> Result<Finished> {
        let mut arguments = vec!["exec", "--sync", &self.id];
        arguments.extend_from_slice(command);
        self.cri.try_crictl(&arguments)
    }

    /// Its usage of resources, as `kubectl top` gets it.
    ///
    /// # Errors
    /// Fails when CRI tells none.
    pub fn stats(&self) -> Result<Value> {
        let stats = self.cri.crictl_json(&["stats", "--all", "-o", "json", "--id", &self.id])?;
        stats.pointer("/stats/0").cloned().with_context(|| format!("no stats: {stats}"))
    }

    /// Its log file as it is now.
    ///
    /// # Errors
    /// Fails when there is none.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }
}

/// `more` over `base`: objects are merged, anything else is replaced.
fn laid_over(base: Value, more: Value) -> Value {
    match (base, more) {
        (Value::Object(mut base), Value::Object(more)) => {
            for (key, value) in more {
                let below = base.remove(&key).unwrap_or(Value::Null);
                base.insert(key, laid_over(below, value));
            }
            Value::Object(base)
        }
        (base, Value::Null) => base,
        (_, more) => more,
    }
}
