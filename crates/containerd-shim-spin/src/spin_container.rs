//! One Spin container: a runtime process in a cgroup.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use container::cgroup::Cgroup;
use containerd_task::{
    Any, Bundle, Container, Error, ExecProcess, ExecRequest, Exit, Process, StdioHold,
};
use control::{Channel, Phase, RunSpec};
use oci_spec::runtime::LinuxResources;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::compilers::{Compilers, Tier};
use crate::container_process::{blocking, clear, pids, signal_all};
use crate::conversation::{FirstTier, Loaded, Stopped, listen, load};
use crate::memory_watch::MemoryWatch;
use crate::metrics::metrics;
use crate::optimizing::optimize;
use crate::phases::{Record, phase_since};
use crate::spin_exec::SpinExec;
use crate::termination_message;

const SIGKILL: u32 = 9;
/// How long a runtime that has closed its control socket may take to end.
const ENDING: Duration = Duration::from_secs(2);

/// Why there is no Spin container.
pub(crate) enum Refusal {
    /// The image is an ordinary one. The streams that the container was to have are
    /// still held.
    NotSpin(StdioHold),
    /// It cannot be made.
    Failed(Error),
}

/// A container and everything the shim holds for it.
pub(crate) struct SpinContainer {
    id: String,
    process: Process,
    channel: Arc<Channel>,
    cgroup: Cgroup,
    memory: MemoryWatch,
    stdio: StdioHold,
    bundle: Bundle,
    record: Arc<Record>,
    start_timeout: Duration,
    exit: watch::Sender<Option<Exit>>,
    compilers: Arc<Compilers>,
    /// Components that wait for optimized code until the application listens.
    first_tier: Mutex<Vec<FirstTier>>,
    /// What makes it then.
    optimizing: Mutex<Option<AbortHandle>>,
}

/// What a container is made of.
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) process: Process,
    pub(crate) channel: Channel,
    pub(crate) cgroup: Cgroup,
    pub(crate) memory: MemoryWatch,
    pub(crate) stdio: StdioHold,
    pub(crate) bundle: Bundle,
    pub(crate) start_timeout: Duration,
    pub(crate) compilers: Arc<Compilers>,
}

