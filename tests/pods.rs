//! Pods through CRI, as the kubelet makes them: under runc, to know that the
//! machine can do it, and under our handler.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends where it is"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::Version;
use integration_tests::cri::{Cri, Pod, RUNC, SPIN};
use integration_tests::http;
use integration_tests::linux_image::{BUSYBOX, NGINX};
use integration_tests::on_every_containerd;
use integration_tests::process::{free_address, wait_until};
use integration_tests::workspace::system_program;
use serde_json::{Value, json};

/// How often an app is probed.
const PROBES: u32 = 50;

on_every_containerd!(
    a_linux_pod_serves_and_leaves_nothing_under_runc,
    a_linux_pod_serves_and_leaves_nothing,
    an_app_serves_over_the_bridge_and_in_the_hosts_network,
    a_pod_has_its_names_its_resolver_and_its_kernel_parameters,
    the_containers_of_a_pod_may_share_their_processes,
    an_app_talks_to_the_sidecar_of_its_pod,
    an_app_keeps_its_data_in_the_redis_beside_it,
    an_init_container_prepares_a_volume_for_the_app,
    a_command_in_an_app_is_answered_or_gets_the_documented_sentence,
    pods_of_both_handlers_stand_side_by_side,
    twenty_pods_start_at_once,
);

fn a_linux_pod_serves_and_leaves_nothing_under_runc(version: Version) -> Result<()> {
    a_linux_pod_comes_and_goes(&Cri::start(version)?, RUNC)
}

fn a_linux_pod_serves_and_leaves_nothing(version: Version) -> Result<()> {
    a_linux_pod_comes_and_goes(&Cri::start(version)?, SPIN)
}

fn a_linux_pod_comes_and_goes(cri: &Cri, handler: &str) -> Result<()> {
    cri.pull(NGINX)?;
    let before = cri.traces()?;
    let pod = cri.pod("web", handler, Value::Null)?;
    let web = pod.start("nginx", NGINX, Value::Null)?;
    let address = pod.address(80)?;
    // A program of Linux listens some time after its start.
    let page = wait_until(Duration::from_secs(10), || Ok(http::get(address, "/").ok()))?;
    assert_eq!((page.status, page.text().as_str()), (200, "a page from the sidecar\n"));
    let said = web.exec(&["cat", "/www/index.html"])?;
    ensure!(said.stdout.trim_end() == page.text().trim_end(), "{}", said.text());
    web.stop(Duration::from_secs(10))?;
    assert_eq!(web.ended()?.code, 0);
    pod.remove()?;
    cri.nothing_new_since(&before)
}

/// An app that listens where it is told, in a pod's own network or the host's.
fn listening(address: SocketAddr) -> Value {
    json!({ "envs": [{ "key": "SPIN_HTTP_LISTEN_ADDR", "value": address.to_string() }] })
}

fn app_in(pod: &Pod<'_>, image: &str) -> Result<SocketAddr> {
    pod.start("app", image, json!({ "command": ["/"] }))?;
    pod.address(80)
}

fn an_app_serves_over_the_bridge_and_in_the_hosts_network(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    let image = cri.app("hello-rust")?;
    let before = cri.traces()?;

    let pod = cri.pod("bridge", SPIN, Value::Null)?;
    let address = app_in(&pod, &image)?;
    assert_eq!(http::get(address, "/")?.text(), "Hello from Rust!\n");

    let network = json!({ "security_context": { "namespace_options": { "network": 2 } } });
    let host = cri.pod("host", SPIN, json!({ "linux": network }))?;
    let address = free_address()?;
    let mut container = listening(address);
    container["command"] = json!(["/"]);
    container["linux"] = network;
    let app = host.start("app", &image, container)?;
    assert_eq!(http::get(address, "/")?.text(), "Hello from Rust!\n");

    app.stop(Duration::from_secs(10))?;
    let ended = app.ended()?;
    assert_eq!((ended.code, ended.reason.as_str()), (0, "Completed"));
    app.remove()?;
    host.remove()?;
    pod.remove()?;
    cri.nothing_new_since(&before)
}

