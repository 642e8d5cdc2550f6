//! The Task service call by call, without a containerd: under many quick ends and
//! sudden deaths.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::api::{
    CreateTaskRequest, DeleteRequest, ExecProcessRequest, StartRequest, WaitRequest,
};
use containerd_shim_protos::bootstrap_api::BootstrapResult;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::shim_sync::{Client, TaskClient};
use containerd_shim_protos::ttrpc::context;
use containerd_shim_protos::types::introspection::RuntimeInfo;
use integration_tests::leak_check::left_by_shims;
use integration_tests::process::{output_of, processes_of, send_signal, wait_until};
use integration_tests::shim_client::{
    NAMESPACE, Random, ShimClient, clean_up, make_bundle, process, start_command,
};
use integration_tests::workspace::{programs, require_root, system_program};
use rustix::process::Signal;
use serde_json::Value;

/// Goes on until it is told to end, which takes it a moment.
const PATIENT: &str = "trap 'exit 7' TERM; while :; do sleep 0.02; done";

/// How many moments a shim is killed at, and where the row of them begins.
const OFFSETS: u32 = 200;
const SEED: u64 = 7;

fn ours() -> Result<PathBuf> {
    Ok(programs()?.join("containerd-shim-spin-v2"))
}

fn limit() -> context::Context {
    context::with_duration(Duration::from_secs(30))
}

