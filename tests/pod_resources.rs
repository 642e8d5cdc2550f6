//! Limits, usage and ends of Spin containers, as the kubelet sees them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::Version;
use integration_tests::cri::{Container, Cri, SPIN};
use integration_tests::http;
use integration_tests::process::{send_signal, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

/// A file of the container's cgroup in the hierarchy of one controller; both
/// versions of cgroups.
fn cgroup_file(container: &Container<'_>, controller: &str, v1: &str, v2: &str) -> Result<String> {
    let table = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    for line in table.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
            let root = "/sys/fs/cgroup";
            if controllers.split(',').any(|name| name == controller) {
                return Ok(fs::read_to_string(format!("{root}/{controller}{path}/{v1}"))?);
            }
            if table.lines().count() == 1 {
                return Ok(fs::read_to_string(format!("{root}{path}/{v2}"))?);
            }
        }
    }
    anyhow::bail!("no {controller} in {table}")
}

fn number(value: &Value, pointer: &str) -> Result<u64> {
    let found = value.pointer(pointer).with_context(|| format!("no {pointer} in {value}"))?;
    // int64 is text in the JSON of protobuf.
    let number = found.as_u64().or_else(|| found.as_str().and_then(|text| text.parse().ok()));
    number.with_context(|| format!("{pointer} is not a number: {found}"))
}

#[test]
fn limits_are_set_and_changed_in_place() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("hello-rust")?;
        let pod = cri.pod("limits", SPIN, Value::Null)?;
        let resources = json!({
            "cpu_period": 100_000, "cpu_quota": 50_000, "cpu_shares": 512,
            "memory_limit_in_bytes": 128 * MIB,
        });
        let app = pod.start(
            "app",
            &image,
            json!({ "command": ["/"], "linux": { "resources": resources } }),
        )?;
        let memory = || cgroup_file(&app, "memory", "memory.limit_in_bytes", "memory.max");
        assert_eq!(memory()?.trim(), (128 * MIB).to_string());
        assert!(cgroup_file(&app, "cpu", "cpu.cfs_quota_us", "cpu.max")?.starts_with("50000"));

        let larger = (256 * MIB).to_string();
        cri.crictl(&[
            "update",
            "--memory",
            &larger,
            "--cpu-quota",
            "75000",
            "--cpu-period",
            "100000",
            app.id(),
        ])?;
        assert_eq!(memory()?.trim(), larger);
        assert!(cgroup_file(&app, "cpu", "cpu.cfs_quota_us", "cpu.max")?.starts_with("75000"));
        assert_eq!(http::get(pod.address(80)?, "/")?.status, 200, "{version:?}");
        pod.remove()?;
    }
    Ok(())
}

#[test]
fn a_container_out_of_memory_is_told_as_that() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("behaviours")?;
        let before = cri.traces()?;
        let pod = cri.pod("memory", SPIN, Value::Null)?;
        let resources = json!({ "memory_limit_in_bytes": 64 * MIB });
        let app = pod.start(
            "app",
            &image,
            json!({ "command": ["/"], "linux": { "resources": resources } }),
        )?;
        let other = pod.start(
            "other",
            &image,
            json!({ "command": ["/"], "envs": [{ "key": "SPIN_HTTP_LISTEN_ADDR", "value": "0.0.0.0:81" }] }),
        )?;
        // The connection ends with the process.
        let answer = http::get(pod.address(80)?, "/b/memory?mib=200");
        let ended = app.ended()?;
        assert_eq!(
            (ended.code, ended.reason.as_str()),
            (137, "OOMKilled"),
            "{version:?}: {answer:?}"
        );
        assert_eq!(http::get(pod.address(81)?, "/b/hello")?.status, 200, "the other one goes on");
        other.stop(Duration::from_secs(10))?;
        pod.remove()?;
        cri.nothing_new_since(&before)?;
    }
    Ok(())
}

