//! Ordinary Linux images as tasks under our runtime class, as sidecars and the
//! container that holds a pod's namespaces are.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on ends where it is"
)]

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::{Containerd, RUNTIME, Version};
use integration_tests::leak_check::Traces;
use integration_tests::linux_image::push_busybox;
use integration_tests::on_every_containerd;
use integration_tests::process::{Finished, finish, send_signal, wait_until};
use integration_tests::registry::Registry;
use rustix::process::Signal;

on_every_containerd!(
    exit_codes_and_output_are_exact,
    a_program_that_is_not_there_is_named,
    another_process_runs_in_the_container_and_ends_before_it,
    what_is_sent_to_the_input_arrives_and_its_end_too,
    a_terminal_is_a_terminal,
    signals_reach_the_program,
    a_paused_container_stands_still,
    a_kill_for_want_of_memory_is_told_at_once_and_is_the_reason_of_the_exit,
    limits_can_be_changed_and_use_is_measured,
    twenty_starts_at_once_all_end_with_their_own_codes,
    containers_of_a_pod_share_one_shim_and_its_pause_costs_no_runtime,
    a_killed_shim_takes_its_containers_along,
    a_restart_of_containerd_loses_nothing,
);

const WHOLE_LIFE: [&str; 4] = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];

/// busybox in a registry, pulled by a containerd.
struct Pulled {
    containerd: Containerd,
    image: String,
    _registry: Registry,
}

impl Pulled {
    fn new(version: Version) -> Result<Self> {
        let containerd = Containerd::start(version)?;
        let registry = Registry::start()?;
        let image = push_busybox(&registry)?;
        containerd.pull(&image)?;
        Ok(Self { containerd, image, _registry: registry })
    }

    fn ctr_run(&self, id: &str, options: &[&str], script: &str) -> Command {
        let fifos = self.containerd.folder().join("fifos").display().to_string();
        let mut command = self.containerd.ctr_command(&["run", "--fifo-dir", &fifos]);
        command.args(["--runtime", RUNTIME]).args(options).arg(&self.image);
        command.args([id, "sh", "-c", script]);
        command
    }

    /// Runs a script to its end; the container is gone then.
    fn script(&self, id: &str, script: &str) -> Result<Finished> {
        finish(&mut self.ctr_run(id, &["--rm"], script), Duration::from_mins(1))
    }

    /// Starts a script that goes on.
    fn start(&self, id: &str, options: &[&str], script: &str) -> Result<u32> {
        let options = [&["-d"], options].concat();
        let finished = finish(&mut self.ctr_run(id, &options, script), Duration::from_mins(1))?;
        ensure!(finished.status.success(), "{}\n{}", finished.text(), self.containerd.log());
        Ok(self.containerd.task(id)?.context("no task")?.pid)
    }

    /// Executes a script in a container.
    fn exec(&self, id: &str, exec_id: &str, script: &str) -> Result<Finished> {
        let fifos = self.containerd.folder().join("fifos").display().to_string();
        let arguments =
            ["task", "exec", "--fifo-dir", &fifos, "--exec-id", exec_id, id, "sh", "-c", script];
        self.containerd.try_ctr(&arguments)
    }
}

fn code(finished: &Finished) -> i32 {
    finished.status.code().unwrap_or(-1)
}

fn exit_codes_and_output_are_exact(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let events = setup.containerd.record_events()?;
    let spoken = setup.script("spoken", "echo out; echo err >&2")?;
    assert_eq!((code(&spoken), spoken.stdout.as_str()), (0, "out\n"), "{}", spoken.text());
    assert!(spoken.stderr.ends_with("err\n"), "{}", spoken.stderr);
    for (expected, script) in [(3, "exit 3"), (255, "exit 255"), (137, "exit 137")] {
        let ended = setup.script(&format!("code-{expected}"), script)?;
        assert_eq!(code(&ended), expected, "{}", ended.text());
    }
    assert_eq!(events.topics(16)?, WHOLE_LIFE.repeat(4));
    drop(events);
    before.nothing_new(&setup.containerd)
}