#[test]
fn a_thousand_immediate_exits_keep_their_codes() -> Result<()> {
    require_root()?;
    let shim = ShimClient::start(&ours()?, "many", PATIENT)?;
    let create = |id: &str, script: &str| -> Result<()> {
        let bundle = shim.bundle(id, script)?.display().to_string();
        let request =
            CreateTaskRequest { id: id.to_owned(), bundle, ..CreateTaskRequest::default() };
        shim.client.create(limit(), &request)?;
        let request = StartRequest { id: id.to_owned(), ..StartRequest::default() };
        shim.client.start(limit(), &request)?;
        Ok(())
    };
    let end = |id: &str, exec_id: &str| -> Result<u32> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let wait =
            WaitRequest { id: id.clone(), exec_id: exec_id.clone(), ..WaitRequest::default() };
        let waited = shim.client.wait(limit(), &wait)?.exit_status;
        let delete = DeleteRequest { id, exec_id, ..DeleteRequest::default() };
        let deleted = shim.client.delete(limit(), &delete)?.exit_status;
        ensure!(waited == deleted, "{waited} and {deleted}");
        Ok(waited)
    };
    create("many", PATIENT)?;
    let exec = |number: u32| -> Result<()> {
        let (id, exec_id) = ("many".to_owned(), format!("e{number}"));
        let value = process(&format!("exit {}", number % 256)).to_string().into_bytes();
        let request = ExecProcessRequest {
            id: id.clone(),
            exec_id: exec_id.clone(),
            spec: MessageField::some(Any { value, ..Any::default() }),
            ..ExecProcessRequest::default()
        };
        shim.client.exec(limit(), &request)?;
        let request = StartRequest { id, exec_id: exec_id.clone(), ..StartRequest::default() };
        shim.client.start(limit(), &request)?;
        let code = end("many", &exec_id)?;
        ensure!(code == number % 256, "process {number} ended with {code}");
        Ok(())
    };
    let whole = |number: u32| -> Result<()> {
        let id = format!("c{number}");
        create(&id, &format!("exit {}", number % 256))?;
        let code = end(&id, "")?;
        ensure!(code == number % 256, "container {number} ended with {code}");
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..8_u32)
            .map(|worker| {
                scope.spawn(move || {
                    let mut numbers = (worker..1000).step_by(8);
                    // Every tenth is a container of its own.
                    numbers.try_for_each(|n| if n % 10 == 0 { whole(n) } else { exec(n) })
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    // Of each container create, start, exit, delete; of each process added, started, exit.
    let expected = 2 + 100 * 4 + 900 * 3;
    let events = shim.wait_for_events(expected);
    ensure!(events.len() == expected, "{} events instead of {expected}", events.len());
    Ok(())
}

#[test]
fn a_start_that_is_killed_at_any_moment_leaves_nothing() -> Result<()> {
    require_root()?;
    let program = ours()?;
    let folder = tempfile::Builder::new().prefix("spinlet-test-").tempdir()?;
    let mut random = Random(SEED);
    for offset in 0..200 {
        let id = format!("k{offset}");
        make_bundle(folder.path(), &id, PATIENT)?;
        let config = folder.path().join(&id).join("config.json");
        let own_group = fs_err::read_to_string(&config)?.replace("\"calls\"", &format!("\"{id}\""));
        fs_err::write(&config, own_group)?;
        let mut start =
            start_command(&program, folder.path(), &id)?.stderr(Stdio::null()).spawn()?;
        thread::sleep(Duration::from_micros(random.below(20_000) as u64));
        start.kill()?;
        start.wait()?;
        clean_up(&program, folder.path(), &id).with_context(|| format!("after offset {offset}"))?;
    }
    // A daemon that nobody ever called ends by itself.
    let gone = || Ok(processes_of(folder.path()).is_empty().then_some(()));
    wait_until(Duration::from_mins(1), gone).context("shims are left")?;
    for offset in 0..200 {
        let address = folder.path().join(format!("k{offset}")).join("address");
        if let Ok(address) = fs_err::read_to_string(address) {
            let socket = address.trim_start_matches("unix://");
            ensure!(!Path::new(socket).exists(), "{socket} is left");
        }
    }
    Ok(())
}

#[test]
fn a_shim_that_is_killed_at_any_moment_of_a_start_leaves_nothing() -> Result<()> {
    require_root()?;
    let program = ours()?;
    let folder = tempfile::Builder::new().prefix("spinlet-test-").tempdir()?;
    let mut random = Random(SEED);
    println!("{OFFSETS} offsets, seed {SEED}");
    let mut started = 0;
    for offset in 0..OFFSETS {
        let id = format!("d{offset}");
        let bundle = make_bundle(folder.path(), &id, PATIENT)?;
        let config = bundle.join("config.json");
        let own_group = fs_err::read_to_string(&config)?.replace("\"calls\"", &format!("\"{id}\""));
        fs_err::write(&config, own_group)?;
        let delay = Duration::from_micros(random.below(100_000) as u64);
        let reached = thread::scope(|scope| {
            let starting = scope.spawn(|| start_whole(&program, folder.path(), &id));
            thread::sleep(delay);
            for process in processes_of(folder.path()) {
                if process.program.starts_with("containerd-shim") {
                    let _ = send_signal(process.pid, Signal::KILL);
                }
            }
            starting.join()
        });
        if matches!(reached, Ok(Ok(()))) {
            started += 1;
        }
        // One that came into being meanwhile.
        for process in processes_of(folder.path()) {
            if process.program.starts_with("containerd-shim") {
                let _ = send_signal(process.pid, Signal::KILL);
            }
        }
        clean_up(&program, folder.path(), &id).with_context(|| format!("offset {offset}"))?;
    }
    println!("{started} were started before");
    let mut left = Vec::new();
    let gone = wait_until(Duration::from_secs(20), || {
        left = left_by_shims(folder.path(), NAMESPACE)?;
        Ok(left.is_empty().then_some(()))
    });
    gone.with_context(|| format!("this was left behind:\n  {}", left.join("\n  ")))
}

/// A pod may hold Linux containers, so that only what both kinds have may be told.
#[test]
fn what_the_shim_says_it_supports_is_supported_by_the_oci_runtime_too() -> Result<()> {
    let said = Command::new(ours()?).arg("-info").stdin(Stdio::null()).output()?;
    let info = RuntimeInfo::parse_from_bytes(&said.stdout)?;
    let ours: Value = serde_json::from_slice(&info.features.value)?;
    let runc =
        output_of(Command::new(system_program("runc")?).arg("features"), Duration::from_secs(10))?;
    let runc: Value = serde_json::from_str(&runc)?;
    for list in ["/mountOptions", "/linux/namespaces"] {
        let names = |features: &Value| -> Result<Vec<String>> {
            let names = features.pointer(list).with_context(|| format!("no {list}"))?;
            Ok(serde_json::from_value(names.clone())?)
        };
        let theirs = names(&runc)?;
        for name in names(&ours)? {
            ensure!(theirs.contains(&name), "runc has no {name} among {list}");
        }
    }
    for flag in ["cgroup/v1", "cgroup/v2", "seccomp/enabled", "apparmor/enabled", "selinux/enabled"]
    {
        let of = |features: &Value| features.pointer(&format!("/linux/{flag}")).cloned();
        ensure!(of(&ours) == Some(true.into()) && of(&runc) == of(&ours), "{flag}");
    }
    Ok(())
}

/// `start`, Create and Start, as containerd does them; the kill comes somewhere in
/// between.
fn start_whole(program: &Path, folder: &Path, id: &str) -> Result<()> {
    let mut start = start_command(program, folder, id)?;
    let output = start.stdout(Stdio::piped()).stderr(Stdio::null()).output()?;
    ensure!(output.status.success(), "killed");
    let answer = BootstrapResult::parse_from_bytes(&output.stdout)?;
    let client = TaskClient::new(Client::connect(&answer.address)?);
    let bundle = folder.join(id).display().to_string();
    let request = CreateTaskRequest { id: id.to_owned(), bundle, ..CreateTaskRequest::default() };
    client.create(limit(), &request)?;
    client.start(limit(), &StartRequest { id: id.to_owned(), ..StartRequest::default() })?;
    Ok(())
}
