//! Pods whose sandbox is the shim's own (`sandboxer = "shim"`), without a pause
//! container: containerd 2 only. What containerd 1.7 and the default do is in
//! `pods`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::Version;
use integration_tests::cri::{Container, Cri, Pod, SPIN_SANDBOX};
use integration_tests::http;
use integration_tests::linux_image::{BUSYBOX, NGINX};
use integration_tests::process::{Running, Seen, free_address, send_signal, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

const SHIM: &str = "containerd-shim-spin-v2";

/// The processes that hold the namespaces of pods.
fn holders(cri: &Cri) -> Vec<Seen> {
    let mut shims = cri.containerd().processes(SHIM);
    shims.retain(|process| process.command_line.contains("hold-namespaces"));
    shims
}

fn app<'c>(pod: &Pod<'c>, image: &str) -> Result<Container<'c>> {
    pod.start("app", image, json!({ "command": ["/"] }))
}

fn shell<'c>(pod: &Pod<'c>, name: &str, more: Value) -> Result<Container<'c>> {
    let mut configuration = json!({ "command": ["top"] });
    if let (Some(base), Value::Object(more)) = (configuration.as_object_mut(), more) {
        base.extend(more);
    }
    pod.start(name, BUSYBOX, configuration)
}

fn said(container: &Container<'_>, command: &[&str]) -> Result<String> {
    let finished = container.exec(command)?;
    ensure!(finished.status.success(), "{command:?}: {}", finished.text());
    Ok(finished.stdout.trim().to_owned())
}

fn is_ready(pod: &Pod<'_>) -> Result<bool> {
    let status = pod.inspect()?;
    Ok(status.pointer("/status/state").and_then(Value::as_str) == Some("SANDBOX_READY"))
}

#[test]
fn an_app_and_its_sidecar_are_a_pod_without_a_pause_container() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("behaviours")?;
    cri.pull(NGINX)?;
    let before = cri.traces()?;
    let pod = cri.pod("own", SPIN_SANDBOX, Value::Null)?;
    ensure!(cri.containerd().task(pod.id())?.is_none(), "there is no task but the containers'");
    assert_eq!(holders(&cri).len(), 1);
    let images = cri.crictl(&["images"])?;
    ensure!(!images.contains("pause"), "{images}");

    let web = json!({ "args": ["nginx", "-c", "/etc/nginx/port-8080.conf", "-g", "daemon off;"] });
    pod.start("web", NGINX, web)?;
    let app = app(&pod, &image)?;
    let address = pod.address(80)?;
    let fetched = || {
        let answer = http::get(address, "/b/fetch?url=http://127.0.0.1:8080/")?;
        Ok((answer.status == 200).then(|| answer.text()))
    };
    assert_eq!(wait_until(Duration::from_secs(10), fetched)?, "a page from the sidecar\n");
    assert_eq!(cri.containerd().processes(SHIM).len(), 2, "one shim, and what it holds");

    http::get(address, "/b/log?lines=3")?;
    wait_until(Duration::from_secs(10), || Ok(app.log()?.contains("F line 2").then_some(())))?;
    let used = app.stats()?;
    ensure!(used.pointer("/memory/workingSetBytes").is_some(), "{used}");
    let of_pod = cri.crictl_json(&["statsp", "-o", "json", "--id", pod.id()])?;
    let of_pod = of_pod.pointer("/stats/0/linux").context("no stats of the pod")?;
    for pointer in ["/cpu/usageCoreNanoSeconds", "/memory/workingSetBytes", "/network"] {
        ensure!(of_pod.pointer(pointer).is_some_and(|value| !value.is_null()), "{of_pod}");
    }
    forwards_a_port(&cri, &pod)?;
    app.stop(Duration::from_secs(10))?;
    assert_eq!(app.ended()?.code, 0);
    pod.remove()?;
    cri.nothing_new_since(&before)
}

fn forwards_a_port(cri: &Cri, pod: &Pod<'_>) -> Result<()> {
    let address = free_address()?;
    let ports = format!("{}:80", address.port());
    let mut command = cri.crictl_command(&["port-forward", pod.id(), &ports]);
    let _forwarding = Running::start(&mut command, &cri.containerd().folder().join("forward"))?;
    let answer = || Ok(http::get(address, "/b/hello").ok());
    let answer = wait_until(Duration::from_secs(10), answer)?;
    assert_eq!(answer.text(), "hello\n");
    Ok(())
}