fn a_program_that_is_not_there_is_named(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let arguments = ["run", "--rm", "--runtime", RUNTIME, &setup.image, "missing", "/bin/missing"];
    let finished = setup.containerd.try_ctr(&arguments)?;
    ensure!(!finished.status.success(), "it runs");
    ensure!(finished.text().contains("/bin/missing"), "{}", finished.text());
    setup.containerd.try_ctr(&["container", "delete", "missing"])?;
    before.nothing_new(&setup.containerd)
}

fn another_process_runs_in_the_container_and_ends_before_it(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let events = setup.containerd.record_events()?;
    setup.start("app", &[], "sleep 1000")?;
    let said = setup.exec("app", "e1", "echo hello; echo oops >&2; exit 7")?;
    assert_eq!((code(&said), said.stdout.as_str()), (7, "hello\n"), "{}", said.text());
    assert!(said.stderr.contains("oops"), "{}", said.stderr);
    for number in 0..5 {
        assert_eq!(code(&setup.exec("app", &format!("x{number}"), "exit 5")?), 5);
    }
    let missing = setup.containerd.try_ctr(&["task", "exec", "--exec-id", "m", "app", "/none"])?;
    ensure!(!missing.status.success() && missing.text().contains("/none"), "{}", missing.text());

    let left = thread::scope(|scope| {
        let waiting = scope.spawn(|| setup.exec("app", "left", "sleep 1000"));
        let listed = || {
            let list = setup.containerd.ctr(&["task", "ps", "app"])?;
            Ok(list.contains("left").then_some(()))
        };
        wait_until(Duration::from_secs(10), listed).context("the process is not listed")?;
        setup.containerd.ctr(&["task", "kill", "-s", "SIGKILL", "app"])?;
        waiting.join().expect("no panic")
    })?;
    assert_eq!(code(&left), 137, "{}", left.text());
    setup.containerd.wait_for_stop("app")?;
    assert_eq!(setup.containerd.delete("app")?, 137);
    let exits = events.of_tasks().into_iter().filter(|(topic, _)| topic == "/tasks/exit");
    let ids: Vec<String> = exits.map(|(_, event)| event["id"].to_string()).collect();
    assert_eq!(ids[ids.len() - 2..], ["\"left\"", "\"app\""], "{ids:?}");
    drop(events);
    before.nothing_new(&setup.containerd)
}

fn what_is_sent_to_the_input_arrives_and_its_end_too(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let text = "a line\n".repeat(50_000);
    let file = setup.containerd.folder().join("input");
    fs::write(&file, &text)?;
    let mut command = setup.ctr_run("reader", &["--rm"], "wc -c; echo end");
    let output = command.stdin(Stdio::from(fs::File::open(&file)?.into_parts().0)).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("{}\nend\n", text.len()), "{output:?}");
    before.nothing_new(&setup.containerd)
}

fn a_terminal_is_a_terminal(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    // `script` gives ctr the terminal that it asks for.
    let on_terminal = |inner: &Command| {
        let words = [inner.get_program()].into_iter().chain(inner.get_args());
        let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let mut outer = Command::new("script");
        outer.args(["-qec", &line.join(" "), "/dev/null"]);
        outer
    };
    let run = setup.ctr_run("tty", &["--rm", "-t"], "tty; stty size; exit 4");
    let finished = finish(&mut on_terminal(&run), Duration::from_mins(1))?;
    assert!(finished.stdout.contains("/dev/pts/"), "{}", finished.text());
    assert_eq!(code(&finished), 4);

    setup.start("app", &[], "sleep 1000")?;
    let fifos = setup.containerd.folder().join("fifos").display().to_string();
    let arguments = ["task", "exec", "-t", "--fifo-dir", &fifos, "--exec-id", "e", "app", "tty"];
    let exec = setup.containerd.ctr_command(&arguments);
    let finished = finish(&mut on_terminal(&exec), Duration::from_mins(1))?;
    assert!(finished.stdout.contains("/dev/pts/"), "{}", finished.text());
    assert_eq!(setup.containerd.stop("app", "SIGKILL")?, 137);
    before.nothing_new(&setup.containerd)
}

