//! One task: its container, its life cycle, and the events it publishes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::{
    DeleteResponse, ProcessInfo, StateResponse, Status, WaitResponse,
};
use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExit, TaskIO, TaskOOM, TaskPaused, TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
use containerd_shim_protos::types::mount::Mount;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::Error;
use crate::events::Publisher;
use crate::lifecycle::{Event, Lifecycle, State};
use crate::stdio::StdioPaths;
use crate::workload::{Container, CreateRequest, Exit, RootfsMount};

const SIGKILL: u32 = 9;
/// How long a killed process may take to end; longer means that it hangs in the
/// kernel.
const KILLED: Duration = Duration::from_secs(10);

/// A task that containerd knows.
pub(crate) struct Task {
    id: String,
    bundle: PathBuf,
    rootfs: Vec<RootfsMount>,
    terminal: bool,
    stdio: StdioPaths,
    container: Arc<dyn Container>,
    publisher: Arc<Publisher>,
    lifecycle: Mutex<Lifecycle>,
    exit: watch::Sender<Option<Exit>>,
    last_stats: Mutex<Option<Any>>,
}

impl Task {
    /// Makes a task of a container that has just been created, publishes that,
    /// and from now on watches for the container's end.
    pub(crate) fn new(
        request: CreateRequest,
        container: Arc<dyn Container>,
        publisher: Arc<Publisher>,
    ) -> Arc<Self> {
        let (lifecycle, events) = Lifecycle::created(&request.id);
        let task = Arc::new(Self {
            id: request.id,
            bundle: request.bundle,
            rootfs: request.rootfs,
            terminal: request.terminal,
            stdio: request.stdio,
            container,
            publisher,
            lifecycle: Mutex::new(lifecycle),
            exit: watch::Sender::new(None),
            last_stats: Mutex::new(None),
        });
        for event in events {
            task.publish(event);
        }
        tokio::spawn(Arc::clone(&task).watch());
        task
    }

    async fn watch(self: Arc<Self>) {
        let exit = self.container.wait().await;
        // The last counters: a cgroup may vanish with its last process, but
        // containerd asks why a task ended after it has.
        if let Ok(stats) = self.container.stats().await {
            *lock(&self.last_stats) = Some(stats);
        }
        tracing::info!(task = self.id, status = exit.status, "container has ended");
        self.transition(|lifecycle| lifecycle.exited(exit));
    }

    /// Makes a transition and publishes its events in one step, so that events
    /// are published in the order of the transitions.
    fn transition(&self, step: impl FnOnce(&mut Lifecycle) -> Vec<Event>) {
        let mut lifecycle = lock(&self.lifecycle);
        for event in step(&mut lifecycle) {
            self.publish(event);
        }
        if let Some(exit) = lifecycle.exit() {
            self.exit.send_if_modified(|known| known.replace(exit).is_none());
        }
    }

    /// Starts the container; returns when it is ready to serve.
    pub(crate) async fn start(&self) -> Result<u32, Error> {
        lock(&self.lifecycle).begin_start()?;
        match self.container.start().await {
            Ok(()) => {
                self.transition(Lifecycle::started);
                Ok(self.pid())
            }
            Err(error) => {
                let _ = self.container.kill(SIGKILL, true).await;
                self.transition(Lifecycle::start_failed);
                let _ = timeout(KILLED, self.ended()).await;
                Err(error)
            }
        }
    }

