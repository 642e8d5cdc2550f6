//! Pods while the parts around them are killed, restarted and replaced.
#![expect(clippy::expect_used, reason = "a test that cannot go on ends where it is")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::containerd::Version;
use integration_tests::cri::{Cri, SPIN};
use integration_tests::http;
use integration_tests::linux_image::NGINX;
use integration_tests::process::{send_signal, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Asks again and again until it is told to stop; every request must succeed.
fn ask_until(done: &AtomicBool, address: SocketAddr) -> Result<u32> {
    let mut answered = 0;
    while !done.load(Ordering::Relaxed) {
        let response = http::get(address, "/")?;
        ensure!(response.status == 200, "{}", response.text());
        answered += 1;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(answered)
}

/// Runs `action` while requests go to `address`; none may fail.
fn under_load(address: SocketAddr, action: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask_until(&done, address));
        let acted = action();
        // Some more requests after it.
        thread::sleep(Duration::from_millis(300));
        done.store(true, Ordering::Relaxed);
        let answered = asking.join().expect("no panic")?;
        acted?;
        ensure!(answered > 20, "only {answered} requests were made");
        Ok(())
    })
}

/// Ids of a pod, its app and its sidecar, which outlive any one containerd.
struct Ids {
    pod: String,
    app: String,
    sidecar: String,
}

fn serving(cri: &Cri) -> Result<(Ids, SocketAddr)> {
    let image = cri.app("hello-rust")?;
    cri.pull(NGINX)?;
    let pod = cri.pod("serving", SPIN, Value::Null)?;
    let web = json!({ "args": ["nginx", "-c", "/etc/nginx/port-8080.conf", "-g", "daemon off;"] });
    let sidecar = pod.start("web", NGINX, web)?;
    let app = pod.start("app", &image, json!({ "command": ["/"] }))?;
    let ids = Ids {
        pod: pod.id().to_owned(),
        app: app.id().to_owned(),
        sidecar: sidecar.id().to_owned(),
    };
    Ok((ids, pod.address(80)?))
}

fn state(cri: &Cri, container: &str) -> Result<String> {
    let inspected = cri.crictl_json(&["inspect", "-o", "json", container])?;
    let state = inspected.pointer("/status/state").and_then(Value::as_str);
    Ok(state.context("no state")?.to_owned())
}

/// What must hold after any restart: the pod is as it was, and goes away as
/// ever.
fn goes_on_and_ends(cri: &Cri, ids: &Ids, before: &[u32]) -> Result<()> {
    for container in [&ids.app, &ids.sidecar] {
        assert_eq!(state(cri, container)?, "CONTAINER_RUNNING");
    }
    assert_eq!(runtimes(cri), before, "the same processes serve");
    let said = cri.crictl(&["exec", "--sync", &ids.sidecar, "echo", "still here"])?;
    assert_eq!(said.trim(), "still here");
    cri.crictl(&["stop", "--timeout", "10", &ids.app])?;
    assert_eq!(state(cri, &ids.app)?, "CONTAINER_EXITED");
    cri.crictl(&["stopp", &ids.pod])?;
    cri.crictl(&["rmp", &ids.pod])?;
    Ok(())
}

fn runtimes(cri: &Cri) -> Vec<u32> {
    cri.containerd().processes("spinlet-runtime").iter().map(|process| process.pid).collect()
}

#[test]
fn containerd_stopped_and_killed_costs_no_request() -> Result<()> {
    for version in Version::ALL {
        for signal in [Signal::TERM, Signal::KILL] {
            let mut cri = Cri::start(version)?;
            let before = cri.traces()?;
            let (ids, address) = serving(&cri)?;
            let processes = runtimes(&cri);
            under_load(address, || cri.restart(signal))?;
            goes_on_and_ends(&cri, &ids, &processes)?;
            cri.nothing_new_since(&before)?;
        }
    }
    Ok(())
}

