//! What a Spin container may still do once it serves: nothing but that.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::{Containerd, Version};
use integration_tests::http;
use integration_tests::process::wait_until;
use integration_tests::registry::Registry;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;

/// Port 80 as the kernel writes it.
const PORT_80: &str = ":0050";
/// A listening socket as the kernel writes it.
const LISTENING: &str = "0A";

struct Pulled {
    containerd: Containerd,
    image: String,
    _registry: Registry,
}

fn pulled() -> Result<Pulled> {
    let containerd = Containerd::start(Version::V2)?;
    let registry = Registry::start()?;
    let image = registry.reference("hello-rust");
    Spinlet::new()?.run(&["push", &guest("hello-rust")?.display().to_string(), &image])?;
    containerd.pull(&image)?;
    Ok(Pulled { containerd, image, _registry: registry })
}

/// The value of one line of a process's status.
fn status(pid: u32, key: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    Ok(line.with_context(|| format!("no {key} in the status of {pid}"))?.trim().to_owned())
}

#[test]
fn another_user_serves_under_the_default_filter_from_a_read_only_root() -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled()?;
    let options = ["--user", "65532:65532", "--seccomp", "--read-only"];
    let address = containerd.run(&image, "app", &options)?;
    assert_eq!(http::get(address, "/")?.text(), "Hello from Rust!\n");
    let pid = containerd.task("app")?.context("no task")?.pid;
    assert_eq!(status(pid, "Uid")?, "65532\t65532\t65532\t65532");
    assert_eq!(status(pid, "Gid")?, "65532\t65532\t65532\t65532");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, set)?, "0000000000000000", "{set}");
    }
    assert_eq!((status(pid, "NoNewPrivs")?, status(pid, "Seccomp")?), ("1".into(), "2".into()));
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    Ok(())
}

#[test]
fn a_user_without_privileges_listens_on_port_80_of_its_network() -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled()?;
    let finished = containerd.try_run(&image, "app", &["--user", "65532:65532"])?;
    ensure!(finished.status.success(), "{}", finished.text());
    let pid = containerd.task("app")?.context("no task")?.pid;
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields.as_slice(), [_, local, _, state, ..]
            if local.ends_with(PORT_80) && *state == LISTENING)
    };
    wait_until(Duration::from_secs(5), || {
        let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
        Ok(sockets.lines().any(listens).then_some(()))
    })
    .context("nobody listens on port 80")?;
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    Ok(())
}

#[test]
fn no_mount_and_no_program_of_the_image_is_seen_from_the_node() -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled()?;
    let mounts = || fs::read_to_string("/proc/self/mountinfo").map(|text| text.lines().count());
    let before = mounts()?;
    let address = containerd.run(&image, "app", &[])?;
    assert_eq!(http::get(address, "/")?.status, 200);
    assert_eq!(mounts()?, before, "the root filesystem is mounted where the app is, only");
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    Ok(())
}

#[test]
fn a_limit_of_open_files_is_that_of_the_process_that_serves() -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled()?;
    let address = containerd.run(&image, "app", &["--rlimit-nofile", "300"])?;
    assert_eq!(http::get(address, "/")?.status, 200);
    let pid = containerd.task("app")?.context("no task")?.pid;
    let table = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = table.lines().find_map(|line| line.strip_prefix("Max open files"));
    let values: Vec<&str> = line.context("no limit")?.split_whitespace().take(2).collect();
    assert_eq!(values, ["300", "300"]);
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    Ok(())
}