    /// Sends a signal.
    pub(crate) async fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        // Processes of a container may outlive its first one; `all` reaches them.
        if !all {
            lock(&self.lifecycle).check_alive()?;
        }
        self.container.kill(signal, all).await
    }

    /// Waits for the end of the container.
    pub(crate) async fn ended(&self) -> Exit {
        let mut exits = self.exit.subscribe();
        match exits.wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The sender lives as long as this task.
            _ => Exit { status: 255, at: SystemTime::now(), out_of_memory: false },
        }
    }

    /// Freezes the container.
    pub(crate) async fn pause(&self) -> Result<(), Error> {
        lock(&self.lifecycle).check_pause()?;
        self.container.pause().await?;
        self.transition(Lifecycle::paused);
        Ok(())
    }

    /// Lets the container go on.
    pub(crate) async fn resume(&self) -> Result<(), Error> {
        lock(&self.lifecycle).check_resume()?;
        self.container.resume().await?;
        self.transition(Lifecycle::resumed);
        Ok(())
    }

    /// Changes resource limits.
    pub(crate) async fn update(&self, resources: Any) -> Result<(), Error> {
        lock(&self.lifecycle).check_alive()?;
        self.container.update(resources).await
    }

    /// Resource usage, after the end the last one.
    pub(crate) async fn stats(&self) -> Result<Any, Error> {
        if lock(&self.lifecycle).exit().is_some()
            && let Some(stats) = lock(&self.last_stats).clone()
        {
            return Ok(stats);
        }
        self.container.stats().await
    }

    /// Every process, the first one always among them.
    pub(crate) async fn pids(&self) -> Vec<ProcessInfo> {
        let mut pids = self.container.pids().await.unwrap_or_default();
        if !pids.contains(&self.pid()) {
            pids.insert(0, self.pid());
        }
        pids.into_iter().map(|pid| ProcessInfo { pid, ..ProcessInfo::default() }).collect()
    }

    /// Ends the container's input.
    pub(crate) fn close_stdin(&self) {
        self.container.close_stdin();
    }

    /// Removes the container after its end. One that was never started is
    /// ended first, as the runc shim does it; containerd has no other way to
    /// take back a create whose answer it did not see.
    pub(crate) async fn delete(&self) -> Result<DeleteResponse, Error> {
        if self.state() == State::Created {
            let _ = self.container.kill(SIGKILL, true).await;
            let _ = timeout(KILLED, self.ended()).await;
        }
        let exit = lock(&self.lifecycle).begin_delete()?;
        if let Err(error) = self.container.delete().await {
            lock(&self.lifecycle).delete_failed();
            return Err(error);
        }
        self.transition(Lifecycle::deleted);
        Ok(DeleteResponse {
            pid: self.pid(),
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..DeleteResponse::default()
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.container.pid()
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.lifecycle).state()
    }

    /// The answer to a State request.
    pub(crate) fn describe(&self) -> StateResponse {
        let (status, exit) = match self.state() {
            State::Created | State::Starting { .. } => (Status::CREATED, None),
            State::Running => (Status::RUNNING, None),
            State::Paused => (Status::PAUSED, None),
            State::Stopped(exit) | State::Deleting(exit) => (Status::STOPPED, Some(exit)),
        };
        StateResponse {
            id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            pid: self.pid(),
            status: EnumOrUnknown::new(status),
            stdin: self.stdio.stdin.clone(),
            stdout: self.stdio.stdout.clone(),
            stderr: self.stdio.stderr.clone(),
            terminal: self.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| timestamp(exit.at)).into(),
            ..StateResponse::default()
        }
    }

    fn publish(&self, event: Event) {
        let container_id = self.id.clone();
        match event {
            Event::Create => self.publisher.publish(self.create_event()),
            Event::Start => self.publisher.publish(TaskStart {
                container_id,
                pid: self.pid(),
                ..TaskStart::default()
            }),
            Event::Paused => {
                self.publisher.publish(TaskPaused { container_id, ..TaskPaused::default() });
            }
            Event::Resumed => {
                self.publisher.publish(TaskResumed { container_id, ..TaskResumed::default() });
            }
            Event::OutOfMemory => {
                self.publisher.publish(TaskOOM { container_id, ..TaskOOM::default() });
            }
            Event::Exit(exit) => self.publisher.publish(TaskExit {
                id: container_id.clone(),
                container_id,
                pid: self.pid(),
                exit_status: exit.status,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..TaskExit::default()
            }),
            Event::Delete(exit) => self.publisher.publish(TaskDelete {
                container_id,
                pid: self.pid(),
                exit_status: exit.status,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..TaskDelete::default()
            }),
        }
    }

    fn create_event(&self) -> TaskCreate {
        let io = TaskIO {
            stdin: self.stdio.stdin.clone(),
            stdout: self.stdio.stdout.clone(),
            stderr: self.stdio.stderr.clone(),
            terminal: self.terminal,
            ..TaskIO::default()
        };
        TaskCreate {
            container_id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            rootfs: self.rootfs.iter().cloned().map(mount_message).collect(),
            io: MessageField::some(io),
            pid: self.pid(),
            ..TaskCreate::default()
        }
    }
}

/// Ends and removes a container that never became a task.
pub(crate) async fn discard(container: &dyn Container) {
    let _ = container.kill(SIGKILL, true).await;
    let _ = timeout(KILLED, container.wait()).await;
    if let Err(error) = container.delete().await {
        tracing::error!(%error, "a container that was not wanted any more cannot be removed");
    }
}

/// The answer to a Wait request.
pub(crate) fn wait_response(exit: Exit) -> WaitResponse {
    WaitResponse {
        exit_status: exit.status,
        exited_at: MessageField::some(timestamp(exit.at)),
        ..WaitResponse::default()
    }
}

fn mount_message(mount: RootfsMount) -> Mount {
    Mount {
        type_: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
        ..Mount::default()
    }
}

/// A moment as a protobuf message; one before 1970 counts as 1970.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs() as i64,
        nanos: since.subsec_nanos() as i32,
        ..Timestamp::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
