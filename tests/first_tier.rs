//! A node whose administrator has switched the first tier on: apps start on code that
//! is made quickly, and are moved to optimized code while they serve.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;
use integration_tests::code_cache::cache_entries;
use integration_tests::containerd::{Containerd, Version};
use integration_tests::cri::{Cri, SPIN};
use integration_tests::http;
use integration_tests::on_every_containerd;
use integration_tests::process::{free_address, wait_until};
use integration_tests::registry::Registry;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;
use serde_json::{Value, json};

on_every_containerd!(
    an_app_without_privileges_is_moved_to_optimized_code,
    without_the_setting_there_is_one_tier,
);

/// Optimizing the JavaScript engine on a busy machine, by a compiler that is itself not.
const OPTIMIZED: Duration = Duration::from_mins(4);

/// Between two requests of a client, for the compiler: it comes after all else.
const PAUSE: Duration = Duration::from_millis(50);

fn start() -> Result<(Containerd, Registry)> {
    start_on(Version::V2)
}

fn start_on(version: Version) -> Result<(Containerd, Registry)> {
    let containerd = Containerd::start_with_setting(version, "SPINLET_FIRST_TIER", "true")?;
    Ok((containerd, Registry::start()?))
}

fn pulled(containerd: &Containerd, registry: &Registry, name: &str) -> Result<String> {
    let image = registry.reference(name);
    Spinlet::new()?.run(&["push", &guest(name)?.display().to_string(), &image])?;
    containerd.pull(&image)?;
    Ok(image)
}

/// What the shim says of the code of a task's components: the tier by component; null
/// where it is optimized code from the start.
fn code(containerd: &Containerd, id: &str) -> Result<Value> {
    let [_, bundles, ..] = containerd.bundle_folders();
    let text = fs::read_to_string(bundles.join(id).join("phases.json"))?;
    Ok(serde_json::from_str::<Value>(&text)?.get("code").cloned().unwrap_or_default())
}

/// The tier of one component that began on the first; null for others.
fn tier(containerd: &Containerd, id: &str, component: &str) -> Result<Value> {
    Ok(code(containerd, id)?.get(component).cloned().unwrap_or_default())
}

fn wait_until_optimized(containerd: &Containerd, id: &str, component: &str) -> Result<()> {
    let optimized = || Ok((tier(containerd, id, component)? == "optimized").then_some(()));
    wait_until(OPTIMIZED, optimized).with_context(|| containerd.log())
}

/// Asks again and again until told to stop, on connections of its own and on one that
/// stays; how many answers came, all of which were right.
fn ask(address: SocketAddr, expected: &str, stop: &AtomicBool) -> Result<u64> {
    let mut kept = http::Connection::open(address)?;
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let own = http::get(address, "/")?;
        kept.send_head("GET", "/", &[])?;
        for response in [own, kept.response(false)?] {
            ensure!(
                response.status == 200 && response.text() == expected,
                "{} {:?} after {answers} answers",
                response.status,
                response.text()
            );
            answers += 1;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(answers)
}

#[test]
fn no_request_fails_while_optimized_code_takes_the_place_of_the_first_tiers() -> Result<()> {
    let (containerd, registry) = start()?;
    let image = pulled(&containerd, &registry, "hello-javascript")?;
    let address = containerd.run(&image, "app", &[])?;
    ensure!(
        tier(&containerd, "app", "hello-javascript")? == "first",
        "{}",
        code(&containerd, "app")?
    );
    let first = cache_entries(&containerd.state());
    ensure!(first.len() == 1, "{first:?}");
    let expected = http::get(address, "/")?.text();

    let stop = AtomicBool::new(false);
    let (waited, answers) = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..2).map(|_| scope.spawn(|| ask(address, &expected, &stop))).collect();
        let waited = wait_until_optimized(&containerd, "app", "hello-javascript");
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        let answers: Vec<_> =
            clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        (waited, answers)
    });
    waited?;
    for answers in answers {
        let Ok(answers) = answers else { bail!("a client panicked") };
        ensure!(answers? > 10, "too few requests to tell");
    }
    let optimized = cache_entries(&containerd.state());
    ensure!(optimized.len() == 1, "the first tier's code is gone: {optimized:?}");
    ensure!(optimized != first, "{optimized:?}");
    ensure!(containerd.log().contains("optimized code"), "the log does not say so");

    ensure!(containerd.stop("app", "SIGTERM")? == 0, "the app does not drain");
    let address = containerd.run(&image, "again", &[])?;
    ensure!(http::get(address, "/")?.text() == expected, "the app does not answer");
    ensure!(code(&containerd, "again")?.is_null(), "{}", code(&containerd, "again")?);
    ensure!(cache_entries(&containerd.state()) == optimized, "it was compiled again");
    ensure!(containerd.stop("again", "SIGTERM")? == 0, "the app does not drain");
    Ok(())
}

