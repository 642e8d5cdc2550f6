//! Pods as the kubelet makes them: a containerd with its CRI plugin, in a
//! network of the test's own, and `crictl` for it.

mod pod;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use rustix::process::Signal;
use serde_json::Value;

use crate::containerd::{Containerd, Version};
use crate::leak_check::Traces;
use crate::linux_image;
use crate::network::PrivateNetwork;
use crate::process::{Finished, finish, wait_until};
use crate::registry::Registry;
use crate::spinlet::Spinlet;
use crate::workspace::{guest, tool};

pub use pod::{Container, Ended, Pod};

/// A start may have to compile the largest guest on a busy machine.
const COMMAND: Duration = Duration::from_mins(4);

/// The handler under which pods run as ordinary Linux pods.
pub const RUNC: &str = "runc";
/// Our handler.
pub const SPIN: &str = "spin";
/// Our handler with a base specification that limits each process to 777 open files (at
/// most 888), no core dump, and 64 KiB of locked memory (at most 128 KiB).
pub const SPIN_LIMITS: &str = "spin-limits";
/// Our handler with sandboxes of its own instead of pause containers; only
/// containerd 2 has it.
pub const SPIN_SANDBOX: &str = "spin-sandbox";

/// A containerd with CRI and a registry, both in a network of this thread.
#[derive(Debug)]
pub struct Cri {
    containerd: Containerd,
    registry: Registry,
    crictl: PathBuf,
    network: PrivateNetwork,
}

impl Cri {
    /// Starts both; the images of [`linux_image`] that pods need are there.
    ///
    /// # Errors
    /// Fails without root, and when a part is missing or does not answer.
    pub fn start(version: Version) -> Result<Self> {
        Self::start_with_shim(version, false, &[])
    }

    /// The same on a node whose administrator has set a variable for our shim.
    ///
    /// # Errors
    /// As [`Cri::start`].
    pub fn start_with_setting(version: Version, name: &str, value: &str) -> Result<Self> {
        Self::start_with_shim(version, false, &[(name, value)])
    }

    /// The same with a shim that is not on containerd's `PATH`: as the installer
    /// does it, the handler says where it is.
    ///
    /// # Errors
    /// As [`Cri::start`].
    pub fn start_off_path(version: Version) -> Result<Self> {
        Self::start_with_shim(version, true, &[])
    }

    fn start_with_shim(
        version: Version,
        off_path: bool,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let crictl = tool("cri-tools")?.join("crictl");
        let network = PrivateNetwork::enter()?;
        let registry = Registry::start()?;
        linux_image::push_basic(&registry)?;
        let address = registry.address();
        let containerd = Containerd::start_with_cri(version, address, off_path, settings)?;
        let cri = Self { containerd, registry, crictl, network };
        cri.wait_until_ready()?;
        Ok(cri)
    }

    fn wait_until_ready(&self) -> Result<()> {
        fs::write(self.containerd.folder().join("crictl.yaml"), "")?;
        let ready = || Ok(self.crictl(&["version"]).ok());
        wait_until(Duration::from_secs(30), ready)
            .with_context(|| format!("CRI does not answer\n{}", self.containerd.log()))?;
        Ok(())
    }

    /// The containerd.
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The registry that every image comes from.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Ends containerd with a signal and starts it again; pods go on.
    ///
    /// # Errors
    /// Fails when it does not end or not come back.
    pub fn restart(&mut self, signal: Signal) -> Result<()> {
        self.containerd.restart(signal)?;
        self.wait_until_ready()
    }

    /// Ends containerd with a signal and starts another version; pods go on.
    ///
    /// # Errors
    /// Fails when it does not end or the other does not start.
    pub fn upgrade(&mut self, signal: Signal, version: Version) -> Result<()> {
        self.containerd.upgrade(signal, version)?;
        self.wait_until_ready()
    }

    /// Does something while containerd is away; pods go on.
    ///
    /// # Errors
    /// Fails when the action does, or when containerd does not come back.
    pub fn away(&mut self, signal: Signal, action: impl FnOnce() -> Result<()>) -> Result<()> {
        self.containerd.away(signal, action)?;
        self.wait_until_ready()
    }