#[test]
fn containers_share_what_a_pod_shares() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("hello-rust")?;
    cri.pull(BUSYBOX)?;
    let before = cri.traces()?;
    // As the kubelet asks for it: each container has its own processes.
    let own_processes = json!({ "namespace_options": { "pid": 1 } });
    let pod = cri.pod(
        "shared",
        SPIN_SANDBOX,
        json!({
            "hostname": "answering",
            "dns_config": { "servers": ["10.96.0.10"], "searches": ["svc.cluster.local"], "options": ["ndots:5"] },
            "linux": {
                "sysctls": { "net.ipv4.ip_local_port_range": "2000 3000" },
                "security_context": own_processes,
            },
        }),
    )?;
    let own = json!({ "linux": { "security_context": own_processes } });
    let (one, two) = (shell(&pod, "one", own.clone())?, shell(&pod, "two", own)?);
    let app = pod.start(
        "app",
        &image,
        json!({ "command": ["/"], "linux": { "security_context": own_processes } }),
    )?;
    assert_eq!(said(&one, &["hostname"])?, "answering");
    assert_eq!(said(&one, &["cat", "/etc/hostname"])?, "answering");
    ensure!(said(&one, &["cat", "/etc/hosts"])?.contains("localhost"));
    let range = said(&one, &["cat", "/proc/sys/net/ipv4/ip_local_port_range"])?;
    assert_eq!(range.split_whitespace().collect::<Vec<_>>(), ["2000", "3000"]);
    assert_eq!(said(&one, &["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"])?, "0");
    said(&one, &["sh", "-c", "echo shared >/dev/shm/file"])?;
    assert_eq!(said(&two, &["cat", "/dev/shm/file"])?, "shared");

    let resolver = fs::read_to_string(format!("/proc/{}/root/etc/resolv.conf", app.pid()?))?;
    let expected = "search svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
    assert_eq!(resolver, expected);
    let holder = holders(&cri)[0].pid;
    let same = |pid: u32, kind: &str| -> Result<bool> {
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        Ok(of(pid)? == of(holder)?)
    };
    for kind in ["net", "ipc", "uts"] {
        assert!(same(app.pid()?, kind)? && same(one.pid()?, kind)?, "{kind}");
    }
    for kind in ["pid", "mnt"] {
        assert!(!same(app.pid()?, kind)? && !same(one.pid()?, kind)?, "{kind}");
    }
    let status = fs::read_to_string(format!("/proc/{holder}/status"))?;
    for line in ["Uid:\t65535", "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "Threads:\t1"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    pod.remove()?;
    cri.nothing_new_since(&before)
}

#[test]
fn shared_processes_are_reaped_and_the_nodes_namespaces_can_be_had() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("hello-rust")?;
    cri.pull(BUSYBOX)?;
    let before = cri.traces()?;
    let options = json!({ "security_context": { "namespace_options": { "pid": 0 } } });
    let pod = cri.pod("processes", SPIN_SANDBOX, json!({ "linux": options }))?;
    let shell_one = shell(&pod, "shell", json!({ "linux": options }))?;
    pod.start("app", &image, json!({ "command": ["/"], "linux": options }))?;
    let seen = said(&shell_one, &["ps"])?;
    assert!(seen.contains("spinlet-runtime") && seen.contains("spinlet-pod"), "{seen}");
    // Orphans become children of the first process, which nobody else waits for.
    said(&shell_one, &["sh", "-c", "for i in 1 2 3; do (sleep 0.1 &); done"])?;
    let reaped = || Ok((!said(&shell_one, &["ps"])?.contains("sleep")).then_some(()));
    wait_until(Duration::from_secs(10), reaped).context("orphans stay")?;
    pod.remove()?;

    let node = json!({ "security_context": { "namespace_options": { "network": 2, "pid": 2, "ipc": 2 } } });
    let pod = cri.pod("node", SPIN_SANDBOX, json!({ "linux": node }))?;
    let address = free_address()?;
    pod.start(
        "app",
        &image,
        json!({
            "command": ["/"], "linux": node,
            "envs": [{ "key": "SPIN_HTTP_LISTEN_ADDR", "value": address.to_string() }],
        }),
    )?;
    assert_eq!(http::get(address, "/")?.text(), "Hello from Rust!\n");
    pod.remove()?;
    cri.nothing_new_since(&before)
}

