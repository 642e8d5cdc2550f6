//! Spin apps as tasks of a real containerd: from the pull to the last trace.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends where it is"
)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use integration_tests::artifact;
use integration_tests::code_cache::cache_entries;
use integration_tests::containerd::{Containerd, RUNTIME, Version};
use integration_tests::http::{self, Connection};
use integration_tests::leak_check::Traces;
use integration_tests::on_every_containerd;
use integration_tests::process::{free_address, output_of, send_signal, wait_until};
use integration_tests::registry::Registry;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;
use rustix::process::Signal;

on_every_containerd!(
    a_task_goes_through_its_states_and_leaves_nothing,
    a_request_in_flight_is_finished_when_the_task_is_stopped,
    a_killed_runtime_is_an_exit_with_137,
    a_killed_shim_takes_its_task_along,
    a_killed_compiler_leaves_no_half_entry,
    what_is_wrong_is_said_in_one_sentence_by_ctr,
    twenty_starts_at_once_compile_once,
    a_restart_of_containerd_is_not_noticed_by_clients,
    a_task_without_the_host_network_listens_in_its_own,
    the_output_of_a_guest_is_the_output_of_its_task,
    a_paused_task_stands_still,
    what_a_task_of_wasm_cannot_do_is_refused,
);

/// An app in a registry, pulled by a containerd.
struct Pulled {
    containerd: Containerd,
    image: String,
    _registry: Registry,
}

fn pulled(version: Version, name: &str) -> Result<Pulled> {
    let containerd = Containerd::start(version)?;
    let registry = Registry::start()?;
    let image = push(&registry, name)?;
    containerd.pull(&image)?;
    Ok(Pulled { containerd, image, _registry: registry })
}

fn push(registry: &Registry, name: &str) -> Result<String> {
    let image = registry.reference(name);
    Spinlet::new()?.run(&["push", &guest(name)?.display().to_string(), &image])?;
    Ok(image)
}

/// Both versions in one test, so that the large guests are compiled once.
#[test]
fn the_three_hello_apps_run_on_every_containerd() -> Result<()> {
    let state = tempfile::Builder::new().prefix("spinlet-test-state-").tempdir()?;
    let registry = Registry::start()?;
    let apps = [
        ("hello-rust", "Hello from Rust!\n"),
        ("hello-javascript", "Hello from JavaScript!\n"),
        ("hello-python", "Hello from Python!\n"),
    ];
    let images = apps.map(|(name, _)| push(&registry, name));
    for version in Version::ALL {
        let containerd = Containerd::start_with_state(version, Some(state.path()))?;
        for ((name, text), image) in apps.iter().zip(&images) {
            let image = image.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            containerd.pull(image)?;
            let before = Traces::now(&containerd)?;
            let address = containerd.run(image, name, &[])?;
            let response = http::get(address, "/")?;
            assert_eq!((response.status, response.text().as_str()), (200, *text), "{version:?}");
            assert_eq!(containerd.stop(name, "SIGTERM")?, 0, "{name} {version:?}");
            before.nothing_new(&containerd)?;
        }
    }
    Ok(())
}

fn a_task_goes_through_its_states_and_leaves_nothing(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "hello-rust")?;
    let before = Traces::now(&containerd)?;
    let events = containerd.record_events()?;
    let address = containerd.run(&image, "app", &[])?;
    assert_eq!(http::get(address, "/")?.text(), "Hello from Rust!\n");

    let task = containerd.task("app")?.context("no task")?;
    assert_eq!(task.status, "RUNNING");
    let runtimes = containerd.processes("spinlet-runtime");
    assert_eq!(runtimes.iter().map(|p| p.pid).collect::<Vec<_>>(), [task.pid]);
    let pids = containerd.ctr(&["task", "ps", "app"])?;
    assert!(pids.contains(&task.pid.to_string()), "{pids}");
    let metrics = containerd.ctr(&["task", "metrics", "app"])?;
    assert!(metrics.contains("memory") && metrics.contains("cpu"), "{metrics}");

    let running = containerd.try_ctr(&["task", "delete", "app"])?;
    ensure!(!running.status.success(), "a running task can be deleted");
    assert_eq!(containerd.task("app")?.context("no task")?.status, "RUNNING");

    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    ensure!(TcpStream::connect(address).is_err(), "somebody still listens");
    let topics = events.topics(4)?;
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    drop(events);
    before.nothing_new(&containerd)
}