    /// Replaces our programs where containerd finds them, as an installer does;
    /// containerd finds the first copy after its next start.
    ///
    /// # Errors
    /// Fails when they cannot be copied.
    pub fn replace_programs(&mut self) -> Result<()> {
        self.containerd.replace_programs()
    }

    /// Pushes a guest and pulls it; returns its reference.
    ///
    /// # Errors
    /// Fails when the guest is not built or cannot be pushed or pulled.
    pub fn app(&self, name: &str) -> Result<String> {
        let image = self.registry.reference(name);
        Spinlet::new()?.run(&["push", &guest(name)?.display().to_string(), &image])?;
        self.pull(&image)?;
        Ok(image)
    }

    /// Pulls an image through CRI.
    ///
    /// # Errors
    /// Fails when containerd cannot have it.
    pub fn pull(&self, image: &str) -> Result<()> {
        self.crictl(&["pull", image]).map(drop)
    }

    /// A command of `crictl`.
    pub fn crictl_command(&self, arguments: &[&str]) -> Command {
        let folder = self.containerd.folder();
        let socket = format!("unix://{}", folder.join("containerd.sock").display());
        let mut command = Command::new(&self.crictl);
        command.arg("--config").arg(folder.join("crictl.yaml"));
        command.args(["--runtime-endpoint", &socket, "--image-endpoint", &socket]);
        command.args(["--timeout", "200s"]).args(arguments);
        command
    }

    /// Runs `crictl` to its end, however that is.
    ///
    /// # Errors
    /// Fails when it does not end in time.
    pub fn try_crictl(&self, arguments: &[&str]) -> Result<Finished> {
        finish(&mut self.crictl_command(arguments), COMMAND)
    }

    /// Runs `crictl`, which must succeed; returns its standard output.
    ///
    /// # Errors
    /// Fails when it does not; the error carries what it wrote.
    pub fn crictl(&self, arguments: &[&str]) -> Result<String> {
        let finished = self.try_crictl(arguments)?;
        ensure!(finished.status.success(), "crictl {arguments:?}\n{}", finished.text());
        Ok(finished.stdout)
    }

    /// Runs `crictl` and reads its standard output as JSON.
    ///
    /// # Errors
    /// Fails when the command does, or when what it writes is not JSON.
    pub fn crictl_json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.crictl(arguments)?;
        serde_json::from_str(&text).with_context(|| format!("crictl {arguments:?}: {text}"))
    }

    /// Runs a pod under a handler; `more` is laid over the configuration of an
    /// ordinary one.
    ///
    /// # Errors
    /// Fails when the sandbox does not start.
    pub fn pod(&self, name: &str, handler: &str, more: Value) -> Result<Pod<'_>> {
        Pod::run(self, name, handler, more)
    }

    /// The traces there are now.
    ///
    /// # Errors
    /// Fails when containerd does not answer.
    pub fn traces(&self) -> Result<PodTraces> {
        let traces = Traces::now(&self.containerd)?;
        Ok(PodTraces { traces, addresses: self.addresses()?, devices: self.network.pod_devices()? })
    }

    /// Waits until nothing is there that was not there before.
    ///
    /// # Errors
    /// Fails with the list of what stays.
    pub fn nothing_new_since(&self, before: &PodTraces) -> Result<()> {
        before.traces.nothing_new(&self.containerd)?;
        let now = self.traces()?;
        let left = |now: &[String], before: &[String]| {
            now.iter().filter(|name| !before.contains(name)).cloned().collect::<Vec<_>>()
        };
        let mut all = left(&now.addresses, &before.addresses);
        all.extend(left(&now.devices, &before.devices));
        ensure!(all.is_empty(), "addresses or devices of pods are left: {all:?}");
        Ok(())
    }

    fn addresses(&self) -> Result<Vec<String>> {
        let folder = self.containerd.folder().join("addresses/pods");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<std::io::Result<Vec<_>>>()?.into_iter();
        let names = names.map(|name| name.to_string_lossy().into_owned());
        Ok(names.filter(|name| name.starts_with("10.")).collect())
    }
}

/// The traces that pods leave, at one moment.
#[derive(Debug)]
pub struct PodTraces {
    traces: Traces,
    addresses: Vec<String>,
    devices: Vec<String>,
}