#[test]
fn a_restart_of_containerd_leaves_the_pod_as_it_was() -> Result<()> {
    let mut cri = Cri::start(Version::V2)?;
    let image = cri.app("hello-rust")?;
    cri.pull(BUSYBOX)?;
    let before = cri.traces()?;
    let dns = json!({ "dns_config": { "servers": ["10.96.0.10"] } });
    let pod = cri.pod("lasting", SPIN_SANDBOX, dns)?;
    let (id, address) = (pod.id().to_owned(), pod.address(80)?);
    app(&pod, &image)?;
    let file = cri.containerd().folder().join("pod-lasting.json").display().to_string();
    drop(pod);
    let before_restart = (holders(&cri), cri.containerd().processes("spinlet-runtime"));
    for signal in [Signal::TERM, Signal::KILL] {
        cri.restart(signal)?;
        assert_eq!(http::get(address, "/")?.status, 200);
        let now = (holders(&cri), cri.containerd().processes("spinlet-runtime"));
        assert_eq!(now, before_restart, "{signal:?}");
        let status = cri.crictl_json(&["inspectp", "-o", "json", &id])?;
        assert_eq!(status.pointer("/status/state").and_then(Value::as_str), Some("SANDBOX_READY"));
    }
    // Whatever is started anew in it has the files of the pod as well.
    let container = cri.containerd().folder().join("late.json");
    let configuration = json!({
        "metadata": { "name": "late" }, "image": { "image": BUSYBOX }, "command": ["top"],
    });
    fs::write(&container, configuration.to_string())?;
    let container = container.display().to_string();
    let late = cri.crictl(&["create", &id, &container, &file])?;
    cri.crictl(&["start", late.trim()])?;
    let resolver = cri.crictl(&["exec", "--sync", late.trim(), "cat", "/etc/resolv.conf"])?;
    assert_eq!(resolver.trim(), "nameserver 10.96.0.10");
    cri.crictl(&["stopp", &id])?;
    cri.crictl(&["rmp", &id])?;
    cri.nothing_new_since(&before)
}

#[test]
fn a_pod_whose_parts_are_killed_is_told_and_removed() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("hello-rust")?;
    let before = cri.traces()?;
    let pod = cri.pod("holder", SPIN_SANDBOX, Value::Null)?;
    app(&pod, &image)?;
    send_signal(holders(&cri)[0].pid, Signal::KILL)?;
    let told = || Ok((!is_ready(&pod)?).then_some(()));
    wait_until(Duration::from_secs(10), told).context("the pod still counts as ready")?;
    pod.remove()?;
    cri.nothing_new_since(&before)?;

    let pod = cri.pod("shim", SPIN_SANDBOX, Value::Null)?;
    let app = app(&pod, &image)?;
    for shim in cri.containerd().processes(SHIM) {
        if !shim.command_line.contains("hold-namespaces") {
            send_signal(shim.pid, Signal::KILL)?;
        }
    }
    let ended = app.ended()?;
    assert_ne!(ended.code, 0);
    wait_until(Duration::from_secs(10), || Ok((!is_ready(&pod)?).then_some(())))
        .context("the pod still counts as ready")?;
    pod.stop()?;
    let id = pod.id().to_owned();
    let removed = || Ok(cri.crictl(&["rmp", &id]).ok());
    wait_until(Duration::from_secs(20), removed).context("the pod cannot be removed")?;
    cri.nothing_new_since(&before)
}

#[test]
fn a_sandbox_that_cannot_be_made_leaves_nothing() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let before = cri.traces()?;
    let wrong = json!({ "linux": { "sysctls": { "net.no.such.parameter": "1" } } });
    let error =
        cri.pod("wrong", SPIN_SANDBOX, wrong).err().context("there is no such parameter")?;
    let error = format!("{error:#}");
    assert!(error.contains("net/no/such/parameter"), "{error}");
    cri.nothing_new_since(&before)
}