fn a_request_in_flight_is_finished_when_the_task_is_stopped(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "behaviours")?;
    let before = Traces::now(&containerd)?;
    let address = containerd.run(&image, "app", &[])?;
    let request = thread::spawn(move || http::get(address, "/b/sleep?ms=2000"));
    thread::sleep(Duration::from_millis(500));
    containerd.ctr(&["task", "kill", "-s", "SIGTERM", "app"])?;
    thread::sleep(Duration::from_millis(200));
    ensure!(http::get(address, "/b/hello").is_err(), "new requests are still taken");
    let response = request.join().expect("the client does not panic")?;
    assert_eq!((response.status, response.text().as_str()), (200, "slept\n"));
    containerd.wait_for_stop("app")?;
    assert_eq!(containerd.delete("app")?, 0);
    before.nothing_new(&containerd)
}

fn a_killed_runtime_is_an_exit_with_137(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "hello-rust")?;
    let before = Traces::now(&containerd)?;
    let events = containerd.record_events()?;
    containerd.run(&image, "app", &[])?;
    let task = containerd.task("app")?.context("no task")?;
    send_signal(task.pid, Signal::KILL)?;
    assert_eq!(events.topics(3)?, ["/tasks/create", "/tasks/start", "/tasks/exit"]);
    let exit = events.of_tasks().pop().context("no event")?.1;
    assert!(exit.to_string().contains("137"), "{exit}");
    containerd.wait_for_stop("app")?;
    assert_eq!(containerd.delete("app")?, 137);
    drop(events);
    before.nothing_new(&containerd)
}

fn a_killed_shim_takes_its_task_along(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "hello-rust")?;
    let before = Traces::now(&containerd)?;
    let events = containerd.record_events()?;
    let address = containerd.run(&image, "app", &[])?;
    for shim in containerd.processes("containerd-shim-spin-v2") {
        send_signal(shim.pid, Signal::KILL)?;
    }
    let silent = || Ok(TcpStream::connect(address).is_err().then_some(()));
    wait_until(Duration::from_secs(5), silent).context("the app outlives its shim")?;
    // containerd itself says that the task has ended and is deleted.
    let topics = events.topics(4)?;
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    drop(events);
    containerd.try_ctr(&["task", "delete", "app"])?;
    containerd.ctr(&["container", "delete", "app"])?;
    before.nothing_new(&containerd)?;

    // The name is free again and the node is well.
    let address = containerd.run(&image, "app", &[])?;
    assert_eq!(http::get(address, "/")?.status, 200);
    Ok(())
}

fn a_killed_compiler_leaves_no_half_entry(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "hello-javascript")?;
    let before = Traces::now(&containerd)?;
    let listen = format!("SPIN_HTTP_LISTEN_ADDR={}", free_address()?);
    let options = ["--net-host", "--env", &listen];
    let finished = thread::scope(|scope| {
        let start = scope.spawn(|| containerd.try_run(&image, "app", &options));
        let compiler = wait_until(Duration::from_mins(1), || {
            Ok(containerd.processes("spinlet-compiler").first().map(|process| process.pid))
        });
        thread::sleep(Duration::from_millis(300));
        let killed = compiler.and_then(|pid| send_signal(pid, Signal::KILL));
        start.join().expect("starting does not panic").and_then(|finished| {
            killed?;
            Ok(finished)
        })
    })?;
    if finished.status.success() {
        // It was compiled once more.
        containerd.stop("app", "SIGTERM")?;
    } else {
        assert!(finished.stderr.contains("compil"), "{}", finished.stderr);
        containerd.try_ctr(&["container", "delete", "app"])?;
    }
    before.nothing_new(&containerd)?;
    let address = containerd.run(&image, "app", &[])?;
    assert_eq!(http::get(address, "/")?.text(), "Hello from JavaScript!\n");
    Ok(())
}

