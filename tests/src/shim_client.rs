//! One shim that no containerd has started: its daemon, a client of its Task service,
//! and the events it publishes.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::api::{Empty, ShutdownRequest};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_sync::{Client, Events, TaskClient, create_events};
use containerd_shim_protos::ttrpc::{self, Server, TtrpcContext, context};
use fs_err as fs;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::leak_check::groups_named;
use crate::process::{Seen, output_of, processes_of, send_signal, wait_until};
use crate::workspace::images;

/// The containerd namespace that these shims are told.
pub const NAMESPACE: &str = "spinlet-test-calls";

/// Where a shim is told that it is.
#[derive(Debug, Clone)]
pub struct Node {
    /// The containerd namespace.
    pub namespace: String,
    /// The socket of the containerd that knows its images.
    pub containerd: PathBuf,
    /// Our own state directory.
    pub state: PathBuf,
}

impl Node {
    /// Without a containerd.
    fn without_containerd(folder: &Path) -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            containerd: folder.join("containerd.sock"),
            state: folder.join("state"),
        }
    }
}

/// A shim's folder: bundles, sockets, events.
pub struct ShimClient {
    folder: tempfile::TempDir,
    program: PathBuf,
    node: Node,
    /// Where the shim listens.
    socket: PathBuf,
    /// The Task service.
    pub client: TaskClient,
    events: Arc<Mutex<Vec<Event>>>,
    _events: Server,
    /// The reader that shims expect of their log.
    _log: fs::File,
}

/// What a shim has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `/tasks/create` …
    pub topic: String,
    /// The task.
    pub task: String,
    /// Another process in it; empty for the task itself.
    pub process: String,
}

impl Event {
    /// Field 1 of every event is the task; of those that may be about another process
    /// field 2 is that, or for the task itself the task once more.
    fn of(topic: &str, event: &[u8]) -> Self {
        let (task, rest) = field(1, event).unwrap_or_default();
        let tells_process = topic.contains("/exec-") || topic == "/tasks/exit";
        let process = field(2, rest).filter(|_| tells_process).unwrap_or_default().0;
        let process = if process == task { String::new() } else { process };
        Self { topic: topic.to_owned(), task, process }
    }
}

/// The text of a field that begins a message, and what follows it.
fn field(number: u8, message: &[u8]) -> Option<(String, &[u8])> {
    let (&[key, length], rest) = message.split_first_chunk()?;
    // Texts have wire type 2; those of the tests are short.
    let (text, rest) = rest.split_at_checked(length.into()).filter(|_| key == number << 3 | 2)?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
}

struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Events for Recorder {
    fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let event = Event::of(&request.envelope.topic, &request.envelope.event.value);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        Ok(Empty::new())
    }
}

impl ShimClient {
    /// Starts a shim for the bundle of a container `id` that runs `script`.
    ///
    /// # Errors
    /// Fails when the shim does not start.
    pub fn start(program: &Path, id: &str, script: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("spinlet-test-").tempdir()?;
        let node = Node::without_containerd(folder.path());
        make_bundle(folder.path(), id, script)?;
        Self::start_in(folder, program, id, node)
    }

    /// Starts a shim for a container `id` that is never made, on a node with a
    /// containerd.
    ///
    /// # Errors
    /// Fails when the shim does not start.
    pub fn start_on(node: Node, program: &Path, id: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("spinlet-test-").tempdir()?;
        make_bundle(folder.path(), id, "")?;
        Self::start_in(folder, program, id, node)
    }

