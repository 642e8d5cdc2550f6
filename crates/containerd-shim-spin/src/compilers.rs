//! Compiling components for runtime processes: each digest once at a time, in a
//! process and a cgroup of its own.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::bail;
use container::cgroup::{Cgroup, CgroupError, Layout};
use container::spawn::{PidNamespace, Program, spawn};
use containerd_task::Process;
use oci_spec::runtime::{LinuxCpuBuilder, LinuxResources, LinuxResourcesBuilder};
use process_setup::chain;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::settings;

/// The compilers' cgroup: beside the pods, whose limits and metrics they must
/// not touch.
const CGROUP: &str = "/spinlet-compiler";
/// The compilers' share of a contended processor; a container has 1024.
const CPU_SHARES: u64 = 128;
/// SIGKILL.
const KILL: u32 = 9;

type Outcome = Result<(), String>;
/// Finds the compiler's program; may take a moment.
type Locate = Arc<dyn Fn() -> anyhow::Result<PathBuf> + Send + Sync>;

/// Runs compilers.
pub(crate) struct Compilers {
    launcher: Arc<Launcher>,
    jobs: Mutex<HashMap<(String, Tier), Weak<Job>>>,
}

struct Launcher {
    locate: Locate,
    cache_dir: PathBuf,
    layout: Option<Layout>,
    /// As many at a time as there are processors.
    slots: Semaphore,
}

/// How much work code is worth; the words are the compiler's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Tier {
    /// Little, if there is no optimized code.
    First,
    Optimized,
}

impl Tier {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Optimized => "optimized",
        }
    }
}

/// A component to compile.
#[derive(Debug)]
pub(crate) struct Source {
    /// Digest of its bytes, `sha256:<hex>`.
    pub(crate) digest: String,
    /// Its id in the application, for messages.
    pub(crate) component: String,
    /// A descriptor at the beginning of its bytes.
    pub(crate) bytes: OwnedFd,
}

/// One compilation that somebody waits for; without anybody it is ended.
struct Job {
    outcome: watch::Receiver<Option<Outcome>>,
    task: AbortHandle,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Kills the process when the compilation is given up.
struct KillOnDrop(Process);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // One that has ended is what is wanted.
        let _ = self.0.signal(KILL);
    }
}

impl Compilers {
    /// The compilers of this node, whose state is in `state_dir`.
    pub(crate) fn of_node(state_dir: &Path, layout: Layout) -> Self {
        let programs = state_dir.to_owned();
        let locate = move || Ok(payload::locate(&programs, "spinlet-compiler")?);
        Self::new(Arc::new(locate), &cache_dir(state_dir), Some(layout))
    }

    /// Compilers that write to `cache_dir`.
    pub(crate) fn new(locate: Locate, cache_dir: &Path, layout: Option<Layout>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let launcher = Launcher {
            locate,
            cache_dir: cache_dir.to_owned(),
            layout,
            slots: Semaphore::new(processors),
        };
        Self { launcher: Arc::new(launcher), jobs: Mutex::default() }
    }

    /// Has a component compiled. Whoever asks for a digest that is being compiled to
    /// the same tier waits for that. Dropping the last such future ends the compiler.
    ///
    /// # Errors
    /// One sentence that says why there is no compiled code.
    pub(crate) async fn compile(&self, source: Source, tier: Tier) -> Result<(), String> {
        let component = source.component.clone();
        let job = self.job(source, tier);
        let mut outcome = job.outcome.clone();
        match outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            _ => Err(format!("the compilation of component {component} was given up")),
        }
    }

    /// The cache that they fill.
    pub(crate) fn cache_dir(&self) -> &Path {
        &self.launcher.cache_dir
    }

    fn job(&self, source: Source, tier: Tier) -> Arc<Job> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, job| job.strong_count() > 0);
        let key = (source.digest.clone(), tier);
        if let Some(job) = jobs.get(&key).and_then(Weak::upgrade) {
            return job;
        }
        let (done, outcome) = watch::channel(None);
        let launcher = Arc::clone(&self.launcher);
        let task = tokio::spawn(async move {
            let outcome = launcher.run(source, tier).await;
            let _ = done.send(Some(outcome.map_err(|error| chain(error.as_ref()))));
        });
        let job = Arc::new(Job { outcome, task: task.abort_handle() });
        jobs.insert(key, Arc::downgrade(&job));
        job
    }
}