fn what_is_wrong_is_said_in_one_sentence_by_ctr(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry: registry } = pulled(version, "behaviours")?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.to_string();
    let wasm = b"\0asm\x0d\0\x01\0 this is no component".as_slice();
    let native = b"\x7fELF\x02\x01\x01\0 this is native code".as_slice();
    let app = |code: &[u8]| artifact::locked_app(&artifact::digest(code));
    let by_hand = |name: &str, code: &[u8], app: &str| -> Result<String> {
        let layers = [(artifact::WASM_LAYER, code), (artifact::APP_LAYER, app.as_bytes())];
        let image = artifact::push(&registry, name, &layers)?;
        containerd.pull(&image)?;
        Ok(image)
    };
    let hello = guest("hello-rust")?.join("target/wasm32-wasip1/release/hello_rust.wasm");
    let hello = fs::read(hello)?;
    let mut variable = app(&hello);
    variable["variables"] = serde_json::json!({ "token": {} });
    variable["components"][0]["config"] = serde_json::json!({ "t": "{{ token }}" });
    let mut trigger = app(wasm);
    trigger["triggers"][0]["trigger_type"] = "carrier-pigeon".into();
    let elsewhere = app(b"\0asm some other code").to_string();

    let cases = [
        (image.clone(), format!("SPIN_HTTP_LISTEN_ADDR={port}"), port.as_str()),
        (image.clone(), "SPIN_HTTP_LISTEN_ADDR=nowhere".into(), "SPIN_HTTP_LISTEN_ADDR"),
        (image, "SPIN_MAX_INSTANCE_MEMORY=much".into(), "SPIN_MAX_INSTANCE_MEMORY"),
        (by_hand("garbage", wasm, &app(wasm).to_string())?, "A=1".into(), "app"),
        (by_hand("native", native, &app(native).to_string())?, "A=1".into(), "native"),
        (by_hand("no-app", wasm, "{ this is no JSON")?, "A=1".into(), "locked"),
        (by_hand("variable", &hello, &variable.to_string())?, "A=1".into(), "token"),
        (by_hand("trigger", wasm, &trigger.to_string())?, "A=1".into(), "carrier-pigeon"),
        (by_hand("missing", wasm, &elsewhere)?, "A=1".into(), "sha256:"),
    ];
    let before = Traces::now(&containerd)?;
    for (image, environment, expected) in &cases {
        let listen = format!("SPIN_HTTP_LISTEN_ADDR={}", free_address()?);
        let options = ["--net-host", "--env", &listen, "--env", environment];
        let finished = containerd.try_run(image, "bad", &options)?;
        let said = finished.text();
        ensure!(!finished.status.success(), "{image} with {environment} starts");
        ensure!(said.contains(expected), "{image} with {environment} must say {expected}:\n{said}");
        ensure!(!said.contains("panicked"), "{said}");
        containerd.try_ctr(&["task", "delete", "-f", "bad"])?;
        containerd.try_ctr(&["container", "delete", "bad"])?;
        before.nothing_new(&containerd).with_context(|| format!("{image} {environment}"))?;
    }
    Ok(())
}

fn twenty_starts_at_once_compile_once(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "behaviours")?;
    let before = Traces::now(&containerd)?;
    let done = AtomicBool::new(false);
    let (entries, addresses) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut entries = Vec::new();
            while !done.load(Ordering::Relaxed) {
                for entry in cache_entries(&containerd.state()) {
                    if !entries.contains(&entry) {
                        entries.push(entry);
                    }
                }
                thread::sleep(Duration::from_millis(2));
            }
            entries
        });
        let starts: Vec<_> = (0..20)
            .map(|number| {
                let (containerd, image) = (&containerd, &image);
                scope.spawn(move || containerd.run(image, &format!("app-{number}"), &[]))
            })
            .collect();
        let addresses: Vec<Result<SocketAddr>> =
            starts.into_iter().map(|start| start.join().expect("no panic")).collect();
        done.store(true, Ordering::Relaxed);
        (watch.join().expect("no panic"), addresses)
    });
    for address in addresses {
        assert_eq!(http::get(address?, "/b/hello")?.text(), "hello\n");
    }
    // An entry made a second time would be another file in the same place.
    assert_eq!(entries.len(), 1, "{entries:?}");
    for number in 0..20 {
        assert_eq!(containerd.stop(&format!("app-{number}"), "SIGTERM")?, 0);
    }
    before.nothing_new(&containerd)
}

fn a_restart_of_containerd_is_not_noticed_by_clients(version: Version) -> Result<()> {
    let Pulled { mut containerd, image, _registry } = pulled(version, "hello-rust")?;
    let before = Traces::now(&containerd)?;
    let address = containerd.run(&image, "app", &[])?;
    let pid = containerd.task("app")?.context("no task")?.pid;
    for signal in [Signal::TERM, Signal::KILL] {
        let done = AtomicBool::new(false);
        let (asked, restarted) = thread::scope(|scope| {
            let client = scope.spawn(|| ask_until(&done, address));
            thread::sleep(Duration::from_millis(300));
            let restarted = containerd.restart(signal);
            thread::sleep(Duration::from_millis(500));
            done.store(true, Ordering::Relaxed);
            (client.join().expect("no panic"), restarted)
        });
        restarted?;
        ensure!(asked? > 10, "hardly a request was made");
        let task = containerd.task("app")?.context("the task is gone")?;
        assert_eq!((task.status.as_str(), task.pid), ("RUNNING", pid), "after {signal:?}");
    }
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    before.nothing_new(&containerd)
}