impl SpinContainer {
    /// A container whose runtime has just been started.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            id: parts.id,
            process: parts.process,
            channel: Arc::new(parts.channel),
            cgroup: parts.cgroup,
            memory: parts.memory,
            stdio: parts.stdio,
            record: Arc::new(Record::new(parts.bundle.clone())),
            bundle: parts.bundle,
            start_timeout: parts.start_timeout,
            exit: watch::Sender::new(None),
            compilers: parts.compilers,
            first_tier: Mutex::default(),
            optimizing: Mutex::default(),
        }
    }

    /// Has the runtime load the application and enter the container; none if there
    /// is no application. Then, and after an error, the runtime has been ended.
    pub(crate) async fn load(
        &self,
        spec: RunSpec,
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<Phase>>, Error> {
        self.bundle
            .record_init(self.process.pid())
            .map_err(|error| Error::failed("cannot record the container's process", &error))?;
        let loaded = load(&self.channel, &self.compilers, spec, cancel).await;
        let stopped = match loaded {
            Ok(Loaded { phases, first_tier }) => {
                self.remember(first_tier);
                return Ok(Some(phases));
            }
            Err(stopped) => stopped,
        };
        if !matches!(stopped, Stopped::Gone | Stopped::Failed(_)) {
            let _ = self.process.signal(SIGKILL);
        }
        let exit = timeout(ENDING, self.wait()).await.ok();
        match self.reason(stopped, exit) {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    /// Keeps what waits for optimized code.
    fn remember(&self, first_tier: Vec<FirstTier>) {
        for FirstTier { source, .. } in &first_tier {
            self.record.runs(&source.component, Tier::First);
            tracing::info!(component = source.component, "it starts on code of the first tier");
        }
        *locked(&self.first_tier) = first_tier;
    }

    /// Begins to make optimized code, if anything waits for it.
    fn optimize(&self) {
        let first_tier = std::mem::take(&mut *locked(&self.first_tier));
        if first_tier.is_empty() {
            return;
        }
        let (channel, compilers) = (Arc::clone(&self.channel), Arc::clone(&self.compilers));
        let record = Arc::clone(&self.record);
        let task = tokio::spawn(optimize(first_tier, channel, compilers, record));
        *locked(&self.optimizing) = Some(task.abort_handle());
    }

    /// Ends the making of optimized code, and its compiler with it.
    fn stop_optimizing(&self) {
        if let Some(task) = locked(&self.optimizing).take() {
            task.abort();
        }
    }

    /// Lets go of a container without an application, but for its streams.
    pub(crate) fn into_stdio(self) -> StdioHold {
        self.stdio
    }

    /// Adds to the record of where the time went.
    pub(crate) fn record(&self, phases: impl IntoIterator<Item = Phase>) {
        self.record.add(phases);
    }

    /// Ends the runtime of a container that is given up; its cgroup is the
    /// caller's business.
    pub(crate) async fn give_up(&self) {
        let _ = self.process.signal(SIGKILL);
        if self.exit.borrow().is_none() {
            let _ = timeout(ENDING, self.wait()).await;
        }
        self.stdio.close().await;
    }

    /// Why the application does not run, in one sentence; none if there is none.
    fn reason(&self, stopped: Stopped, exit: Option<Exit>) -> Option<Error> {
        let id = &self.id;
        Some(Error::Failed(match stopped {
            Stopped::Failed(message) => message,
            Stopped::NotSpin => return None,
            Stopped::Gone => format!("the runtime of container {id} {}", described(exit)),
            Stopped::Cancelled => format!("container {id} was ended during its creation"),
            Stopped::TimedOut => format!(
                "the application of container {id} did not listen within {} seconds \
                 (SPINLET_START_TIMEOUT)",
                self.start_timeout.as_secs()
            ),
            Stopped::Broken(error) => {
                let what = format!("lost the runtime of container {id}");
                return Some(Error::failed(what, &error));
            }
            Stopped::OutOfOrder(message) => {
                tracing::error!(?message, "message at the wrong time");
                format!("the runtime of container {id} is not of this shim's version")
            }
        }))
    }

    /// The exit that the task service's wait has seen, if it comes soon.
    async fn ended(&self) -> Option<Exit> {
        let mut exits = self.exit.subscribe();
        let ended = timeout(ENDING, exits.wait_for(Option::is_some)).await;
        ended.ok().and_then(Result::ok).and_then(|exit| *exit)
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a runtime ended before it was time.
fn described(exit: Option<Exit>) -> String {
    match exit {
        None => "does not answer any more".to_owned(),
        Some(Exit { out_of_memory: true, .. }) => {
            "was killed for want of memory; its limit is too low for this application".to_owned()
        }
        Some(Exit { status, .. }) if status > 128 => {
            format!("was ended by signal {} before the application was ready", status - 128)
        }
        Some(Exit { status, .. }) => {
            format!("ended with status {status} before the application was ready")
        }
    }
}

#[async_trait]
impl Container for SpinContainer {
    fn pid(&self) -> u32 {
        self.process.pid()
    }

    async fn start(&self) -> Result<(), Error> {
        let begun = Instant::now();
        match listen(&self.channel, self.start_timeout).await {
            Ok(phases) => {
                self.record(phases.into_iter().chain([phase_since("start", begun)]));
                self.optimize();
                Ok(())
            }
            Err(stopped) => {
                // A runtime that gives up ends by itself, with a status that tells more than
                // the signal which the service sends otherwise.
                let ends = matches!(stopped, Stopped::Gone | Stopped::Failed(_));
                let exit = if ends { self.ended().await } else { None };
                let none = || Error::Failed(format!("container {} has no application", self.id));
                let error = self.reason(stopped, exit).unwrap_or_else(none);
                termination_message::leave(self.bundle.path(), &error.to_string());
                Err(error)
            }
        }
    }

    async fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        let result = if all && signal != 0 {
            signal_all(&self.cgroup, signal, &self.id)
        } else {
            self.process.signal(signal)
        };
        if signal == SIGKILL {
            // The frozen die only when they run again.
            let _ = self.cgroup.thaw();
        }
        result
    }

    async fn wait(&self) -> Exit {
        let (status, at) = match self.process.wait().await {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "the exit status of the runtime is lost");
                (255, SystemTime::now())
            }
        };
        self.stop_optimizing();
        self.stdio.end_outputs();
        let exit = Exit { status, at, out_of_memory: self.memory.untold() };
        self.exit.send_replace(Some(exit));
        exit
    }

    async fn pids(&self) -> Result<Vec<u32>, Error> {
        pids(&self.cgroup)
    }

    async fn out_of_memory(&self) {
        self.memory.killed().await;
    }

    async fn exec(&self, request: ExecRequest) -> Result<Arc<dyn ExecProcess>, Error> {
        SpinExec::prepare(&self.id, request, self.pid(), self.exit.subscribe())
    }

    async fn pause(&self) -> Result<(), Error> {
        let cgroup = self.cgroup.clone();
        blocking("freeze the container", move || cgroup.freeze()).await
    }

    async fn resume(&self) -> Result<(), Error> {
        self.cgroup.thaw().map_err(|error| Error::failed("cannot thaw the container", &error))
    }

    async fn update(&self, resources: Any) -> Result<(), Error> {
        let resources: LinuxResources =
            serde_json::from_slice(&resources.value).map_err(|error| {
                let what = format!("resources of type {:?} cannot be read", resources.type_url);
                Error::InvalidArgument(format!("{what}: {error}"))
            })?;
        let cgroup = self.cgroup.clone();
        blocking("change the container's limits", move || cgroup.update(&resources)).await
    }

    async fn stats(&self) -> Result<Any, Error> {
        metrics(&self.cgroup.stats())
    }

    fn close_stdin(&self) {
        self.stdio.close_input();
    }

    async fn delete(&self) -> Result<(), Error> {
        clear(self.cgroup.clone()).await?;
        self.stdio.close().await;
        self.bundle
            .unmount_rootfs()
            .map_err(|error| Error::failed("cannot clean the bundle", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(status: u32, out_of_memory: bool) -> Exit {
        Exit { status, at: SystemTime::now(), out_of_memory }
    }

    #[test]
    fn an_early_end_is_described_by_what_a_user_can_do_about_it() {
        assert!(described(Some(exit(137, true))).contains("memory"));
        assert!(described(Some(exit(139, false))).contains("signal 11"));
        assert!(described(Some(exit(1, false))).contains("status 1"));
        assert!(described(None).contains("does not answer"));
    }
}