    fn start_in(folder: tempfile::TempDir, program: &Path, id: &str, node: Node) -> Result<Self> {
        let published = Arc::new(Mutex::new(Vec::new()));
        let socket = format!("unix://{}", folder.path().join("events").display());
        let recorder = Arc::new(Recorder(Arc::clone(&published)));
        let mut events = Server::new().bind(&socket)?.register_service(create_events(recorder));
        events.start()?;
        let log = log_in(&folder.path().join(id))?;
        let answer = folder.path().join("answer");
        let mut start = start_command_on(&node, program, folder.path(), id)?;
        let status = start.stdout(fs::File::create(&answer)?.into_parts().0).status()?;
        ensure!(status.success(), "{} does not start: {status}", program.display());
        let result = BootstrapResult::parse_from_bytes(&fs::read(answer)?)?;
        let client = TaskClient::new(Client::connect(&result.address)?);
        let program = program.to_owned();
        let socket = PathBuf::from(result.address.trim_start_matches("unix://"));
        Ok(Self {
            folder,
            program,
            node,
            socket,
            client,
            events: published,
            _events: events,
            _log: log,
        })
    }

    /// The bundle of a container, which is made if it is new.
    ///
    /// # Errors
    /// Fails when its files cannot be written.
    pub fn bundle(&self, id: &str, script: &str) -> Result<PathBuf> {
        make_bundle(self.folder.path(), id, script)
    }

    /// The bundle of a container whose image is an app: its root filesystem is empty.
    ///
    /// # Errors
    /// Fails when its files cannot be written.
    pub fn app_bundle(&self, id: &str, arguments: &[&str]) -> Result<PathBuf> {
        let rootfs = self.folder.path().join(id).join("rootfs");
        write_bundle(self.folder.path(), id, &rootfs, &program(arguments))
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many events have come; returns all there are.
    pub fn wait_for_events(&self, count: usize) -> Vec<Event> {
        let enough = || Ok((self.events().len() >= count).then_some(()));
        let _ = wait_until(Duration::from_secs(10), enough);
        self.events()
    }

    /// Has a shim without tasks end, as containerd does, and waits until it has.
    ///
    /// # Errors
    /// Fails when it does not within ten seconds.
    pub fn shut_down(self) -> Result<()> {
        let limit = context::with_duration(Duration::from_secs(5));
        // The answer may come too late to be seen.
        let _ = self.client.shutdown(limit, &ShutdownRequest::default());
        let is_shim = |process: &Seen| process.program.starts_with("containerd-shim");
        wait_until(Duration::from_secs(10), || {
            Ok((!processes_of(self.folder.path()).iter().any(is_shim)).then_some(()))
        })
        .context("the shim goes on without a task")
    }

    /// Runs the shim's `delete` for a container.
    ///
    /// # Errors
    /// Fails when that does.
    pub fn clean_up(&self, id: &str) -> Result<()> {
        clean_up_on(&self.node, &self.program, self.folder.path(), id)
    }
}

impl Drop for ShimClient {
    fn drop(&mut self) {
        for process in processes_of(self.folder.path()) {
            if process.program.starts_with("containerd-shim") {
                let _ = send_signal(process.pid, rustix::process::Signal::KILL);
            }
        }
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            if entry.path().join("config.json").exists() {
                let _ = self.clean_up(&entry.file_name().to_string_lossy());
            }
        }
        // runc's shim leaves that to containerd.
        let _ = fs::remove_file(&self.socket);
        // The parent of all is nobody's; the last one takes it along.
        for group in groups_named(NAMESPACE) {
            let _ = fs::remove_dir(group);
        }
    }
}

/// The pipe in a bundle that a shim writes its log to, open for reading.
fn log_in(bundle: &Path) -> Result<fs::File> {
    let path = bundle.join("log");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    Ok(fs::OpenOptions::new().read(true).write(true).open(path)?)
}

/// A `start` of a shim as the newest containerd runs it, in the bundle of `id`.
///
/// # Errors
/// Fails when the parameters cannot be written.
pub fn start_command(program: &Path, folder: &Path, id: &str) -> Result<Command> {
    start_command_on(&Node::without_containerd(folder), program, folder, id)
}