fn a_pod_has_its_names_its_resolver_and_its_kernel_parameters(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    let image = cri.app("hello-rust")?;
    cri.pull(BUSYBOX)?;
    let pod = cri.pod(
        "names",
        SPIN,
        json!({
            "hostname": "answering",
            "dns_config": { "servers": ["10.96.0.10"], "searches": ["svc.cluster.local"], "options": ["ndots:5"] },
            "linux": { "sysctls": { "net.ipv4.ip_local_port_range": "2000 3000" } },
        }),
    )?;
    let shell = pod.start("shell", BUSYBOX, json!({ "command": ["top"] }))?;
    let app = pod.start("app", &image, json!({ "command": ["/"] }))?;

    let said =
        |command: &[&str]| Ok::<_, anyhow::Error>(shell.exec(command)?.stdout.trim().to_owned());
    assert_eq!(said(&["hostname"])?, "answering");
    let ports = said(&["cat", "/proc/sys/net/ipv4/ip_local_port_range"])?;
    assert_eq!(ports.split_whitespace().collect::<Vec<_>>(), ["2000", "3000"]);

    let pid = app.pid()?;
    let resolver = fs::read_to_string(format!("/proc/{pid}/root/etc/resolv.conf"))?;
    for line in ["nameserver 10.96.0.10", "search svc.cluster.local", "options ndots:5"] {
        assert!(resolver.contains(line), "{line} in {resolver}");
    }
    let same = |kind: &str| -> Result<bool> {
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        Ok(of(pid)? == of(shell.pid()?)?)
    };
    for kind in ["net", "ipc", "uts"] {
        assert!(same(kind)?, "the containers of a pod have one {kind} namespace");
    }
    assert!(!same("mnt")?, "each container has its own mounts");
    pod.remove()
}

fn the_containers_of_a_pod_may_share_their_processes(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    let image = cri.app("hello-rust")?;
    cri.pull(BUSYBOX)?;
    let before = cri.traces()?;
    for (name, mode, shared) in [("shared", 0, true), ("own", 1, false)] {
        let options = json!({ "security_context": { "namespace_options": { "pid": mode } } });
        let pod = cri.pod(name, SPIN, json!({ "linux": options }))?;
        let app = pod.start("app", &image, json!({ "command": ["/"], "linux": options }))?;
        let shell = pod.start("shell", BUSYBOX, json!({ "command": ["top"], "linux": options }))?;
        let seen = shell.exec(&["ps"])?.stdout;
        assert_eq!(seen.contains("spinlet-runtime"), shared, "{name}: {seen}");
        let numbers = app.process_status("NSpid")?;
        let number = numbers.split(' ').next_back().context("no number")?;
        assert_eq!(number != "1", shared, "{name}: {numbers}");
        // The first process of a shared namespace is the pause container's: the
        // app's end is not the pod's.
        app.stop(Duration::from_secs(10))?;
        assert_eq!(app.ended()?.code, 0);
        assert!(shell.exec(&["true"])?.status.success(), "{name}");
        pod.remove()?;
    }
    cri.nothing_new_since(&before)
}

fn an_app_talks_to_the_sidecar_of_its_pod(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    let image = cri.app("behaviours")?;
    cri.pull(NGINX)?;
    let before = cri.traces()?;
    let pod = cri.pod("sidecar", SPIN, Value::Null)?;
    let web = json!({ "args": ["nginx", "-c", "/etc/nginx/port-8080.conf", "-g", "daemon off;"] });
    let sidecar = pod.start("web", NGINX, web)?;
    let address = app_in(&pod, &image)?;
    let fetched = || {
        let answer = http::get(address, "/b/fetch?url=http://127.0.0.1:8080/")?;
        Ok((answer.status == 200).then(|| answer.text()))
    };
    assert_eq!(wait_until(Duration::from_secs(10), fetched)?, "a page from the sidecar\n");
    // One shim serves the whole pod.
    assert_eq!(cri.containerd().processes("containerd-shim-spin-v2").len(), 1);
    sidecar.stop(Duration::from_secs(10))?;
    assert_eq!(http::get(address, "/b/hello")?.text(), "hello\n", "the app goes on without it");
    pod.remove()?;
    cri.nothing_new_since(&before)
}

fn an_app_keeps_its_data_in_the_redis_beside_it(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    let image = cri.app("servers")?;
    cri.pull(BUSYBOX)?;
    let before = cri.traces()?;
    let pod = cri.pod("redis", SPIN, Value::Null)?;
    // The machine's own Redis, with the libraries it needs, in a container of its own.
    let server = system_program("redis-server")?.display().to_string();
    let folders = ["/usr", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists());
    let mount = |path| json!({ "container_path": path, "host_path": path, "readonly": true });
    let redis = json!({
        "command": [server, "--bind", "127.0.0.1", "--port", "6379", "--save", ""],
        "mounts": folders.map(mount).collect::<Vec<_>>(),
    });
    let redis = pod.start("redis", BUSYBOX, redis)?;
    let address = app_in(&pod, &image)?;
    let ask = |command: &[&str]| -> Result<String> {
        let body = [&["redis://127.0.0.1:6379"], command].concat().join("\n");
        let answer = http::request(address, "POST", "/redis", &[], body.as_bytes())?;
        ensure!(answer.status == 200, "{command:?}: {}", answer.text());
        Ok(answer.text())
    };
    let up = || Ok(ask(&["set", "key", "kept"]).ok());
    wait_until(Duration::from_secs(10), up).context("redis is not reached")?;
    assert_eq!(ask(&["get", "key"])?.trim(), "kept");
    redis.stop(Duration::from_secs(10))?;
    assert_eq!(redis.ended()?.code, 0);
    ensure!(ask(&["get", "key"]).is_err(), "there is no other Redis");
    pod.remove()?;
    cri.nothing_new_since(&before)
}