#[test]
fn the_end_of_an_app_ends_the_optimization_and_its_next_start_takes_it_up_again() -> Result<()> {
    let (containerd, registry) = start()?;
    let image = pulled(&containerd, &registry, "hello-javascript")?;
    containerd.run(&image, "app", &[])?;
    let compiles = || Ok((!containerd.processes("spinlet-compiler").is_empty()).then_some(()));
    wait_until(Duration::from_secs(10), compiles).context("nothing is optimized")?;
    let first = cache_entries(&containerd.state());
    containerd.stop("app", "SIGKILL")?;
    let ends = || Ok(containerd.processes("spinlet-compiler").is_empty().then_some(()));
    wait_until(Duration::from_secs(10), ends).context("a compiler is left")?;

    let begun = Instant::now();
    let address = containerd.run(&image, "again", &[])?;
    let started = begun.elapsed();
    ensure!(http::get(address, "/")?.status == 200, "the app does not answer");
    ensure!(
        tier(&containerd, "again", "hello-javascript")? == "first",
        "it did not start on what is there"
    );
    ensure!(cache_entries(&containerd.state()) == first, "it was compiled again in {started:?}");
    wait_until_optimized(&containerd, "again", "hello-javascript")?;
    ensure!(http::get(address, "/")?.status == 200, "the app does not answer");
    containerd.stop("again", "SIGTERM")?;
    Ok(())
}

fn an_app_without_privileges_is_moved_to_optimized_code(version: Version) -> Result<()> {
    let (containerd, registry) = start_on(version)?;
    let image = pulled(&containerd, &registry, "hello-rust")?;
    let metrics = free_address()?;
    let listen = format!("SPINLET_METRICS_LISTEN_ADDR={metrics}");
    let options = ["--user", "1000:1000", "--env", &listen];
    let address = containerd.run(&image, "app", &options)?;
    wait_until_optimized(&containerd, "app", "hello-rust")?;
    let answer = http::get(address, "/")?;
    ensure!(answer.text() == "Hello from Rust!\n", "{}", answer.text());
    let shown = http::get(metrics, "/metrics")?.text();
    let line = "spinlet_component_first_tier{component_id=\"hello-rust\"} 0";
    ensure!(shown.lines().any(|shown| shown == line), "{shown}");
    ensure!(containerd.stop("app", "SIGTERM")? == 0, "the app does not drain");
    Ok(())
}

