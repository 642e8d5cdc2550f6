//! One Linux container, and the processes that are added to it.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use container::cgroup::Cgroup;
use containerd_task::{
    Any, Bundle, Container, Error, ExecProcess, ExecRequest, Exit, Process, StdioHold, Terminal,
};
use oci_runtime::{OciContainer, RuntimeError};

use crate::container_process::{blocking, pids, signal_all};
use crate::linux_workload::with_streams;
use crate::memory_watch::MemoryWatch;
use crate::metrics::metrics;
use crate::phases::{Record, phase_since};

const SIGKILL: u32 = 9;
/// The signals that have a number only: the C library's real-time ones.
const NUMBERED: std::ops::RangeInclusive<u32> = 32..=64;

/// A container and everything the shim holds for it.
pub(crate) struct LinuxContainer {
    parts: Parts,
    record: Record,
}

/// What a container is made of.
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) oci: OciContainer,
    pub(crate) process: Process,
    /// None where the container has no cgroup of its own.
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) memory: MemoryWatch,
    pub(crate) streams: Streams,
    pub(crate) bundle: Bundle,
    /// Whether the kernel ends all processes with the first one.
    pub(crate) own_pids: bool,
}

/// What the shim holds of a process's standard streams.
#[derive(Debug)]
pub(crate) enum Streams {
    /// The other ends.
    Plain(StdioHold),
    /// A terminal.
    Terminal(Terminal),
}

impl Streams {
    fn close_input(&self) {
        match self {
            Self::Plain(hold) => hold.close_input(),
            Self::Terminal(terminal) => terminal.close_input(),
        }
    }

    /// Of a process that has ended. A terminal sees to that itself.
    fn end_outputs(&self) {
        if let Self::Plain(hold) = self {
            hold.end_outputs();
        }
    }

    fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Terminal(terminal) => terminal.resize(columns, rows),
        }
    }

    async fn close(&self) {
        match self {
            Self::Plain(hold) => hold.close().await,
            Self::Terminal(terminal) => terminal.close().await,
        }
    }
}

impl LinuxContainer {
    /// A container that has just been made.
    pub(crate) fn new(parts: Parts, record: Record) -> Self {
        Self { parts, record }
    }

    fn cgroup(&self) -> Result<&Cgroup, Error> {
        let none = || Error::Failed(format!("container {} has no cgroup", self.parts.id));
        self.parts.cgroup.as_ref().ok_or_else(none)
    }

    async fn signal_first(&self, number: u32) -> Result<(), Error> {
        if NUMBERED.contains(&number) {
            self.parts.process.signal(0)?;
            return self.parts.oci.kill(number).await.map_err(said);
        }
        self.parts.process.signal(number)
    }
}

/// What the OCI runtime said is the whole message.
fn said(error: RuntimeError) -> Error {
    Error::Failed(process_setup::chain(&error))
}

#[async_trait]
impl Container for LinuxContainer {
    fn pid(&self) -> u32 {
        self.parts.process.pid()
    }

    async fn start(&self) -> Result<(), Error> {
        let begun = Instant::now();
        self.parts.oci.start().await.map_err(said)?;
        self.record.add([phase_since("start", begun)]);
        Ok(())
    }

    async fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        let result = match &self.parts.cgroup {
            Some(cgroup) if all && signal != 0 => signal_all(cgroup, signal, &self.parts.id),
            _ => self.signal_first(signal).await,
        };
        if signal == SIGKILL
            && let Some(cgroup) = &self.parts.cgroup
        {
            // The frozen die only when they run again.
            let _ = cgroup.thaw();
        }
        result
    }

    async fn wait(&self) -> Exit {
        let (status, at) = ended(&self.parts.process).await;
        if !self.parts.own_pids {
            // None left is what is wanted.
            let _ = self.kill(SIGKILL, true).await;
        }
        self.parts.streams.end_outputs();
        Exit { status, at, out_of_memory: self.parts.memory.untold() }
    }

    async fn out_of_memory(&self) {
        self.parts.memory.killed().await;
    }

    async fn pids(&self) -> Result<Vec<u32>, Error> {
        pids(self.cgroup()?)
    }

    async fn pause(&self) -> Result<(), Error> {
        let cgroup = self.cgroup()?.clone();
        blocking("freeze the container", move || cgroup.freeze()).await
    }

    async fn resume(&self) -> Result<(), Error> {
        let thawed = self.cgroup()?.thaw();
        thawed.map_err(|error| Error::failed("cannot thaw the container", &error))
    }

    async fn update(&self, resources: Any) -> Result<(), Error> {
        self.parts.oci.update(&resources.value).await.map_err(said)
    }

    async fn stats(&self) -> Result<Any, Error> {
        metrics(&self.cgroup()?.stats())
    }

    fn close_stdin(&self) {
        self.parts.streams.close_input();
    }

    async fn exec(&self, request: ExecRequest) -> Result<Arc<dyn ExecProcess>, Error> {
        let oci = self.parts.oci.clone();
        Ok(Arc::new(LinuxExec { oci, request, running: OnceLock::new() }))
    }

    async fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        self.parts.streams.resize(columns, rows)
    }

    async fn delete(&self) -> Result<(), Error> {
        if let Err(error) = self.parts.oci.delete(false).await {
            tracing::warn!(%error, "the container is removed by force");
            self.parts.oci.delete(true).await.map_err(said)?;
        }
        self.parts.streams.close().await;
        self.parts
            .bundle
            .unmount_rootfs()
            .map_err(|error| Error::failed("cannot clean the bundle", &error))
    }
}

/// Another process in a Linux container.
struct LinuxExec {
    oci: OciContainer,
    request: ExecRequest,
    running: OnceLock<(Process, Streams)>,
}

impl LinuxExec {
    fn running(&self) -> Result<&(Process, Streams), Error> {
        let none =
            || Error::FailedPrecondition(format!("process {} is not started", self.request.id));
        self.running.get().ok_or_else(none)
    }
}

#[async_trait]
impl ExecProcess for LinuxExec {
    async fn start(&self) -> Result<u32, Error> {
        let streams = self.request.stdio.open().await?;
        let exec = |io| async move { self.oci.exec(&self.request.process, io).await };
        let running = with_streams(self.request.terminal, streams, exec).await?;
        Ok(self.running.get_or_init(|| running).0.pid())
    }

    async fn wait(&self) -> Exit {
        let (status, at) = match self.running.get() {
            Some((process, streams)) => {
                let end = ended(process).await;
                streams.end_outputs();
                end
            }
            None => (255, SystemTime::now()),
        };
        Exit { status, at, out_of_memory: false }
    }

    async fn kill(&self, signal: u32) -> Result<(), Error> {
        self.running()?.0.signal(signal)
    }

    fn close_stdin(&self) {
        if let Some((_, streams)) = self.running.get() {
            streams.close_input();
        }
    }

    async fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        self.running()?.1.resize(columns, rows)
    }

    async fn delete(&self) {
        if let Some((_, streams)) = self.running.get() {
            streams.close().await;
        }
    }
}

async fn ended(process: &Process) -> (u32, SystemTime) {
    process.wait().await.unwrap_or_else(|error| {
        tracing::error!(%error, pid = process.pid(), "the exit status of a process is lost");
        (255, SystemTime::now())
    })
}