#[test]
fn usage_is_that_of_the_app_and_is_told_to_the_end() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("behaviours")?;
        let pod = cri.pod("usage", SPIN, Value::Null)?;
        let app = pod.start("app", &image, json!({ "command": ["/"] }))?;
        let address = pod.address(80)?;
        let cpu = || number(&app.stats()?, "/cpu/usageCoreNanoSeconds/value");
        let idle = cpu()?;
        let memory = number(&app.stats()?, "/memory/workingSetBytes/value")?;
        assert!((MIB..256 * MIB).contains(&memory), "{memory} bytes");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            http::get(address, "/b/big?bytes=1000000")?;
        }
        // containerd may answer from a sample that is a moment old.
        wait_until(Duration::from_secs(20), || Ok((cpu()? > idle + 50_000_000).then_some(())))
            .context("the work is not seen")?;
        let pods = cri.crictl_json(&["statsp", "-o", "json", "--id", pod.id()])?;
        let of_pod = pods.pointer("/stats/0").with_context(|| format!("no stats: {pods}"))?;
        assert!(number(of_pod, "/linux/memory/workingSetBytes/value")? >= MIB, "{of_pod}");

        send_signal(app.pid()?, Signal::KILL)?;
        assert_eq!(app.ended()?.code, 137);
        // One container that has ended does not spoil the table of all.
        let table = cri.crictl(&["stats", "--all"])?;
        ensure!(table.lines().count() >= 1, "{table}");
        pod.remove()?;
    }
    Ok(())
}

#[test]
fn a_container_ends_with_the_code_that_users_expect() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("behaviours")?;
        let before = cri.traces()?;
        let pod = cri.pod("codes", SPIN, Value::Null)?;
        let ends = |name: &str, end: &dyn Fn(&Container<'_>) -> Result<()>| {
            let app = pod.start(name, &image, json!({ "command": ["/"] }))?;
            assert_eq!(http::get(pod.address(80)?, "/b/hello")?.status, 200);
            end(&app)?;
            let ended = app.ended()?;
            app.remove()?;
            Ok::<_, anyhow::Error>((ended.code, ended.reason))
        };
        let (code, reason) = ends("drained", &|app| app.stop(Duration::from_secs(10)))?;
        assert_eq!((code, reason.as_str()), (0, "Completed"));
        let (code, reason) = ends("killed", &|app| send_signal(app.pid()?, Signal::KILL))?;
        assert_eq!((code, reason.as_str()), (137, "Error"));
        let (code, _) = ends("at once", &|app| app.stop(Duration::ZERO))?;
        assert_eq!(code, 137);
        // A guest in an endless loop cannot delay the end beyond the grace period.
        let begun = Instant::now();
        let (code, _) = ends("looping", &|app| {
            let address = pod.address(80)?;
            let looping = std::thread::spawn(move || http::get(address, "/b/spin-loop"));
            std::thread::sleep(Duration::from_millis(300));
            app.stop(Duration::from_secs(2))?;
            let _ = looping.join();
            Ok(())
        })?;
        assert!(matches!(code, 137 | 143), "{code}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        pod.remove()?;
        cri.nothing_new_since(&before)?;
    }
    Ok(())
}

#[test]
fn what_is_wrong_is_said_where_kubectl_describe_shows_it() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("hello-rust")?;
        let before = cri.traces()?;
        let message = cri.containerd().folder().join("termination-log");
        fs::write(&message, "")?;
        let pod = cri.pod("wrong", SPIN, Value::Null)?;
        let app = pod.create(
            "app",
            &image,
            json!({
                "command": ["/"],
                "envs": [{ "key": "SPIN_HTTP_LISTEN_ADDR", "value": "nonsense" }],
                "mounts": [{ "container_path": "/dev/termination-log", "host_path": message }],
            }),
        )?;
        let error = format!("{:#}", app.start().err().context("nonsense is no address")?);
        assert!(error.contains("SPIN_HTTP_LISTEN_ADDR"), "{error}");
        let ended = app.ended()?;
        assert_ne!(ended.code, 0);
        assert!(ended.message.contains("SPIN_HTTP_LISTEN_ADDR"), "{ended:?}");
        pod.remove()?;
        cri.nothing_new_since(&before)?;
    }
    Ok(())
}
