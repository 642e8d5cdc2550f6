//! Pods on a node that systemd starts: their slices, made by systemd as a kubelet has
//! them made, in control groups of version 2; and the profiles of AppArmor.
//! `scripts/test-machine` has such a node.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::Version;
use integration_tests::cri::{Container, Cri, SPIN, SPIN_SANDBOX};
use integration_tests::http;
use integration_tests::linux_image::BUSYBOX;
use integration_tests::process::{output_of, wait_until};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const CGROUPS: &str = "/sys/fs/cgroup";

fn systemctl(arguments: &[&str]) -> Result<String> {
    output_of(Command::new("systemctl").args(arguments), Duration::from_mins(1))
}

/// A slice that ends with the test.
struct Slice(&'static str);

impl Slice {
    fn start(name: &'static str) -> Result<Self> {
        ensure!(
            Path::new("/run/systemd/system").is_dir(),
            "this needs a machine that systemd started: run scripts/test-machine"
        );
        systemctl(&["start", name])?;
        Ok(Self(name))
    }

    /// As a kubelet names it to containerd.
    fn parent(&self) -> Value {
        json!({ "cgroup_parent": self.path() })
    }

    fn path(&self) -> String {
        let (above, _) = self.0.split_once('-').unwrap_or((self.0, ""));
        format!("/{above}.slice/{}", self.0)
    }

    fn folder(&self) -> PathBuf {
        Path::new(CGROUPS).join(self.path().trim_start_matches('/'))
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        let _ = systemctl(&["stop", self.0]);
    }
}

fn scope(container: &Container<'_>) -> String {
    format!("cri-containerd-{}.scope", container.id())
}

fn setting(slice: &Slice, container: &Container<'_>, file: &str) -> Result<String> {
    let path = slice.folder().join(scope(container)).join(file);
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

fn cgroup_of(container: &Container<'_>) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    Ok(text.trim().trim_start_matches("0::").to_owned())
}

fn limited(command: &Value) -> Value {
    let resources = json!({
        "memory_limit_in_bytes": 64 * MIB, "cpu_period": 100_000, "cpu_quota": 50_000,
    });
    json!({ "command": command, "linux": { "resources": resources } })
}

#[test]
#[ignore = "needs systemd as the first process: scripts/test-machine runs it"]
fn a_pod_lives_in_the_slice_that_systemd_made_and_its_limits_outlast_a_reload() -> Result<()> {
    for (version, handler) in [
        (Version::V1_7, SPIN),
        (Version::V2_1, SPIN),
        (Version::V2, SPIN),
        (Version::V2, SPIN_SANDBOX),
    ] {
        let cri = Cri::start(version)?;
        let image = cri.app("behaviours")?;
        cri.pull(BUSYBOX)?;
        let slice = Slice::start("spinlettest-pod1.slice")?;
        let before = cri.traces()?;
        let pod = cri.pod("slice", handler, json!({ "linux": slice.parent() }))?;
        let app = pod.start("app", &image, limited(&json!(["/"])))?;
        let mut containers = vec![&app];
        let sidecar;
        // Without one, and without a pause container, systemd knows of none of them.
        if handler == SPIN {
            sidecar = pod.start("sidecar", BUSYBOX, limited(&json!(["sleep", "600"])))?;
            containers.push(&sidecar);
        }
        for container in &containers {
            let expected = format!("{}/{}", slice.path(), scope(container));
            assert_eq!(cgroup_of(container)?, expected, "{version:?} {handler}");
        }
        let hold = || -> Result<()> {
            for container in &containers {
                let memory = setting(&slice, container, "memory.max")?;
                assert_eq!(memory, (64 * MIB).to_string(), "{version:?} {handler}");
                assert_eq!(setting(&slice, container, "cpu.max")?, "50000 100000");
            }
            Ok(())
        };
        hold()?;
        // systemd writes anew what it knows of its groups.
        systemctl(&["daemon-reload"])?;
        systemctl(&["set-property", "--runtime", slice.0, "CPUWeight=50"])?;
        hold()?;
        assert_eq!(http::get(pod.address(80)?, "/b/hello")?.text(), "hello\n");

        let seen = || {
            let used = app.stats()?;
            let memory = used.pointer("/memory/workingSetBytes/value").and_then(Value::as_str);
            let memory = memory.and_then(|bytes| bytes.parse::<u64>().ok());
            let processor = used.pointer("/cpu/usageCoreNanoSeconds/value").and_then(Value::as_str);
            let worked = processor.is_some_and(|nanoseconds| nanoseconds != "0");
            Ok(memory.filter(|bytes| worked && (MIB / 2..64 * MIB).contains(bytes)))
        };
        wait_until(Duration::from_secs(30), seen).context("no usage is told")?;

        // The connection ends with the process.
        let answer = http::get(pod.address(80)?, "/b/memory?mib=200");
        let ended = app.ended()?;
        let told = (ended.code, ended.reason.as_str());
        assert_eq!(told, (137, "OOMKilled"), "{version:?} {handler}: {answer:?}");
        pod.remove()?;
        cri.nothing_new_since(&before)?;
        let scopes = fs::read_dir(slice.folder())?.flatten().filter(|entry| entry.path().is_dir());
        let left: Vec<_> = scopes.map(|entry| entry.file_name()).collect();
        ensure!(left.is_empty(), "{version:?} {handler}: {left:?} are left in the slice");
    }
    Ok(())
}

#[test]
#[ignore = "needs a kernel with AppArmor: scripts/test-machine runs it"]
fn an_app_is_confined_by_the_profile_of_its_pod() -> Result<()> {
    ensure!(
        Path::new("/sys/kernel/security/apparmor").is_dir(),
        "this needs a kernel with AppArmor: run scripts/test-machine"
    );
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("hello-rust")?;
        let pod = cri.pod("confined", SPIN, Value::Null)?;
        let profile = |container: &Container<'_>| -> Result<String> {
            let path = format!("/proc/{}/attr/current", container.pid()?);
            Ok(fs::read_to_string(path)?.trim().to_owned())
        };
        let by_default = pod.start("default", &image, json!({ "command": ["/"] }))?;
        assert_eq!(profile(&by_default)?, "cri-containerd.apparmor.d (enforce)", "{version:?}");
        assert_eq!(http::get(pod.address(80)?, "/")?.text(), "Hello from Rust!\n");
        by_default.stop(Duration::from_secs(10))?;

        let of = |kind: u32, name: &str| {
            let profile = json!({ "profile_type": kind, "localhost_ref": name });
            json!({ "command": ["/"], "linux": { "security_context": { "apparmor": profile } } })
        };
        let unconfined = pod.start("unconfined", &image, of(1, ""))?;
        assert_eq!(profile(&unconfined)?, "unconfined", "{version:?}");
        unconfined.stop(Duration::from_secs(10))?;
        let missing = pod.start("missing", &image, of(2, "there-is-no-such-profile"));
        let missing = format!("{:#}", missing.err().context("it runs without its profile")?);
        ensure!(missing.contains("there-is-no-such-profile"), "{version:?}: {missing}");
        pod.remove()?;
    }
    Ok(())
}