fn start_command_on(node: &Node, program: &Path, folder: &Path, id: &str) -> Result<Command> {
    let parameters = BootstrapParams {
        instance_id: id.to_owned(),
        namespace: node.namespace.clone(),
        containerd_ttrpc_address: folder.join("events").display().to_string(),
        containerd_grpc_address: node.containerd.display().to_string(),
        containerd_binary: "/bin/true".to_owned(),
        ..BootstrapParams::default()
    };
    let input = folder.join("parameters");
    fs::write(&input, parameters.write_to_bytes()?)?;
    let mut command = shim_command(node, program, folder, id);
    command.arg("start").current_dir(folder.join(id));
    command.stdin(fs::File::open(&input)?.into_parts().0).stdout(Stdio::null());
    Ok(command)
}

/// Runs a shim's `delete` as containerd does when the shim is gone.
///
/// # Errors
/// Fails when the program does.
pub fn clean_up(program: &Path, folder: &Path, id: &str) -> Result<()> {
    clean_up_on(&Node::without_containerd(folder), program, folder, id)
}

fn clean_up_on(node: &Node, program: &Path, folder: &Path, id: &str) -> Result<()> {
    let mut command = shim_command(node, program, folder, id);
    let bundle = folder.join(id);
    command.arg("-bundle").arg(&bundle).arg("delete").current_dir(&bundle);
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "delete of {id} fails: {said}");
    Ok(())
}

fn shim_command(node: &Node, program: &Path, folder: &Path, id: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-namespace", &node.namespace, "-id", id, "-publish-binary", "/bin/true"])
        .arg("-address")
        .arg(&node.containerd)
        .env("TTRPC_ADDRESS", folder.join("events"))
        .env("SPINLET_STATE_DIR", &node.state);
    command
}

/// Numbers that look random and are the same in each run with one seed.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        // Knuth's MMIX generator; the high bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}

/// Makes the bundle of a container that runs `script` in busybox.
///
/// # Errors
/// Fails when the image is not built or a file cannot be written.
pub fn make_bundle(folder: &Path, id: &str, script: &str) -> Result<PathBuf> {
    let layer = folder.join("layer");
    if !layer.exists() {
        fs::create_dir_all(&layer)?;
        let mut untar = Command::new("tar");
        untar.arg("-xf").arg(images()?.join("busybox.tar")).arg("-C").arg(&layer);
        output_of(&mut untar, Duration::from_secs(20))?;
    }
    write_bundle(folder, id, &layer, &process(script))
}

fn write_bundle(folder: &Path, id: &str, rootfs: &Path, process: &Value) -> Result<PathBuf> {
    let bundle = folder.join(id);
    if bundle.join("config.json").exists() {
        return Ok(bundle);
    }
    fs::create_dir_all(bundle.join("rootfs"))?;
    symlink("/nonexistent", bundle.join("work"))?;
    let mut file = fs::File::create(bundle.join("config.json"))?;
    file.write_all(spec(id, rootfs, process).to_string().as_bytes())?;
    Ok(bundle)
}

/// A container with its own namespaces, all others of this machine's.
fn spec(id: &str, rootfs: &Path, process: &Value) -> Value {
    let kinds = ["pid", "ipc", "uts", "mount", "network"];
    json!({
        "ociVersion": "1.0.2",
        "annotations": { "io.kubernetes.cri.sandbox-id": "calls" },
        "process": process,
        "root": { "path": rootfs },
        "hostname": id,
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
        ],
        "linux": {
            "namespaces": kinds.map(|kind| json!({ "type": kind })),
            "cgroupsPath": format!("/{NAMESPACE}/{}-{id}", std::process::id()),
            "resources": { "devices": [{ "allow": true, "access": "rwm" }] },
        },
    })
}

/// An OCI process that runs a script.
pub fn process(script: &str) -> Value {
    program(&["/bin/sh", "-c", script])
}

/// An OCI process with these arguments.
pub fn program(arguments: &[&str]) -> Value {
    json!({
        "cwd": "/",
        "user": { "uid": 0, "gid": 0 },
        "args": arguments,
        "env": ["PATH=/bin"],
        "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"],
                          "permitted": ["CAP_KILL"] },
    })
}
