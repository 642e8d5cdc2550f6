//! A machine whose containerd is installed as a service, as far as the files of
//! the node and its `systemctl` are concerned: in a mount namespace of its own,
//! where everything that is written stays in the folder of the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::containerd::Version;
use crate::process::{Finished, Running, finish, processes_of, send_signal, wait_until};
use crate::workspace::{programs, require_root, tool};

const COMMAND: Duration = Duration::from_mins(2);
/// The folders of a node that are written to. They are seen as they are on this
/// machine, with the test's own changes on top.
const CHANGED: [&str; 4] = ["/etc", "/opt", "/usr/local", "/var/lib"];

/// Such a machine; it ends with the value.
#[derive(Debug)]
pub struct NodeMachine {
    keeper: Running,
    tools: PathBuf,
    crictl: PathBuf,
    folder: TempDir,
}

impl NodeMachine {
    /// Starts containerd with a configuration of the administrator.
    ///
    /// # Errors
    /// Fails without root, and when a part is missing or does not answer.
    pub fn start(version: Version, configuration: &str) -> Result<Self> {
        require_root()?;
        let tools = tool(version.tool())?;
        let crictl = tool("cri-tools")?.join("crictl");
        let folder = tempfile::Builder::new().prefix("spinlet-node-").tempdir()?;
        let keeper = keep(folder.path())?;
        let machine = Self { keeper, tools, crictl, folder };
        machine.put("/etc/containerd/config.toml", configuration)?;
        machine
            .put("/etc/systemd/system/containerd.service", "[Service]\nExecStart=containerd\n")?;
        machine.put("/usr/local/sbin/systemctl", &machine.systemctl())?;
        machine.run("chmod", &["755", "/usr/local/sbin/systemctl"])?;
        machine.run("systemctl", &["restart", "containerd"])?;
        wait_until(Duration::from_secs(30), || Ok(machine.handlers().ok()))
            .with_context(|| format!("containerd does not answer\n{}", machine.log()))?;
        Ok(machine)
    }

    /// What restarts containerd, and nothing else.
    fn systemctl(&self) -> String {
        let place = self.folder.path().display();
        let containerd = self.tools.join("containerd");
        format!(
            "#!/bin/sh\n[ \"$*\" = \"restart containerd\" ] || {{ echo \"unknown: $*\" >&2; exit 1; }}\n\
             if [ -e {place}/pid ]; then kill $(cat {place}/pid); \
             while kill -0 $(cat {place}/pid) 2>/dev/null; do sleep 0.05; done; fi\n\
             setsid {} >>{place}/containerd.log 2>&1 </dev/null &\necho $! >{place}/pid\n",
            containerd.display()
        )
    }

    /// Runs a program on the machine to its end, however that is.
    ///
    /// # Errors
    /// Fails when it does not end in time.
    pub fn finish(&self, program: &str, arguments: &[&str]) -> Result<Finished> {
        let path = format!(
            "/usr/local/sbin:{}:{}:/usr/sbin:/usr/bin:/sbin:/bin",
            programs()?.display(),
            self.tools.display()
        );
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.pid()));
        command.args(["--", "env", &format!("PATH={path}"), program]).args(arguments);
        command.env("SPINLET_TEST_MACHINE", self.folder.path());
        finish(&mut command, COMMAND)
    }

    /// Runs a program that must succeed; returns its standard output.
    ///
    /// # Errors
    /// Fails when it does not; the error carries what it and containerd wrote.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let done = self.finish(program, arguments)?;
        ensure!(
            done.status.success(),
            "{program} {arguments:?}: {}\n{}\n{}",
            done.status,
            done.text(),
            self.log()
        );
        Ok(done.stdout)
    }

    /// Writes a file of the machine.
    ///
    /// # Errors
    /// Fails when it cannot be written.
    pub fn put(&self, path: &str, text: &str) -> Result<()> {
        let source = self.folder.path().join("put");
        fs::write(&source, text)?;
        self.run("install", &["-D", "-m", "644", &source.display().to_string(), path]).map(drop)
    }

    /// Reads a file of the machine.
    ///
    /// # Errors
    /// Fails when it is not there.
    pub fn read(&self, path: &str) -> Result<String> {
        self.run("cat", &[path])
    }

    /// The handlers that containerd has, told by `crictl`, sorted.
    ///
    /// # Errors
    /// Fails when containerd does not answer, or its CRI plugin is not ready.
    pub fn handlers(&self) -> Result<Vec<String>> {
        let socket = "unix:///run/containerd/containerd.sock";
        let crictl = self.crictl.display().to_string();
        let text = self.run(&crictl, &["--runtime-endpoint", socket, "info"])?;
        let info: serde_json::Value = serde_json::from_str(&text)?;
        let runtimes = info.pointer("/config/containerd/runtimes").and_then(|it| it.as_object());
        let mut names: Vec<_> = runtimes.context("no runtimes")?.keys().cloned().collect();
        names.sort();
        Ok(names)
    }

    /// Everything that was made, changed or removed on the machine, with the digest
    /// of its content where it is a file; containerd's own folders are left out.
    ///
    /// # Errors
    /// Fails when one cannot be read.
    pub fn changes(&self) -> Result<BTreeMap<PathBuf, Option<String>>> {
        let upper = self.folder.path().join("upper");
        let mut found = BTreeMap::new();
        let mut folders = vec![upper.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let kind = fs::symlink_metadata(&path)?.file_type();
                let content = kind.is_file().then(|| fs::read(&path)).transpose()?;
                let digest = content.map(|content| hex::encode(Sha256::digest(content)));
                found.insert(path.strip_prefix(&upper)?.to_owned(), digest);
                if kind.is_dir() {
                    folders.push(path);
                }
            }
        }
        Ok(found)
    }

    /// The log of containerd.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("containerd.log")).unwrap_or_default()
    }
}

impl Drop for NodeMachine {
    fn drop(&mut self) {
        // containerd and what it started know the folder from their environment.
        let all = || processes_of(self.folder.path());
        for process in all().iter().filter(|process| process.pid != self.keeper.pid()) {
            let _ = send_signal(process.pid, rustix::process::Signal::TERM);
        }
        let gone = || Ok(all().iter().all(|seen| seen.pid == self.keeper.pid()).then_some(()));
        let _ = wait_until(Duration::from_secs(10), gone);
    }
}

/// A process that holds the mount namespace of the machine, which has never heard
/// of us.
fn keep(folder: &Path) -> Result<Running> {
    let place = folder.display();
    let mounts = CHANGED.map(|changed| {
        let (upper, work) = (format!("{place}/upper{changed}"), format!("{place}/work{changed}"));
        format!(
            "mkdir -p {upper} {work}\nmount -t overlay overlay \
             -o lowerdir={changed},upperdir={upper},workdir={work} {changed}\n"
        )
    });
    let script = format!(
        "set -e\n{}rm -rf /var/lib/spinlet\nmkdir -p {place}/run {place}/containerd /var/lib/containerd\n\
         mount --bind {place}/run /run\nmount --bind {place}/containerd /var/lib/containerd\n\
         touch {place}/ready\nexec sleep infinity\n",
        mounts.concat()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--kill-child", "sh", "-c", &script]);
    let mut keeper = Running::start(&mut command, &folder.join("keeper.log"))?;
    wait_until(Duration::from_secs(20), || {
        let ended = keeper.ended()?;
        ensure!(ended.is_none(), "the machine could not be made: {}", keeper.output());
        Ok(folder.join("ready").exists().then_some(()))
    })?;
    Ok(keeper)
}
