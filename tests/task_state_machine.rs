//! Random sequences of Task calls to our shim and to runc's: what can be observed
//! (results, states, exit codes, events and their order) is the same, of a Linux
//! container and of an app beside a program that ends as the app does.
//!
//! `SPINLET_TEST_SEQUENCES` makes it more than the usual number of sequences,
//! `SPINLET_TEST_SEED` starts with another than the first. A difference is reported
//! with its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use containerd_shim_protos::api::{
    CloseIORequest, ConnectRequest, CreateTaskRequest, DeleteRequest, ExecProcessRequest,
    KillRequest, PauseRequest, PidsRequest, ResizePtyRequest, ResumeRequest, ShutdownRequest,
    StartRequest, StateRequest, StatsRequest, Status, UpdateTaskRequest, WaitRequest,
};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::{self, context};
use fs_err as fs;
use integration_tests::containerd::{Containerd, RUNTIME, Version};
use integration_tests::process::wait_until;
use integration_tests::registry::Registry;
use integration_tests::shim_client::{Node, Random, ShimClient, program};
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::{guest, programs, require_root, tool};

const SEQUENCES: u64 = 20;
const CALLS: usize = 30;

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
const SIGUSR1: u32 = 10;

/// What runs in the two tasks, and what is executed in them.
#[derive(Debug, Clone, Copy)]
struct Cast {
    /// Goes on until it is told to end.
    patient: &'static [&'static str],
    /// Ends at once.
    short: &'static [&'static str],
    /// Executed: goes on.
    patient_exec: &'static [&'static str],
    /// Executed: ends at once.
    short_exec: &'static [&'static str],
    /// Whether the tasks are apps.
    apps: bool,
}

const SCRIPTS: Cast = Cast {
    patient: &["/bin/sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.02; done"],
    short: &["/bin/sh", "-c", "exit 3"],
    patient_exec: &["/bin/sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.02; done"],
    short_exec: &["/bin/sh", "-c", "exit 3"],
    apps: false,
};

/// An HTTP app that drains, and a program that fails; what can be executed in an app.
const APPS: Cast = Cast {
    patient: &["/"],
    short: &["return", "1"],
    patient_exec: &["sleep", "1000"],
    short_exec: &["false"],
    apps: true,
};

/// Scripts that do what the apps do.
const LIKE_APPS: Cast = Cast {
    patient: &["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done"],
    short: &["/bin/sh", "-c", "exit 1"],
    apps: false,
    ..APPS
};

/// A task or another process in it; an empty second name is the task's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Subject(&'static str, &'static str);