#[test]
fn containerd_comes_back_to_a_shim_that_is_not_on_its_path() -> Result<()> {
    for version in Version::ALL {
        let mut cri = Cri::start_off_path(version)?;
        let before = cri.traces()?;
        let (ids, address) = serving(&cri)?;
        let processes = runtimes(&cri);
        under_load(address, || cri.restart(Signal::TERM))?;
        goes_on_and_ends(&cri, &ids, &processes)?;
        cri.nothing_new_since(&before)?;
    }
    Ok(())
}

#[test]
fn containerd_upgraded_from_1_7_to_2_costs_no_request() -> Result<()> {
    let mut cri = Cri::start(Version::V1_7)?;
    let before = cri.traces()?;
    let (ids, address) = serving(&cri)?;
    let processes = runtimes(&cri);
    under_load(address, || cri.upgrade(Signal::TERM, Version::V2))?;
    goes_on_and_ends(&cri, &ids, &processes)?;
    cri.nothing_new_since(&before)
}

#[test]
fn what_ends_while_containerd_is_away_is_told_when_it_is_back() -> Result<()> {
    for version in Version::ALL {
        let mut cri = Cri::start(version)?;
        let before = cri.traces()?;
        let (ids, _) = serving(&cri)?;
        let processes = runtimes(&cri);
        cri.away(Signal::KILL, || {
            for pid in &processes {
                send_signal(*pid, Signal::KILL)?;
            }
            thread::sleep(Duration::from_millis(500));
            Ok(())
        })?;
        let exited = || Ok((state(&cri, &ids.app)? == "CONTAINER_EXITED").then_some(()));
        wait_until(Duration::from_secs(10), exited).context("the end is not told")?;
        let inspected = cri.crictl_json(&["inspect", "-o", "json", &ids.app])?;
        assert_eq!(inspected.pointer("/status/exitCode").and_then(Value::as_i64), Some(137));
        assert_eq!(state(&cri, &ids.sidecar)?, "CONTAINER_RUNNING");
        cri.crictl(&["stopp", &ids.pod])?;
        cri.crictl(&["rmp", &ids.pod])?;
        cri.nothing_new_since(&before)?;
    }
    Ok(())
}

#[test]
fn a_killed_shim_ends_its_pod_and_no_other() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let before = cri.traces()?;
        let (ids, _) = serving(&cri)?;
        let shims = cri.containerd().processes("containerd-shim-spin-v2");
        let other = cri.pod("other", SPIN, Value::Null)?;
        let image = cri.registry().reference("hello-rust");
        let neighbour = other.start("app", &image, json!({ "command": ["/"] }))?;
        for shim in &shims {
            send_signal(shim.pid, Signal::KILL)?;
        }
        for container in [&ids.app, &ids.sidecar] {
            let exited = || Ok((state(&cri, container)? == "CONTAINER_EXITED").then_some(()));
            wait_until(Duration::from_secs(10), exited).context("it still runs")?;
        }
        assert_eq!(http::get(other.address(80)?, "/")?.status, 200);
        cri.crictl(&["stopp", &ids.pod])?;
        // containerd learns of the sandbox's end from an event, in its own time.
        let removed = || Ok(cri.crictl(&["rmp", &ids.pod]).ok());
        wait_until(Duration::from_secs(20), removed).context("the pod cannot be removed")?;
        neighbour.stop(Duration::from_secs(10))?;
        other.remove()?;
        cri.nothing_new_since(&before)?;
    }
    Ok(())
}

#[test]
fn a_new_binary_cleans_up_after_the_pods_of_the_old_one() -> Result<()> {
    for version in Version::ALL {
        let mut cri = Cri::start(version)?;
        cri.replace_programs()?;
        cri.restart(Signal::TERM)?;
        let before = cri.traces()?;
        let (ids, address) = serving(&cri)?;
        let processes = runtimes(&cri);
        under_load(address, || cri.replace_programs())?;
        let image = cri.registry().reference("hello-rust");
        let young = cri.pod("young", SPIN, Value::Null)?;
        young.start("app", &image, json!({ "command": ["/"] }))?;
        assert_eq!(http::get(young.address(80)?, "/")?.status, 200);
        young.remove()?;
        goes_on_and_ends(&cri, &ids, &processes)?;
        cri.nothing_new_since(&before)?;
    }
    Ok(())
}
