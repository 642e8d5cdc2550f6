//! A private containerd that finds our shim, and `ctr` for it.

mod cri_configuration;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::leak_check::{
    control_groups, folders_below, groups_named, processes_in_groups, remembered_networks,
};
use crate::process::{
    Finished, Running, Seen, finish, free_address, processes_of, send_signal, wait_until,
};
use crate::workspace::{programs, require_root, tool};

/// The runtime type under which containerd finds our shim.
pub const RUNTIME: &str = "io.containerd.spin.v2";

/// A start may have to compile the largest guest on a busy machine.
const COMMAND: Duration = Duration::from_mins(4);

/// One containerd at a time: the traces on the machine are then a test's own.
static ALONE: Mutex<()> = Mutex::new(());
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A line of containerd's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.7, at least 1.7.7.
    V1_7,
    /// 2.1, the last that older Kubernetes releases came with.
    V2_1,
    /// The newest 2.x.
    V2,
}

impl Version {
    /// Every line that the project is tested with.
    pub const ALL: [Self; 3] = [Self::V1_7, Self::V2_1, Self::V2];

    /// The folder with its programs, as `scripts/prerequisites --locate` knows it.
    pub(crate) fn tool(self) -> &'static str {
        match self {
            Self::V1_7 => "containerd-1.7",
            Self::V2_1 => "containerd-2.1",
            Self::V2 => "containerd-2",
        }
    }
}

/// A test per case and line of containerd: each case is a function that takes the
/// [`Version`].
#[macro_export]
macro_rules! on_every_containerd {
    ($($case:ident),* $(,)?) => {
        mod containerd_1_7 {
            $(#[test] fn $case() -> anyhow::Result<()> {
                super::$case($crate::containerd::Version::V1_7)
            })*
        }
        mod containerd_2_1 {
            $(#[test] fn $case() -> anyhow::Result<()> {
                super::$case($crate::containerd::Version::V2_1)
            })*
        }
        mod containerd_2 {
            $(#[test] fn $case() -> anyhow::Result<()> {
                super::$case($crate::containerd::Version::V2)
            })*
        }
    };
}