/// With everything in its way that Kubernetes can put there: another user, another user
/// namespace, no capability, a seccomp profile, a root filesystem that is read-only.
#[test]
fn a_pod_with_little_privileges_is_moved_to_optimized_code() -> Result<()> {
    let cri = Cri::start_with_setting(Version::V2, "SPINLET_FIRST_TIER", "true")?;
    let image = cri.app("hello-rust")?;
    let before = cri.traces()?;
    let ids = json!([{ "host_id": 100_000, "container_id": 0, "length": 65_536 }]);
    let user = json!({ "mode": 0, "uids": ids, "gids": ids });
    let namespaces = json!({ "userns_options": user });
    let of_pod = json!({ "security_context": { "namespace_options": namespaces } });
    let pod = cri.pod("mapped", SPIN, json!({ "linux": of_pod }))?;
    let security = json!({
        "namespace_options": namespaces,
        "run_as_user": { "value": 1000 },
        "run_as_group": { "value": 1000 },
        "readonly_rootfs": true,
        "no_new_privs": true,
        "capabilities": { "drop_capabilities": ["ALL"] },
        "seccomp": { "profile_type": 0 },
    });
    let linux = json!({ "security_context": security });
    let app = pod.start("app", &image, json!({ "command": ["/"], "linux": linux }))?;
    wait_until(OPTIMIZED, || {
        let log = cri.containerd().log();
        ensure!(!log.contains("goes on with code of the first tier"), "{log}");
        Ok(log.contains("it runs on optimized code now").then_some(()))
    })?;
    let answer = http::get(pod.address(80)?, "/")?;
    ensure!(answer.text() == "Hello from Rust!\n", "{}", answer.text());
    app.stop(Duration::from_secs(10))?;
    assert_eq!(app.ended()?.code, 0);
    pod.remove()?;
    cri.nothing_new_since(&before)
}

fn without_the_setting_there_is_one_tier(version: Version) -> Result<()> {
    let containerd = Containerd::start(version)?;
    let registry = Registry::start()?;
    let image = pulled(&containerd, &registry, "hello-rust")?;
    let metrics = free_address()?;
    let listen = format!("SPINLET_METRICS_LISTEN_ADDR={metrics}");
    let address = containerd.run(&image, "app", &["--env", &listen])?;
    ensure!(http::get(address, "/")?.status == 200, "the app does not answer");
    ensure!(code(&containerd, "app")?.is_null(), "{}", code(&containerd, "app")?);
    let folders = fs::read_dir(containerd.state().join("cache"))?.count();
    ensure!(folders == 1, "{folders} folders of code");
    ensure!(cache_entries(&containerd.state()).len() == 1, "one component has one code");
    let shown = http::get(metrics, "/metrics")?.text();
    let tier = shown.lines().find(|line| line.starts_with("spinlet_component_first_tier"));
    ensure!(tier.is_none(), "{tier:?}");
    ensure!(containerd.processes("spinlet-compiler").is_empty(), "a compiler is left");
    ensure!(containerd.stop("app", "SIGTERM")? == 0, "the app does not drain");
    Ok(())
}

#[test]
fn a_setting_that_is_no_switch_fails_the_start_and_is_named() -> Result<()> {
    let containerd = Containerd::start_with_setting(Version::V2, "SPINLET_FIRST_TIER", "fast")?;
    let registry = Registry::start()?;
    let image = pulled(&containerd, &registry, "hello-rust")?;
    let finished = containerd.try_run(&image, "app", &["--net-host"])?;
    ensure!(!finished.status.success(), "it started");
    ensure!(finished.text().contains("SPINLET_FIRST_TIER is \"fast\""), "{}", finished.text());
    Ok(())
}

#[test]
fn spinlet_up_moves_an_app_to_optimized_code_and_says_so() -> Result<()> {
    let spinlet = Spinlet::new()?.with_env("SPINLET_FIRST_TIER", "true");
    let app = guest("hello-rust")?.display().to_string();
    let mut served = spinlet.up(&app, &[])?;
    served.wait_for_output("Compiled, to be optimized later, component hello-rust")?;
    served.wait_for_output("Optimized component hello-rust")?;
    ensure!(served.get("/")?.text() == "Hello from Rust!\n", "the app does not answer");
    served.process().signal(rustix::process::Signal::TERM)?;
    let status = served.process().wait(Duration::from_secs(20))?;
    ensure!(status.success(), "{status}\n{}", served.output());
    let entries = cache_entries(&spinlet.state());
    ensure!(entries.len() == 1, "{entries:?}");
    let found = spinlet.finish(&["compile", &app])?.text();
    ensure!(found.contains("Found optimized code of component hello-rust"), "{found}");
    Ok(())
}