impl Launcher {
    async fn run(&self, source: Source, tier: Tier) -> anyhow::Result<()> {
        let _slot = self.slots.acquire().await?;
        let locate = Arc::clone(&self.locate);
        let program = tokio::task::spawn_blocking(move || locate()).await??;
        let cgroup = self.cgroup();
        let (errors, errors_of_child) = pipe_with(PipeFlags::CLOEXEC)?;
        let start = |cgroup| self.start(&program, &source, tier, &errors_of_child, cgroup);
        let process = start(cgroup.as_ref());
        // Another compiler that has just ended may have taken the cgroup along.
        let process = match process {
            Err(_) if cgroup.is_some() => start(None),
            started => started,
        };
        let process = KillOnDrop(process?);
        drop(errors_of_child);
        let last_line = last_line(errors).await;
        let (status, _) = process.0.wait().await?;
        if let Some(cgroup) = cgroup
            && cgroup.pids().is_ok_and(|pids| pids.is_empty())
        {
            let _ = tokio::task::spawn_blocking(move || cgroup.remove()).await;
        }
        let component = &source.component;
        match (status, last_line) {
            (0, _) => Ok(()),
            // The compiler's own sentence.
            (_, Some(line)) => bail!("{line}"),
            (137, None) => {
                bail!("component {component} cannot be compiled: the compiler was killed")
            }
            (status, None) => bail!(
                "component {component} cannot be compiled: the compiler ended with status {status}"
            ),
        }
    }

    fn start(
        &self,
        program: &Path,
        source: &Source,
        tier: Tier,
        errors: &OwnedFd,
        cgroup: Option<&Cgroup>,
    ) -> anyhow::Result<Process> {
        let null = fs_err::OpenOptions::new().write(true).open("/dev/null")?;
        let cache = self.cache_dir.display().to_string();
        let arguments = [
            "spinlet-compiler",
            "--cache",
            &cache,
            "--digest",
            &source.digest,
            "--component",
            &source.component,
            "--tier",
            tier.as_str(),
        ];
        let child = spawn(Program {
            path: program.to_owned(),
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: settings::ours_as_text(),
            descriptors: vec![
                (source.bytes.try_clone()?, 0),
                (OwnedFd::from(null.into_parts().0), 1),
                (errors.try_clone()?, 2),
            ],
            entrance: cgroup.map(Cgroup::entrance).transpose()?,
            pid_namespace: PidNamespace::Inherit,
        })?;
        Ok(Process::new(child.pid().unsigned_abs(), child.as_fd().try_clone_to_owned()?)?)
    }

    /// The compilers' cgroup, made if need be. It is a courtesy to the pods; a
    /// machine where it cannot be made still compiles.
    fn cgroup(&self) -> Option<Cgroup> {
        let cgroup = Cgroup::at(self.layout.as_ref()?, Some(Path::new(CGROUP)), "").ok()?;
        match cgroup.create(low_share().as_ref()) {
            Ok(()) | Err(CgroupError::Populated(_)) => Some(cgroup),
            Err(error) => {
                tracing::debug!(%error, "compiling in the shim's own cgroup");
                None
            }
        }
    }
}

/// The node's cache of compiled code.
pub(crate) fn cache_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("cache")
}

fn low_share() -> Option<LinuxResources> {
    let cpu = LinuxCpuBuilder::default().shares(CPU_SHARES).build().ok()?;
    LinuxResourcesBuilder::default().cpu(cpu).build().ok()
}

/// The last line that a process has written before it closed the pipe.
async fn last_line(pipe: OwnedFd) -> Option<String> {
    let mut lines = BufReader::new(Receiver::from_owned_fd(pipe).ok()?).lines();
    let mut last = None;
    while let Ok(Some(line)) = lines.next_line().await {
        if !line.trim().is_empty() {
            last = Some(line.trim().to_owned());
        }
    }
    last
}

#[cfg(test)]
mod tests;