fn signals_reach_the_program(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    // 34 has no name: it is the first of the C library's real-time signals.
    for (signal, trapped) in [("SIGTERM", "TERM"), ("SIGUSR1", "USR1"), ("34", "34")] {
        let script = format!("trap 'exit 9' {trapped}; while :; do sleep 0.1; done");
        setup.start("app", &[], &script)?;
        thread::sleep(Duration::from_millis(300));
        assert_eq!(setup.containerd.stop("app", signal)?, 9, "{signal}");
    }
    let created = setup.start("app", &[], "sleep 1000")?;
    ensure!(created > 0, "no process");
    assert_eq!(setup.containerd.stop("app", "SIGKILL")?, 137);
    before.nothing_new(&setup.containerd)
}

fn a_paused_container_stands_still(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let log = setup.containerd.folder().join("ticks");
    let uri = format!("file://{}", log.display());
    setup.start("app", &["--log-uri", &uri], "while :; do echo tick; sleep 0.05; done")?;
    let ticks = || fs::metadata(&log).map_or(0, |file| file.len());
    let ticking = |since| move || Ok((ticks() > since).then_some(()));
    wait_until(Duration::from_secs(10), ticking(0))?;
    setup.containerd.ctr(&["task", "pause", "app"])?;
    assert_eq!(setup.containerd.task("app")?.context("no task")?.status, "PAUSED");
    let paused = ticks();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(ticks(), paused);
    setup.containerd.ctr(&["task", "resume", "app"])?;
    wait_until(Duration::from_secs(10), ticking(paused))?;
    setup.containerd.ctr(&["task", "pause", "app"])?;
    assert_eq!(setup.containerd.stop("app", "SIGKILL")?, 137);
    before.nothing_new(&setup.containerd)
}

fn a_kill_for_want_of_memory_is_told_at_once_and_is_the_reason_of_the_exit(
    version: Version,
) -> Result<()> {
    const GREEDY: &str = "x=a; while :; do x=$x$x; done";
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let limit = ["--memory-limit", "33554432"];
    let events = setup.containerd.record_events()?;
    setup.start("parent", &limit, &format!("sh -c '{GREEDY}'; sleep 1000"))?;
    assert_eq!(events.topics(3)?, ["/tasks/create", "/tasks/start", "/tasks/oom"]);
    assert_eq!(setup.containerd.task("parent")?.context("no task")?.status, "RUNNING");
    assert_eq!(setup.containerd.stop("parent", "SIGKILL")?, 137);
    drop(events);

    fs::remove_file(setup.containerd.folder().join("events"))?;
    let events = setup.containerd.record_events()?;
    setup.start("greedy", &limit, &format!("exec sh -c '{GREEDY}'"))?;
    setup.containerd.wait_for_stop("greedy")?;
    let topics = events.topics(4)?;
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/oom", "/tasks/exit"]);
    // What newer releases of containerd look at to tell the reason.
    let metrics = setup.containerd.ctr(&["task", "metrics", "--format", "json", "greedy"])?;
    ensure!(metrics.contains("oom_kill"), "{metrics}");
    assert_eq!(setup.containerd.delete("greedy")?, 137);
    drop(events);
    before.nothing_new(&setup.containerd)
}

fn limits_can_be_changed_and_use_is_measured(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let pid = setup.start("app", &["--memory-limit", "67108864"], "while :; do :; done")?;
    thread::sleep(Duration::from_millis(500));
    let metrics = setup.containerd.ctr(&["task", "metrics", "--format", "json", "app"])?;
    ensure!(metrics.contains("67108864"), "{metrics}");
    ensure!(metrics.contains("cpu"), "{metrics}");
    let pids = setup.containerd.ctr(&["task", "ps", "app"])?;
    ensure!(pids.contains(&pid.to_string()), "{pids}");
    assert_eq!(setup.containerd.stop("app", "SIGKILL")?, 137);
    before.nothing_new(&setup.containerd)
}