/// Asks again and again on new connections; returns how often, fails with the
/// first request that fails.
fn ask_until(done: &AtomicBool, address: SocketAddr) -> Result<u32> {
    let mut asked = 0;
    while !done.load(Ordering::Relaxed) {
        let response = http::get(address, "/").with_context(|| format!("request {asked}"))?;
        ensure!(response.status == 200, "request {asked}: {response:?}");
        asked += 1;
    }
    Ok(asked)
}

fn a_task_without_the_host_network_listens_in_its_own(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "hello-rust")?;
    let before = Traces::now(&containerd)?;
    let finished = containerd.try_run(&image, "app", &[])?;
    ensure!(finished.status.success(), "{}", finished.text());
    let pid = containerd.task("app")?.context("no task")?.pid;
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net"));
    ensure!(namespace(&pid.to_string())? != namespace("self")?, "it has the host's network");
    let script =
        "ip link set lo up && curl -fsS --retry 3 --retry-connrefused http://127.0.0.1:80/";
    let mut inside = Command::new("nsenter");
    inside.args(["--net", "--target", &pid.to_string(), "sh", "-c", script]);
    assert_eq!(output_of(&mut inside, Duration::from_secs(20))?, "Hello from Rust!\n");
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    before.nothing_new(&containerd)
}

fn the_output_of_a_guest_is_the_output_of_its_task(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "behaviours")?;
    let log = containerd.folder().join("task.log");
    let uri = format!("file://{}", log.display());
    let address = containerd.run(&image, "app", &["--log-uri", &uri])?;
    assert_eq!(http::get(address, "/b/log?lines=3")?.status, 200);
    assert_eq!(http::get(address, "/b/last-words")?.status, 500);
    let serving = format!("Serving http://{address}\nAvailable Routes:\n");
    let expected = [
        serving.as_str(),
        "line 0\n",
        "line 2\n",
        "to standard error",
        "last words without a newline",
    ];
    let complete = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        Ok(expected.iter().all(|part| text.contains(part)).then_some(()))
    };
    wait_until(Duration::from_secs(5), complete)
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    Ok(())
}

fn a_paused_task_stands_still(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "hello-rust")?;
    let before = Traces::now(&containerd)?;
    let address = containerd.run(&image, "app", &[])?;
    containerd.ctr(&["task", "pause", "app"])?;
    assert_eq!(containerd.task("app")?.context("no task")?.status, "PAUSED");
    let mut connection = Connection::open(address)?;
    connection.send_head("GET", "/", &[("connection", "close")])?;
    let waiting = thread::spawn(move || (connection.response(false), Instant::now()));
    thread::sleep(Duration::from_secs(1));
    let resumed = Instant::now();
    containerd.ctr(&["task", "resume", "app"])?;
    let (response, answered) = waiting.join().expect("no panic");
    assert_eq!(response?.text(), "Hello from Rust!\n");
    ensure!(answered > resumed, "a paused task has answered");
    assert_eq!(containerd.task("app")?.context("no task")?.status, "RUNNING");
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    before.nothing_new(&containerd)
}

fn what_a_task_of_wasm_cannot_do_is_refused(version: Version) -> Result<()> {
    let Pulled { containerd, image, _registry } = pulled(version, "hello-rust")?;
    let address = containerd.run(&image, "app", &[])?;
    let exec = containerd.try_ctr(&["task", "exec", "--exec-id", "shell", "app", "/bin/sh"])?;
    ensure!(!exec.status.success(), "there is nothing to execute in a Spin container");
    assert!(exec.text().contains("not implemented"), "{}", exec.text());
    let again = containerd.try_ctr(&["run", "-d", "--runtime", RUNTIME, &image, "app", "/"])?;
    ensure!(!again.status.success(), "a name can be used twice");
    if http::get(address, "/")?.status != 200 {
        bail!("the task has suffered");
    }
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    Ok(())
}