/// A running containerd with folders of its own; at the end of the value
/// everything that runs under it ends too.
#[derive(Debug)]
pub struct Containerd {
    process: Option<Running>,
    tools: PathBuf,
    shim: PathBuf,
    state: PathBuf,
    namespace: String,
    cgroup: String,
    /// The registry behind its CRI plugin, if it has one.
    cri: Option<SocketAddr>,
    /// Further variables of its environment, for our shim.
    environment: Vec<(String, String)>,
    /// Whether the handler says where the shim is, instead of `PATH`.
    off_path: bool,
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A line of `ctr task ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Process id of the task.
    pub pid: u32,
    /// `CREATED`, `RUNNING`, `STOPPED` …
    pub status: String,
}

impl Containerd {
    /// Starts a containerd; our state directory is new and empty.
    ///
    /// # Errors
    /// Fails without root, and when a part is missing or does not answer.
    pub fn start(version: Version) -> Result<Self> {
        Self::start_with_state(version, None)
    }

    /// Starts a containerd with a given state directory of ours, so that what
    /// another one compiled is found there.
    ///
    /// # Errors
    /// Fails without root, and when a part is missing or does not answer.
    pub fn start_with_state(version: Version, state: Option<&Path>) -> Result<Self> {
        Self::prepare(state)?.launched(version)
    }

    /// Starts a containerd whose administrator has set a variable for our shim.
    ///
    /// # Errors
    /// Fails without root, and when a part is missing or does not answer.
    pub fn start_with_setting(version: Version, name: &str, value: &str) -> Result<Self> {
        let mut containerd = Self::prepare(None)?;
        containerd.set(&[(name, value)]);
        containerd.launched(version)
    }

    /// Starts a containerd with its CRI plugin; every image reference leads to
    /// the registry at this address. `off_path`: our handler has a `runtime_path`,
    /// and the shim is not on `PATH`.
    ///
    /// # Errors
    /// Fails without root, and when a part is missing or does not answer.
    pub(crate) fn start_with_cri(
        version: Version,
        registry: SocketAddr,
        off_path: bool,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let mut containerd = Self::prepare(None)?;
        containerd.set(settings);
        containerd.namespace = "k8s.io".into();
        containerd.cri = Some(registry);
        containerd.off_path = off_path;
        containerd.launched(version)
    }

    fn prepare(state: Option<&Path>) -> Result<Self> {
        require_root()?;
        let shim = programs()?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::Builder::new().prefix("spinlet-test-").tempdir()?;
        let state = state.map_or_else(|| folder.path().join("spinlet"), Path::to_owned);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("spinlet-test-{}-{number}", std::process::id());
        let cgroup = namespace.clone();
        Ok(Self {
            process: None,
            tools: PathBuf::new(),
            shim,
            state,
            namespace,
            cgroup,
            cri: None,
            environment: Vec::new(),
            off_path: false,
            folder,
            _alone: alone,
        })
    }

    fn set(&mut self, settings: &[(&str, &str)]) {
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        self.environment.extend(settings);
    }

    fn launched(mut self, version: Version) -> Result<Self> {
        self.set_version(version)?;
        self.launch()?;
        Ok(self)
    }

    fn set_version(&mut self, version: Version) -> Result<()> {
        self.tools = tool(version.tool())?;
        let text = match self.cri {
            None => configuration(self.folder()),
            Some(registry) => {
                cri_configuration::write_limits(self.folder(), &self.tools.join("ctr"))?;
                cri_configuration::write_network(self.folder())?;
                cri_configuration::write_registry(self.folder(), registry)?;
                let shim = self.off_path.then(|| self.shim.join("containerd-shim-spin-v2"));
                cri_configuration::text(self.folder(), version, shim.as_deref())
            }
        };
        fs::write(self.folder().join("config.toml"), text)?;
        Ok(())
    }

    fn launch(&mut self) -> Result<()> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let shim = (!self.off_path).then(|| self.shim.clone());
        let own = shim.into_iter().chain([self.tools.clone()]);
        let folders = own.chain(std::env::split_paths(&path));
        let mut command = Command::new(self.tools.join("containerd"));
        command
            .arg("--config")
            .arg(self.folder().join("config.toml"))
            .env("PATH", std::env::join_paths(folders)?)
            .env("SPINLET_STATE_DIR", &self.state)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Running::start(&mut command, &self.log_file())?);
        wait_until(Duration::from_secs(30), || Ok(self.ctr(&["version"]).ok()))
            .with_context(|| format!("containerd does not answer\n{}", self.log()))?;
        Ok(())
    }

    /// Ends containerd with a signal and starts it again; its tasks go on.
    ///
    /// # Errors
    /// Fails when it does not end or not come back.
    pub fn restart(&mut self, signal: Signal) -> Result<()> {
        self.end(signal)?;
        self.launch()
    }

    /// Ends containerd with a signal and starts another version in its place.
    ///
    /// # Errors
    /// Fails when it does not end or the other does not start.
    pub fn upgrade(&mut self, signal: Signal, version: Version) -> Result<()> {
        self.end(signal)?;
        self.set_version(version)?;
        self.launch()
    }

    /// Does something while containerd is away: ended with a signal, and not yet
    /// started again.
    ///
    /// # Errors
    /// Fails when the action does, or when containerd does not come back.
    pub fn away(&mut self, signal: Signal, action: impl FnOnce() -> Result<()>) -> Result<()> {
        self.end(signal)?;
        let acted = action();
        self.launch()?;
        acted
    }

    /// Puts copies of our programs in the place of those that containerd finds,
    /// as an installer does: under another name first, then renamed.
    ///
    /// # Errors
    /// Fails when they cannot be copied.
    pub(crate) fn replace_programs(&mut self) -> Result<()> {
        let folder = self.folder().join("programs");
        fs::create_dir_all(&folder)?;
        let (new, shim) = (folder.join(".new"), folder.join("containerd-shim-spin-v2"));
        fs::copy(programs()?.join("containerd-shim-spin-v2"), &new)?;
        fs::rename(new, shim)?;
        self.shim = folder;
        Ok(())
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(signal)?;
        process.wait(Duration::from_secs(20))?;
        Ok(())
    }

    /// The folder that everything of this containerd is in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Our own state directory.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    /// The containerd namespace of this test.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the control group that the test's containers are below.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// That name, and where containers go that name no control group.
    pub(crate) fn cgroups(&self) -> [&str; 2] {
        [&self.cgroup, &self.namespace]
    }

    /// What containerd has logged.
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder().join("containerd.log")
    }

    /// Where containerd keeps the bundles of this namespace: lasting and volatile
    /// ones of tasks, then those of sandboxes.
    pub fn bundle_folders(&self) -> [PathBuf; 4] {
        let of =
            |kind: &str, plugin: &str| self.folder().join(kind).join(plugin).join(&self.namespace);
        let (tasks, sandboxes) =
            ("io.containerd.runtime.v2.task", "io.containerd.sandbox.controller.v1.shim");
        [of("root", tasks), of("state", tasks), of("root", sandboxes), of("state", sandboxes)]
    }

    /// A command of `ctr`.
    pub fn ctr_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.tools.join("ctr"));
        command.arg("--address").arg(self.folder().join("containerd.sock"));
        command.args(["--namespace", &self.namespace]).args(arguments);
        command
    }

    /// Runs `ctr` to its end, however that is.
    ///
    /// # Errors
    /// Fails when it does not end in time.
    pub fn try_ctr(&self, arguments: &[&str]) -> Result<Finished> {
        finish(&mut self.ctr_command(arguments), COMMAND)
    }

    /// Runs `ctr`, which must succeed; returns its standard output.
    ///
    /// # Errors
    /// Fails when it does not; the error carries what it wrote and the end of
    /// containerd's log.
    pub fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let finished = self.try_ctr(arguments)?;
        let log = self.log();
        let tail: Vec<&str> = log.lines().rev().take(30).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        ensure!(finished.status.success(), "ctr {arguments:?}\n{}\n{tail}", finished.text());
        Ok(finished.stdout)
    }

    /// Pulls an image over plain HTTP.
    ///
    /// # Errors
    /// Fails when containerd cannot have it.
    pub fn pull(&self, image: &str) -> Result<()> {
        self.ctr(&["image", "pull", "--plain-http", image]).map(drop)
    }

    /// Runs an image under our shim, with more options for `ctr run`; however
    /// that ends.
    ///
    /// # Errors
    /// Fails when `ctr` does not end in time.
    pub fn try_run(&self, image: &str, id: &str, options: &[&str]) -> Result<Finished> {
        let fifos = self.folder().join("fifos").display().to_string();
        let mut arguments = vec!["run", "-d", "--fifo-dir", &fifos, "--runtime", RUNTIME];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[image, id, "/"]);
        self.try_ctr(&arguments)
    }

    /// Runs an image in the host's network on a free address, which it listens
    /// on when this returns.
    ///
    /// # Errors
    /// Fails when the start fails.
    pub fn run(&self, image: &str, id: &str, options: &[&str]) -> Result<SocketAddr> {
        let address = free_address()?;
        let listen = format!("SPIN_HTTP_LISTEN_ADDR={address}");
        let mut all = vec!["--net-host", "--env", &listen];
        all.extend_from_slice(options);
        let finished = self.try_run(image, id, &all)?;
        ensure!(finished.status.success(), "{}\n{}", finished.text(), self.log());
        Ok(address)
    }

    /// A task as `ctr task ls` shows it; none when there is no such task.
    ///
    /// # Errors
    /// Fails when containerd does not answer.
    pub fn task(&self, id: &str) -> Result<Option<Task>> {
        let table = self.ctr(&["task", "ls"])?;
        for line in table.lines() {
            if let [name, pid, status] = line.split_whitespace().collect::<Vec<_>>()[..]
                && name == id
            {
                return Ok(Some(Task { pid: pid.parse()?, status: status.into() }));
            }
        }
        Ok(None)
    }

    /// Waits until a task has stopped.
    ///
    /// # Errors
    /// Fails when it does not within 20 seconds.
    pub fn wait_for_stop(&self, id: &str) -> Result<()> {
        let stopped = || {
            let task = self.task(id)?;
            Ok(task.is_none_or(|task| task.status == "STOPPED").then_some(()))
        };
        wait_until(Duration::from_secs(20), stopped)
            .with_context(|| format!("task {id} does not stop\n{}", self.log()))
    }

    /// Deletes a stopped task and its container; returns the task's exit code,
    /// which `ctr` warns of when it is not 0.
    ///
    /// # Errors
    /// Fails when the task or the container cannot be deleted.
    pub fn delete(&self, id: &str) -> Result<i32> {
        let finished = self.try_ctr(&["task", "delete", id])?;
        let said = finished.text();
        let code = said
            .rsplit_once("non-zero exit code ")
            .map(|(_, code)| code.chars().take_while(char::is_ascii_digit).collect::<String>());
        let code = code.map_or(Ok(0), |code| code.parse())?;
        ensure!(finished.status.success() || code != 0, "task {id} cannot be deleted: {said}");
        self.ctr(&["container", "delete", id])?;
        Ok(code)
    }

    /// Sends a signal to a task, waits for its end, deletes it; returns its exit
    /// code.
    ///
    /// # Errors
    /// Fails when one of these steps does.
    pub fn stop(&self, id: &str, signal: &str) -> Result<i32> {
        self.ctr(&["task", "kill", "-s", signal, id])?;
        self.wait_for_stop(id)?;
        self.delete(id)
    }

    /// The fifo behind one output of a task that `ctr` was told to use our fifos for;
    /// `stream` is `stdout` or `stderr`.
    ///
    /// # Errors
    /// Fails when there is none.
    pub fn fifo(&self, id: &str, stream: &str) -> Result<PathBuf> {
        let name = format!("{id}-{stream}");
        let folders = fs::read_dir(self.folder().join("fifos"))?;
        let mut fifos = folders.filter_map(|folder| Some(folder.ok()?.path().join(&name)));
        fifos.find(|path| path.exists()).with_context(|| format!("there is no fifo {name}"))
    }

    /// Our processes under this containerd whose program has this name.
    pub fn processes(&self, program: &str) -> Vec<Seen> {
        let mut processes = processes_of(self.folder());
        processes.extend(processes_of(&self.state));
        processes.retain(|process| process.program == program);
        processes.sort_by_key(|process| process.pid);
        processes.dedup();
        processes
    }

    /// Starts to record the events of this namespace.
    ///
    /// # Errors
    /// Fails when `ctr` cannot be started.
    pub fn record_events(&self) -> Result<Events> {
        let log = self.folder().join("events");
        let process = Running::start(&mut self.ctr_command(&["events"]), &log)?;
        // There is no sign that the subscription stands: make events until one comes.
        let label = |value: &str| {
            self.ctr(&["namespace", "label", &self.namespace, &format!("probe={value}")])
        };
        self.try_ctr(&["namespace", "create", &self.namespace])?;
        wait_until(Duration::from_secs(10), || {
            label("x")?;
            Ok((!process.output().is_empty()).then_some(()))
        })
        .context("no events come")?;
        Ok(Events { process })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test's own output: what the failure cannot say itself.
            let log = self.log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            let text = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), text.as_bytes());
        }
        let sockets = self.sockets();
        drop(self.process.take());
        for place in [self.folder.path(), &self.state] {
            for process in processes_of(place) {
                let _ = send_signal(process.pid, Signal::KILL);
            }
        }
        for pid in processes_in_groups(&self.cgroup) {
            let _ = send_signal(pid, Signal::KILL);
        }
        let gone = || {
            let none = processes_of(self.folder.path()).is_empty();
            Ok((none && processes_in_groups(&self.cgroup).is_empty()).then_some(()))
        };
        let _ = wait_until(Duration::from_secs(5), gone);
        for socket in sockets {
            let _ = fs::remove_file(socket);
        }
        unmount_below(self.folder.path());
        for file in remembered_networks(self.folder.path()) {
            let _ = fs::remove_file(file);
        }
        // The parent of all is nobody's; runtimes leave it.
        for name in self.cgroups() {
            for group in control_groups(name).iter().chain(&groups_named(name)) {
                let _ = fs::remove_dir(group);
            }
        }
        let _ = fs::remove_dir(format!("/run/containerd/runc/{}", self.namespace()));
    }
}

impl Containerd {
    /// The sockets of the shims that run: who is killed leaves its own.
    fn sockets(&self) -> Vec<PathBuf> {
        let folders = self.bundle_folders();
        let bundles = folders.iter().flat_map(|folder| folders_below(folder, 1));
        let files =
            bundles.flat_map(|bundle| ["address", "bootstrap.json"].map(|name| bundle.join(name)));
        files
            .filter_map(|file| {
                let text = fs::read_to_string(file).ok()?;
                let (_, path) = text.split_once("unix://")?;
                path.split('"').next().map(PathBuf::from)
            })
            .collect()
    }
}

fn unmount_below(folder: &Path) {
    let place = folder.display().to_string();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<&str> = points.filter(|point| point.starts_with(&place)).collect();
    points.sort_unstable();
    for point in points.iter().rev() {
        let _ = rustix::mount::unmount(*point, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Without CRI, which is in [`cri_configuration`], and NRI.
fn configuration(folder: &Path) -> String {
    let place = folder.display();
    format!(
        "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
         \"io.containerd.cri.v1.runtime\", \"io.containerd.nri.v1.nri\", \
         \"io.containerd.podsandbox.controller.v1.podsandbox\"]\n\
         [grpc]\naddress = \"{place}/containerd.sock\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{place}/opt\"\n"
    )
}

/// The recorded events of a namespace.
#[derive(Debug)]
pub struct Events {
    process: Running,
}

impl Events {
    /// The events of tasks so far: topic and content, in their order.
    pub fn of_tasks(&self) -> Vec<(String, Value)> {
        let text = self.process.output();
        let event = |line: &str| {
            let start = line.find(" /tasks/")?;
            let (topic, content) = line.get(start + 1..)?.split_once(' ')?;
            Some((topic.to_owned(), serde_json::from_str(content).ok()?))
        };
        text.lines().filter_map(event).collect()
    }

    /// Waits until so many events of tasks have come, then for a moment more,
    /// so that one too many is seen as well; returns their topics.
    ///
    /// # Errors
    /// Fails when fewer come within ten seconds.
    pub fn topics(&self, count: usize) -> Result<Vec<String>> {
        let enough = || Ok((self.of_tasks().len() >= count).then_some(()));
        wait_until(Duration::from_secs(10), enough)
            .with_context(|| format!("too few events:\n{}", self.process.output()))?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(self.of_tasks().into_iter().map(|(topic, _)| topic).collect())
    }
}