fn an_init_container_prepares_a_volume_for_the_app(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    let image = cri.app("hello-rust")?;
    cri.pull(BUSYBOX)?;
    let volume = cri.containerd().folder().join("volume");
    fs::create_dir(&volume)?;
    let mounts = json!([{ "container_path": "/shared", "host_path": volume }]);
    let pod = cri.pod("init", SPIN, Value::Null)?;
    let script = "echo prepared >/shared/file";
    let first = pod.start(
        "prepare",
        BUSYBOX,
        json!({ "command": ["sh", "-c", script], "mounts": mounts }),
    )?;
    assert_eq!(first.ended()?.code, 0);
    let app = pod.start("app", &image, json!({ "command": ["/"], "mounts": mounts }))?;
    let file = format!("/proc/{}/root/shared/file", app.pid()?);
    assert_eq!(fs::read_to_string(file)?, "prepared\n");
    first.remove()?;
    pod.remove()
}

fn a_command_in_an_app_is_answered_or_gets_the_documented_sentence(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    let image = cri.app("hello-rust")?;
    let before = cri.traces()?;
    let pod = cri.pod("exec", SPIN, Value::Null)?;
    let app = pod.start("app", &image, json!({ "command": ["/"] }))?;
    // A probe asks often, and every time the reader of its output comes when it comes.
    for number in 0..PROBES {
        let answer = app.exec(&["/bin/true"])?;
        ensure!(answer.status.success(), "probe {number}: {}", answer.text());
    }
    // What the probes and hooks of common charts are made of.
    for command in [&["true"] as &[&str], &["/bin/true"], &["sh", "-c", "sleep 1"]] {
        let answer = app.exec(command)?;
        ensure!(answer.status.success(), "{command:?}: {}", answer.text());
    }
    ensure!(!app.exec(&["false"])?.status.success(), "false is no failure");
    let answer = app.exec(&["ls", "/"])?;
    ensure!(!answer.status.success(), "{}", answer.text());
    let said = answer.text();
    assert!(said.contains("neither a shell nor other programs"), "{said}");
    assert!(said.contains("kubectl debug"), "{said}");
    assert_eq!(http::get(pod.address(80)?, "/")?.status, 200, "it goes on");
    pod.remove()?;
    cri.nothing_new_since(&before)
}

fn pods_of_both_handlers_stand_side_by_side(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    cri.pull(BUSYBOX)?;
    let before = cri.traces()?;
    let run = |handler: &str| {
        let pod = cri.pod(&format!("of-{handler}"), handler, Value::Null)?;
        let top = pod.start("top", BUSYBOX, json!({ "command": ["top"] }))?;
        Ok::<_, anyhow::Error>((pod, top))
    };
    for (pod, top) in [run(RUNC)?, run(SPIN)?] {
        let said = top.exec(&["ps"])?;
        assert!(said.stdout.contains("top"), "{}", said.text());
        pod.remove()?;
    }
    cri.nothing_new_since(&before)
}

fn twenty_pods_start_at_once(version: Version) -> Result<()> {
    let cri = Cri::start(version)?;
    let image = cri.app("hello-rust")?;
    let before = cri.traces()?;
    let started: Vec<Result<Pod<'_>>> = thread::scope(|scope| {
        let start = |number: usize| {
            let (cri, image) = (&cri, &image);
            scope.spawn(move || {
                let pod = cri.pod(&format!("pod-{number}"), SPIN, Value::Null)?;
                let address = app_in(&pod, image)?;
                ensure!(http::get(address, "/")?.text() == "Hello from Rust!\n", "{address}");
                Ok(pod)
            })
        };
        let threads: Vec<_> = (0..20).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let pods = started.into_iter().collect::<Result<Vec<_>>>()?;
    let addresses = pods.iter().map(|pod| pod.address(80)).collect::<Result<BTreeSet<_>>>()?;
    assert_eq!(addresses.len(), 20);
    assert_eq!(cri.containerd().processes("containerd-shim-spin-v2").len(), 20);
    for pod in pods {
        pod.remove()?;
    }
    cri.nothing_new_since(&before)
}
