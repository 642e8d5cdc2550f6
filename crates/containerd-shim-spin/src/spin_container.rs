//! One Spin container: a runtime process in a cgroup.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use container::cgroup::{Cgroup, OomWatch};
use containerd_task::{Any, Bundle, Container, Error, Exit, Process, StdioHold};
use control::{Channel, Phase, RunSpec};
use oci_spec::runtime::LinuxResources;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::compilers::Compilers;
use crate::container_process::{blocking, clear};
use crate::conversation::{Stopped, listen, load};
use crate::metrics::metrics;
use crate::phases::{Record, phase_since};

const SIGKILL: u32 = 9;
/// How long a runtime that has closed its control socket may take to end.
const ENDING: Duration = Duration::from_secs(2);

/// A container and everything the shim holds for it.
pub(crate) struct SpinContainer {
    id: String,
    process: Process,
    channel: Channel,
    cgroup: Cgroup,
    out_of_memory: Mutex<Option<OomWatch>>,
    stdio: StdioHold,
    bundle: Bundle,
    record: Record,
    start_timeout: Duration,
    exit: watch::Sender<Option<Exit>>,
}

/// What a container is made of.
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) process: Process,
    pub(crate) channel: Channel,
    pub(crate) cgroup: Cgroup,
    pub(crate) out_of_memory: Option<OomWatch>,
    pub(crate) stdio: StdioHold,
    pub(crate) bundle: Bundle,
    pub(crate) start_timeout: Duration,
}

impl SpinContainer {
    /// A container whose runtime has just been started.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            id: parts.id,
            process: parts.process,
            channel: parts.channel,
            cgroup: parts.cgroup,
            out_of_memory: Mutex::new(parts.out_of_memory),
            stdio: parts.stdio,
            record: Record::new(parts.bundle.clone()),
            bundle: parts.bundle,
            start_timeout: parts.start_timeout,
            exit: watch::Sender::new(None),
        }
    }

    /// Has the runtime load the application and enter the container. After an
    /// error the runtime has been ended.
    pub(crate) async fn load(
        &self,
        compilers: &Arc<Compilers>,
        spec: RunSpec,
        cancel: &CancellationToken,
    ) -> Result<Vec<Phase>, Error> {
        self.bundle
            .record_init(self.process.pid())
            .map_err(|error| Error::failed("cannot record the container's process", &error))?;
        let loaded = load(&self.channel, compilers, spec, cancel).await;
        match loaded {
            Ok(phases) => Ok(phases),
            Err(stopped) => {
                if !matches!(stopped, Stopped::Gone | Stopped::Failed(_)) {
                    let _ = self.process.signal(SIGKILL);
                }
                let exit = timeout(ENDING, self.wait()).await.ok();
                Err(self.reason(stopped, exit))
            }
        }
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

    /// Why the application does not run, in one sentence.
    fn reason(&self, stopped: Stopped, exit: Option<Exit>) -> Error {
        let id = &self.id;
        Error::Failed(match stopped {
            Stopped::Failed(message) => message,
            Stopped::NotSpin => format!(
                "the image of container {id} is not a Spin application, and other images cannot \
                 be run under this runtime class"
            ),
            Stopped::Gone => format!("the runtime of container {id} {}", described(exit)),
            Stopped::Cancelled => format!("container {id} was ended during its creation"),
            Stopped::TimedOut => format!(
                "the application of container {id} did not listen within {} seconds \
                 (SPINLET_START_TIMEOUT)",
                self.start_timeout.as_secs()
            ),
            Stopped::Broken(error) => {
                return Error::failed(format!("lost the runtime of container {id}"), &error);
            }
            Stopped::OutOfOrder(message) => {
                tracing::error!(?message, "message at the wrong time");
                format!("the runtime of container {id} is not of this shim's version")
            }
        })
    }

    /// The exit that the task service's wait has seen, if it comes soon.
    async fn ended(&self) -> Option<Exit> {
        let mut exits = self.exit.subscribe();
        let ended = timeout(ENDING, exits.wait_for(Option::is_some)).await;
        ended.ok().and_then(Result::ok).and_then(|exit| *exit)
    }

    fn struck_by_oom_killer(&self) -> bool {
        let mut watch = self.out_of_memory.lock().unwrap_or_else(PoisonError::into_inner);
        watch.as_mut().is_some_and(|watch| watch.new_kills().is_ok_and(|kills| kills > 0))
    }

    /// Signals every process in the cgroup; tells whether there was one.
    fn signal_all(&self, number: u32) -> Result<bool, Error> {
        let signal = i32::try_from(number).ok().and_then(Signal::from_named_raw);
        let signal =
            signal.ok_or_else(|| Error::InvalidArgument(format!("unknown signal {number}")))?;
        let pids = self.cgroup.pids();
        let pids = pids.map_err(|error| Error::failed("cannot list processes", &error))?;
        let reached = pids
            .into_iter()
            .filter_map(Pid::from_raw)
            .filter(|pid| kill_process(*pid, signal).is_ok())
            .count();
        Ok(reached > 0)
    }
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
                Ok(())
            }
            Err(stopped) => {
                // A runtime that gives up ends by itself, with a status that tells more than
                // the signal which the service sends otherwise.
                let ends = matches!(stopped, Stopped::Gone | Stopped::Failed(_));
                let exit = if ends { self.ended().await } else { None };
                Err(self.reason(stopped, exit))
            }
        }
    }

    async fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        let result = if all && signal != 0 {
            let none = || Error::NotFound(format!("container {} has no process", self.id));
            self.signal_all(signal)?.then_some(()).ok_or_else(none)
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
        let exit = Exit { status, at, out_of_memory: self.struck_by_oom_killer() };
        self.exit.send_replace(Some(exit));
        exit
    }

    async fn pids(&self) -> Result<Vec<u32>, Error> {
        let pids = self.cgroup.pids();
        let pids = pids.map_err(|error| Error::failed("cannot list processes", &error))?;
        Ok(pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect())
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