const TASKS: [&str; 2] = ["a", "b"];
const PROCESSES: [&str; 3] = ["", "x", "y"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Create(&'static str),
    /// Of a process that goes on, or not.
    Exec(Subject, bool),
    Start(Subject),
    Kill(Subject, u32, bool),
    Wait(Subject),
    State(Subject),
    Delete(Subject),
    Pause(&'static str),
    Resume(&'static str),
    Update(&'static str),
    Stats(&'static str),
    Pids(&'static str),
    Connect(&'static str),
    CloseInput(Subject),
    Resize(Subject),
    Shutdown,
}

/// The calls of one sequence; those that move a task on are the most frequent.
fn sequence(seed: u64) -> Vec<Call> {
    let mut random = Random(seed);
    let mut pick = move |limit: usize| random.below(limit);
    let call = |_| {
        let task = if pick(4) == 0 { TASKS[1] } else { TASKS[0] };
        let other = Subject(task, if pick(3) == 0 { PROCESSES[2] } else { PROCESSES[1] });
        let subject = if pick(3) == 0 { other } else { Subject(task, "") };
        match pick(28) {
            0..=3 => Call::Create(task),
            4..=6 => Call::Exec(other, pick(2) != 0),
            7..=11 => Call::Start(subject),
            12 => Call::Kill(subject, SIGKILL, false),
            13 => Call::Kill(subject, SIGTERM, false),
            14 => Call::Kill(Subject(task, ""), SIGKILL, true),
            15 => Call::Kill(subject, 0, false),
            16 => Call::Wait(subject),
            17 => Call::State(subject),
            18..=19 => Call::Delete(subject),
            20 => Call::Pause(task),
            21 => Call::Resume(task),
            22 => Call::Update(task),
            23 => Call::Stats(task),
            24 => Call::Pids(task),
            25 => Call::Connect(task),
            26 => {
                if pick(2) == 0 {
                    Call::CloseInput(subject)
                } else {
                    Call::Resize(subject)
                }
            }
            _ => {
                if pick(2) == 0 {
                    Call::Kill(subject, SIGUSR1, false)
                } else {
                    Call::Shutdown
                }
            }
        }
    };
    (0..CALLS).map(call).collect()
}

/// One shim while a sequence runs.
struct Side {
    shim: ShimClient,
    cast: Cast,
    /// First processes by subject, once there are any.
    pids: BTreeMap<Subject, u32>,
    /// The processes that go on until they are told to end.
    patient: BTreeSet<Subject>,
}

fn limit() -> context::Context {
    context::with_duration(Duration::from_secs(30))
}

/// What a call came to, in words that are compared.
type Outcome = Result<String, ttrpc::Error>;

impl Side {
    fn new(contestant: &Contestant) -> Result<Self> {
        // The bundle that starts the shim is of a container that is never made.
        let shim = match &contestant.node {
            Some(node) => ShimClient::start_on(node.clone(), &contestant.program, "first")?,
            None => ShimClient::start(&contestant.program, "first", "")?,
        };
        let patient = BTreeSet::from([Subject(TASKS[0], "")]);
        Ok(Self { shim, cast: contestant.cast, pids: BTreeMap::new(), patient })
    }

    fn perform(&mut self, call: Call) -> Result<Outcome> {
        Ok(match call {
            Call::Create(task) => self.create(task)?,
            Call::Exec(subject, patient) => self.exec(subject, patient),
            Call::Start(subject) => self.start(subject)?,
            Call::Kill(subject, signal, all) => self.kill(subject, signal, all),
            Call::Wait(subject) => self.wait(subject),
            Call::State(subject) => self.state(subject).map(|(_, said)| said),
            Call::Delete(subject) => self.delete(subject),
            Call::Pids(task) => self.includes_its_first_process(task),
            Call::Connect(task) => self.connect(task),
            Call::Stats(task) => self.stats(task),
            Call::Update(task) => self.update(task),
            Call::Pause(task) => {
                let request = PauseRequest { id: task.to_owned(), ..PauseRequest::default() };
                self.shim.client.pause(limit(), &request).map(|_| String::new())
            }
            Call::Resume(task) => {
                let request = ResumeRequest { id: task.to_owned(), ..ResumeRequest::default() };
                self.shim.client.resume(limit(), &request).map(|_| String::new())
            }
            Call::CloseInput(Subject(task, process)) => {
                let request = CloseIORequest {
                    id: task.to_owned(),
                    exec_id: process.to_owned(),
                    stdin: true,
                    ..CloseIORequest::default()
                };
                self.shim.client.close_io(limit(), &request).map(|_| String::new())
            }
            Call::Resize(Subject(task, process)) => {
                let request = ResizePtyRequest {
                    id: task.to_owned(),
                    exec_id: process.to_owned(),
                    width: 80,
                    height: 25,
                    ..ResizePtyRequest::default()
                };
                self.shim.client.resize_pty(limit(), &request).map(|_| String::new())
            }
            Call::Shutdown => {
                // Without a task it would be the end.
                if !self.pids.keys().any(|subject| subject.1.is_empty()) {
                    return Ok(Ok("left out".to_owned()));
                }
                let request = ShutdownRequest::default();
                self.shim.client.shutdown(limit(), &request).map(|_| String::new())
            }
        })
    }

    fn create(&mut self, task: &'static str) -> Result<Outcome> {
        let arguments = if task == TASKS[0] { self.cast.patient } else { self.cast.short };
        let bundle = if self.cast.apps {
            self.shim.app_bundle(task, arguments)?
        } else {
            self.shim.bundle(task, arguments.last().context("no script")?)?
        };
        let bundle = bundle.display().to_string();
        let request =
            CreateTaskRequest { id: task.to_owned(), bundle, ..CreateTaskRequest::default() };
        Ok(self.shim.client.create(limit(), &request).map(|response| {
            self.pids.insert(Subject(task, ""), response.pid);
            format!("has a process: {}", response.pid != 0)
        }))
    }

    fn exec(&mut self, subject: Subject, patient: bool) -> Outcome {
        let Subject(task, id) = subject;
        let arguments = if patient { self.cast.patient_exec } else { self.cast.short_exec };
        let value = program(arguments).to_string().into_bytes();
        let type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
        let request = ExecProcessRequest {
            id: task.to_owned(),
            exec_id: id.to_owned(),
            spec: MessageField::some(Any { type_url, value, ..Any::default() }),
            ..ExecProcessRequest::default()
        };
        self.shim.client.exec(limit(), &request).map(|_| {
            if patient {
                self.patient.insert(subject);
            } else {
                self.patient.remove(&subject);
            }
            String::new()
        })
    }

    /// Returns when the process has got so far that the next call finds it as it
    /// will be: waiting for signals, or ended.
    fn start(&mut self, subject: Subject) -> Result<Outcome> {
        let Subject(task, id) = subject;
        // That the task has ended and that there is no such process are both true, and which of
        // them runc's shim says is left to chance.
        let has_ended = matches!(self.state(Subject(task, "")), Ok((Status::STOPPED, _)));
        if has_ended && !id.is_empty() && self.state(subject).is_err() {
            return Ok(Ok("left out".to_owned()));
        }
        let request =
            StartRequest { id: task.to_owned(), exec_id: id.to_owned(), ..StartRequest::default() };
        let started = match self.shim.client.start(limit(), &request) {
            Ok(started) => started,
            Err(error) => return Ok(Err(error)),
        };
        if !id.is_empty() {
            self.pids.insert(subject, started.pid);
        }
        let pid = self.pids.get(&subject).copied().context("started without a process")?;
        ensure!(pid == started.pid, "{subject:?} is {pid} and then {}", started.pid);
        if !self.patient.contains(&subject) || !is_itself(pid)? {
            let _ = self.ended(subject);
        }
        Ok(Ok(String::new()))
    }

    /// Returns when what the signal ends has ended.
    fn kill(&self, subject: Subject, signal: u32, all: bool) -> Outcome {
        let Subject(task, id) = subject;
        // A process that is not started does with a signal what its runtime does, and
        // whether all of none are reached depends on the runtime's release.
        let state = self.state(subject).map(|(state, _)| state);
        if matches!(state, Ok(Status::CREATED)) && signal != SIGKILL
            || matches!(state, Ok(Status::STOPPED)) && all
        {
            return Ok("left out".to_owned());
        }
        // It is delivered when the task goes on.
        let of_task = self.state(Subject(task, "")).map(|(state, _)| state);
        if matches!(of_task, Ok(Status::PAUSED)) && (signal != SIGKILL || !id.is_empty()) {
            return Ok("left out".to_owned());
        }
        // A signal that is not caught ends another process than the first of all.
        let ends = match signal {
            SIGKILL | SIGTERM => true,
            SIGUSR1 => !id.is_empty(),
            _ => false,
        };
        let request = KillRequest {
            id: task.to_owned(),
            exec_id: id.to_owned(),
            signal,
            all,
            ..KillRequest::default()
        };
        let killed = self.shim.client.kill(limit(), &request);
        if killed.is_ok() && ends {
            let with_it = self.pids.keys().filter(|other| id.is_empty() && other.0 == task);
            for subject in with_it.chain([&subject]) {
                let _ = self.ended(*subject);
            }
        }
        killed.map(|_| String::new())
    }

    /// Only of what has ended: otherwise there is no end to wait for.
    fn wait(&self, subject: Subject) -> Outcome {
        match self.state(subject) {
            Ok((Status::STOPPED, _)) | Err(_) => self.ended(subject),
            Ok(_) => Ok("left out".to_owned()),
        }
    }

    fn ended(&self, Subject(task, id): Subject) -> Outcome {
        let request =
            WaitRequest { id: task.to_owned(), exec_id: id.to_owned(), ..WaitRequest::default() };
        let ended = self.shim.client.wait(limit(), &request)?;
        Ok(format!("{} at a time: {}", ended.exit_status, ended.exited_at.is_some()))
    }

    fn state(&self, Subject(task, id): Subject) -> Result<(Status, String), ttrpc::Error> {
        let request =
            StateRequest { id: task.to_owned(), exec_id: id.to_owned(), ..StateRequest::default() };
        let response = self.shim.client.state(limit(), &request)?;
        let status = response.status.enum_value_or_default();
        let said = format!(
            "{status:?} {} of {:?}/{:?}, terminal {}",
            response.exit_status, response.id, response.exec_id, response.terminal
        );
        Ok((status, said))
    }

    fn delete(&mut self, subject: Subject) -> Outcome {
        let Subject(task, id) = subject;
        // Of a process that never ran runc's shim says 0, ours how it was ended.
        let never_ran = matches!(self.state(subject), Ok((Status::CREATED, _)));
        let request = DeleteRequest {
            id: task.to_owned(),
            exec_id: id.to_owned(),
            ..DeleteRequest::default()
        };
        self.shim.client.delete(limit(), &request).map(|deleted| {
            self.pids.retain(|known, _| *known != subject && (!id.is_empty() || known.0 != task));
            if never_ran { String::new() } else { deleted.exit_status.to_string() }
        })
    }

    /// Not of a task that has ended: ours keeps its process in the list, because
    /// containerd takes a shim without any for one that it may end.
    fn includes_its_first_process(&self, task: &'static str) -> Outcome {
        if matches!(self.state(Subject(task, "")), Ok((Status::STOPPED, _))) {
            return Ok("left out".to_owned());
        }
        let request = PidsRequest { id: task.to_owned(), ..PidsRequest::default() };
        let listed = self.shim.client.pids(limit(), &request)?;
        let first = self.pids.get(&Subject(task, ""));
        let included = listed.processes.iter().any(|process| Some(&process.pid) == first);
        Ok(format!("the first is among them: {included}"))
    }

    fn connect(&self, task: &'static str) -> Outcome {
        let request = ConnectRequest { id: task.to_owned(), ..ConnectRequest::default() };
        let connected = self.shim.client.connect(limit(), &request)?;
        let known = self.pids.get(&Subject(task, "")).copied().unwrap_or(0);
        Ok(format!("the process of the task: {}", connected.task_pid == known))
    }

    fn stats(&self, task: &'static str) -> Outcome {
        let request = StatsRequest { id: task.to_owned(), ..StatsRequest::default() };
        let stats = self.shim.client.stats(limit(), &request)?;
        Ok(stats.stats.type_url.clone())
    }

    fn update(&self, task: &'static str) -> Outcome {
        let request = UpdateTaskRequest {
            id: task.to_owned(),
            resources: MessageField::some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
                    .to_owned(),
                value: br#"{"cpu":{"shares":512}}"#.to_vec(),
                ..Any::default()
            }),
            ..UpdateTaskRequest::default()
        };
        self.shim.client.update(limit(), &request).map(|_| String::new())
    }

    /// Ends and deletes whatever there is.
    fn finish(&mut self) -> Result<()> {
        for task in TASKS {
            let request = ResumeRequest { id: task.to_owned(), ..ResumeRequest::default() };
            let _ = self.shim.client.resume(limit(), &request);
            let _ = self.kill(Subject(task, ""), SIGKILL, true);
            let _ = self.delete(Subject(task, ""));
        }
        ensure!(self.pids.is_empty(), "left: {:?}", self.pids.keys());
        Ok(())
    }
}

/// Waits until a process that was started is what it was to become, and takes signals
/// as that does; false if it has ended instead.
fn is_itself(pid: u32) -> Result<bool> {
    wait_until(Duration::from_secs(10), || {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            return Ok(Some(false));
        };
        let value =
            |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        if value("State:").is_some_and(|state| state.starts_with(['Z', 'X'])) {
            return Ok(Some(false));
        }
        let caught = value("SigCgt:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
        let catches = caught.is_some_and(|mask| mask & (1 << (SIGTERM - 1)) != 0);
        // Before it is that it is the OCI runtime, which catches all signals. An app that is
        // started serves.
        let is_itself = match value("Name:") {
            Some("sh") => catches,
            Some("sleep") => !catches,
            Some("spinlet-runtime") => true,
            _ => false,
        };
        Ok(is_itself.then_some(true))
    })
    .with_context(|| format!("process {pid} neither waits for signals nor ends"))
}

/// What a sequence came to.
#[derive(PartialEq, Eq)]
struct Report {
    calls: Vec<(Call, String)>,
    /// The topics of each subject's events: between subjects there is no order.
    events: BTreeMap<(String, String), Vec<String>>,
}

/// Whose shim performs what.
struct Contestant {
    program: PathBuf,
    cast: Cast,
    node: Option<Node>,
}

fn run(contestant: &Contestant, calls: &[Call]) -> Result<Report> {
    let mut side = Side::new(contestant)?;
    let mut report = Report { calls: Vec::new(), events: BTreeMap::new() };
    for call in calls {
        let outcome =
            side.perform(*call).with_context(|| format!("{call:?} after {:?}", report.calls))?;
        let said = match outcome {
            Ok(said) => format!("done {said}"),
            Err(ttrpc::Error::RpcStatus(status)) => format!("{:?}", status.code()),
            Err(error) => bail!("{call:?}: {error} after {:?}", report.calls),
        };
        report.calls.push((*call, said));
    }
    side.finish().with_context(|| format!("after {:?}", report.calls))?;
    // The last events are told after what they are about was asked for.
    let ends = |topic: &str| {
        side.shim
            .events()
            .iter()
            .filter(|event| event.topic == topic && event.process.is_empty())
            .count()
    };
    let all = || {
        let made = ends("/tasks/create");
        Ok((ends("/tasks/exit") == made && ends("/tasks/delete") == made).then_some(()))
    };
    wait_until(Duration::from_secs(10), all).context("not every end is told")?;
    for event in side.shim.events() {
        report.events.entry((event.task, event.process)).or_default().push(event.topic);
    }
    side.shim.shut_down()?;
    Ok(report)
}

/// Checks the order of a shim's events against what containerd wants: of a task
/// create, start, exit, delete, of another process added, started, exit.
fn check_order(report: &Report) -> Result<()> {
    for (subject, topics) in &report.events {
        let mut before = "";
        for topic in topics.iter().map(|topic| topic.trim_start_matches("/tasks/")) {
            let follows: &[&str] = match topic {
                "create" => &["", "delete"],
                "exec-added" => &["", "exec-added", "exit"],
                "start" => &["create"],
                "exec-started" => &["exec-added"],
                "paused" => &["start", "resumed"],
                "resumed" => &["paused"],
                "exit" => &["create", "start", "paused", "resumed", "exec-started"],
                "delete" => &["exit"],
                _ => &[],
            };
            ensure!(follows.contains(&before), "{subject:?}: {topic} after {before:?}: {topics:?}");
            before = topic;
        }
    }
    Ok(())
}

/// Whether two results say the same. For a task in the wrong state runc's shim has
/// only the code that says nothing.
fn agree(ours: &str, runcs: &str) -> bool {
    let refused = ["FAILED_PRECONDITION", "ALREADY_EXISTS", "NOT_FOUND"];
    ours == runcs || runcs == "UNKNOWN" && refused.contains(&ours)
}

/// The sequence with what differs marked; none if nothing does.
fn difference(ours: &Report, runcs: &Report) -> Option<String> {
    // In what order runc's shim tells an end and what follows at once is left to chance,
    // and it takes the removal of a cgroup for a want of memory at times.
    let events = |report: &Report| {
        let mut events = report.events.clone();
        for topics in events.values_mut() {
            topics.retain(|topic| topic != "/tasks/oom");
            topics.sort_unstable();
        }
        events
    };
    let (our_events, runcs_events) = (events(ours), events(runcs));
    let mut different = our_events != runcs_events;
    let mut lines = Vec::new();
    for ((call, ours), (_, runcs)) in ours.calls.iter().zip(&runcs.calls) {
        if agree(ours, runcs) {
            lines.push(format!("  {call:?}: {ours}"));
        } else {
            lines.push(format!("! {call:?}: {ours}, runc's: {runcs}"));
            different = true;
        }
    }
    if our_events != runcs_events {
        lines.push(format!("! {our_events:?}\n  runc's: {runcs_events:?}"));
    }
    different.then(|| lines.join("\n"))
}

#[test]
fn our_shim_does_what_runcs_shim_does() -> Result<()> {
    require_root()?;
    let program = programs()?.join("containerd-shim-spin-v2");
    println!("{}", compare(&Contestant { program, cast: SCRIPTS, node: None }, SCRIPTS)?);
    Ok(())
}

#[test]
fn an_app_does_what_a_program_under_runcs_shim_does() -> Result<()> {
    let containerd = Containerd::start(Version::V2)?;
    let registry = Registry::start()?;
    for (task, name) in TASKS.into_iter().zip(["hello-rust", "command"]) {
        let image = registry.reference(name);
        Spinlet::new()?.run(&["push", &guest(name)?.display().to_string(), &image])?;
        containerd.pull(&image)?;
        containerd.ctr(&["container", "create", "--runtime", RUNTIME, &image, task, "/"])?;
    }
    let node = Node {
        namespace: containerd.namespace().to_owned(),
        containerd: containerd.folder().join("containerd.sock"),
        state: containerd.state(),
    };
    let program = programs()?.join("containerd-shim-spin-v2");
    println!("{}", compare(&Contestant { program, cast: APPS, node: Some(node) }, LIKE_APPS)?);
    Ok(())
}

/// Performs sequences with our shim and, by another cast, with runc's; tells how many.
/// One comparison at a time: they have the same names for their containers.
fn compare(ours: &Contestant, cast: Cast) -> Result<String> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |name: &str, usual: u64| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is not a number: {text}")),
        Err(_) => Ok(usual),
    };
    let (first, count) =
        (number("SPINLET_TEST_SEED", 1)?, number("SPINLET_TEST_SEQUENCES", SEQUENCES)?);
    let program = tool("containerd-2")?.join("containerd-shim-runc-v2");
    let runcs = Contestant { program, cast, node: None };
    let mut different = Vec::new();
    for seed in first..first + count {
        let calls = sequence(seed);
        let (ours, runcs) = (run(ours, &calls)?, run(&runcs, &calls)?);
        check_order(&ours).with_context(|| format!("seed {seed}"))?;
        different.extend(difference(&ours, &runcs).map(|text| format!("seed {seed}\n{text}")));
    }
    ensure!(different.is_empty(), "{}", different.join("\n\n"));
    Ok(format!("{count} sequences of {CALLS} calls from seed {first} on"))
}