fn twenty_starts_at_once_all_end_with_their_own_codes(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let setup = &setup;
    let codes: Vec<Result<i32>> = thread::scope(|scope| {
        let run = |number: i32| {
            let ended = setup.script(&format!("c{number}"), &format!("exit {number}"))?;
            ensure!(code(&ended) == number, "{}", ended.text());
            Ok(number)
        };
        let starts: Vec<_> = (0..20).map(|number| scope.spawn(move || run(number))).collect();
        starts.into_iter().map(|start| start.join().expect("no panic")).collect()
    });
    let codes: Vec<i32> = codes.into_iter().collect::<Result<_>>()?;
    assert_eq!(codes, (0..20).collect::<Vec<_>>());
    before.nothing_new(&setup.containerd)
}

fn containers_of_a_pod_share_one_shim_and_its_pause_costs_no_runtime(
    version: Version,
) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let pod = ["--annotation", "io.kubernetes.cri.sandbox-id=pod"];
    let sandbox =
        [&pod[..], &["--annotation", "io.kubernetes.cri.container-type=sandbox"]].concat();
    setup.start("pod", &sandbox, "sleep 1000")?;
    setup.start("sidecar", &pod, "sleep 1000")?;
    assert_eq!(setup.containerd.processes("containerd-shim-spin-v2").len(), 1);
    for id in ["pod", "sidecar"] {
        let bundle = &setup.containerd.bundle_folders()[1];
        let phases = fs::read_to_string(bundle.join(id).join("phases.json"))?;
        ensure!(!phases.contains("spawn"), "a runtime was started for {id}: {phases}");
    }
    // Either may go first.
    assert_eq!(setup.containerd.stop("pod", "SIGKILL")?, 137);
    assert_eq!(setup.containerd.task("sidecar")?.context("no task")?.status, "RUNNING");
    assert_eq!(code(&setup.exec("sidecar", "e", "exit 3")?), 3);
    assert_eq!(setup.containerd.stop("sidecar", "SIGKILL")?, 137);
    before.nothing_new(&setup.containerd)
}

fn a_killed_shim_takes_its_containers_along(version: Version) -> Result<()> {
    let setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let events = setup.containerd.record_events()?;
    let pid = setup.start("app", &[], "sleep 1000")?;
    for shim in setup.containerd.processes("containerd-shim-spin-v2") {
        send_signal(shim.pid, Signal::KILL)?;
    }
    let gone = || Ok((!fs::exists(format!("/proc/{pid}/ns"))?).then_some(()));
    wait_until(Duration::from_secs(5), gone).context("the container outlives its shim")?;
    assert_eq!(events.topics(4)?, WHOLE_LIFE);
    drop(events);
    setup.containerd.try_ctr(&["task", "delete", "app"])?;
    setup.containerd.ctr(&["container", "delete", "app"])?;
    before.nothing_new(&setup.containerd)?;
    assert_eq!(code(&setup.script("app", "exit 3")?), 3, "the name is free again");
    Ok(())
}

fn a_restart_of_containerd_loses_nothing(version: Version) -> Result<()> {
    let mut setup = Pulled::new(version)?;
    let before = Traces::now(&setup.containerd)?;
    let pid = setup.start("app", &[], "trap 'exit 6' TERM; while :; do sleep 0.1; done")?;
    for signal in [Signal::TERM, Signal::KILL] {
        setup.containerd.restart(signal)?;
        let task = setup.containerd.task("app")?.context("the task is gone")?;
        assert_eq!((task.status.as_str(), task.pid), ("RUNNING", pid), "after {signal:?}");
        let number = signal.as_raw();
        assert_eq!(code(&setup.exec("app", &format!("e{number}"), "exit 8")?), 8);
    }
    assert_eq!(setup.containerd.stop("app", "SIGTERM")?, 6);
    before.nothing_new(&setup.containerd)
}
