//! One task: its container, the other processes in it, its life cycle, and the
//! events it publishes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::{DeleteResponse, ProcessInfo, StateResponse, WaitResponse};
use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExit, TaskIO, TaskOOM, TaskPaused, TaskResumed, TaskStart,
};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{EnumOrUnknown, Message, MessageField};
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::types::mount::Mount;
use tokio::time::timeout;

use crate::error::Error;
use crate::events::Publisher;
use crate::exec::Exec;
use crate::lifecycle::{Event, Lifecycle, SharedLifecycle, State};
use crate::stdio::StdioPaths;
use crate::workload::{Container, CreateRequest, ExecRequest, Exit, RootfsMount};

const SIGKILL: u32 = 9;
/// How long a killed process may take to end; longer means that it hangs in the
/// kernel.
const KILLED: Duration = Duration::from_secs(10);
/// How long the exit of a container waits for those of its other processes, which
/// die with it.
const EXECS_ENDED: Duration = Duration::from_secs(2);
/// Type of the details about a process in a list of processes.
const PROCESS_DETAILS: &str = "containerd.runc.v1.ProcessDetails";

/// A task that containerd knows.
pub(crate) struct Task {
    id: String,
    bundle: PathBuf,
    rootfs: Vec<RootfsMount>,
    terminal: bool,
    stdio: StdioPaths,
    container: Arc<dyn Container>,
    publisher: Arc<Publisher>,
    life: SharedLifecycle,
    execs: Mutex<HashMap<String, Arc<Exec>>>,
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
        let (lifecycle, events) = Lifecycle::created(format!("task {}", request.id));
        let task = Arc::new(Self {
            id: request.id,
            bundle: request.bundle,
            rootfs: request.rootfs,
            terminal: request.terminal,
            stdio: request.stdio,
            container,
            publisher,
            life: SharedLifecycle::new(lifecycle),
            execs: Mutex::default(),
            last_stats: Mutex::new(None),
        });
        for event in events {
            task.publish(event);
        }
        tokio::spawn(Arc::clone(&task).watch());
        task
    }

    async fn watch(self: Arc<Self>) {
        let ended = self.container.wait();
        tokio::pin!(ended);
        let exit = loop {
            tokio::select! {
                biased;
                exit = &mut ended => break exit,
                () = self.container.out_of_memory() => {
                    tracing::warn!(task = self.id, "a process was killed for want of memory");
                    self.transition(|lifecycle| lifecycle.out_of_memory());
                }
            }
        };
        // The last counters: a cgroup may vanish with its last process, but
        // containerd asks why a task ended after it has.
        if let Ok(stats) = self.container.stats().await {
            *lock(&self.last_stats) = Some(stats);
        }
        tracing::info!(task = self.id, status = exit.status, "container has ended");
        let _ = timeout(EXECS_ENDED, self.execs_ended()).await;
        self.transition(|lifecycle| lifecycle.exited(exit));
    }

    async fn execs_ended(&self) {
        let execs: Vec<Arc<Exec>> = lock(&self.execs).values().cloned().collect();
        for exec in execs.iter().filter(|exec| exec.is_started()) {
            exec.ended().await;
        }
    }

    fn transition(&self, step: impl FnOnce(&mut Lifecycle) -> Vec<Event>) {
        self.life.transition(step, |event| self.publish(event));
    }

    /// Starts the container; returns when it is ready to serve.
    pub(crate) async fn start(&self) -> Result<u32, Error> {
        self.life.lock().begin_start()?;
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
            self.life.lock().check_alive()?;
        }
        self.container.kill(signal, all).await
    }

    /// Waits for the end of the container.
    pub(crate) async fn ended(&self) -> Exit {
        self.life.ended().await
    }

    /// Freezes the container.
    pub(crate) async fn pause(&self) -> Result<(), Error> {
        self.life.lock().check_pause()?;
        self.container.pause().await?;
        self.transition(Lifecycle::paused);
        Ok(())
    }

    /// Lets the container go on.
    pub(crate) async fn resume(&self) -> Result<(), Error> {
        self.life.lock().check_resume()?;
        self.container.resume().await?;
        self.transition(Lifecycle::resumed);
        Ok(())
    }

    /// Changes resource limits.
    pub(crate) async fn update(&self, resources: Any) -> Result<(), Error> {
        self.life.lock().check_alive()?;
        self.container.update(resources).await
    }

    /// Resource usage, after the end the last one.
    pub(crate) async fn stats(&self) -> Result<Any, Error> {
        if self.life.lock().exit().is_some()
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
        let execs: HashMap<u32, String> =
            lock(&self.execs).values().map(|exec| (exec.pid(), exec.id().to_owned())).collect();
        let info = |pid| ProcessInfo {
            pid,
            info: execs.get(&pid).map(|id| process_details(id)).into(),
            ..ProcessInfo::default()
        };
        pids.into_iter().map(info).collect()
    }

    /// Adds another process, to be started later.
    pub(crate) async fn add_exec(&self, request: ExecRequest) -> Result<(), Error> {
        let id = request.id.clone();
        let exists =
            || Error::AlreadyExists(format!("process {id} of task {} exists already", self.id));
        if lock(&self.execs).contains_key(&id) {
            return Err(exists());
        }
        self.check_not_ended()?;
        let process = self.container.exec(request.clone()).await?;
        match lock(&self.execs).entry(id.clone()) {
            Entry::Occupied(_) => Err(exists()),
            Entry::Vacant(place) => {
                place.insert(Exec::new(&self.id, request, process, Arc::clone(&self.publisher)));
                Ok(())
            }
        }
    }

    /// Whether processes can be added and started.
    pub(crate) fn check_not_ended(&self) -> Result<(), Error> {
        match self.life.lock().exit() {
            Some(_) => Err(Error::FailedPrecondition(format!("task {} has ended", self.id))),
            None => Ok(()),
        }
    }

    /// Another process by its id.
    pub(crate) fn exec(&self, id: &str) -> Result<Arc<Exec>, Error> {
        let exec = lock(&self.execs).get(id).map(Arc::clone);
        exec.ok_or_else(|| Error::NotFound(format!("process {id} of task {} not found", self.id)))
    }

    /// Removes another process that has ended or was never started.
    pub(crate) async fn delete_exec(&self, id: &str) -> Result<DeleteResponse, Error> {
        let response = self.exec(id)?.delete().await?;
        lock(&self.execs).remove(id);
        Ok(response)
    }

    /// Tells the container's terminal its size.
    pub(crate) async fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        self.container.resize(columns, rows).await
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
        let exit = self.life.lock().begin_delete()?;
        if let Err(error) = self.container.delete().await {
            self.life.lock().delete_failed();
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
        self.life.state()
    }

    /// The answer to a State request.
    pub(crate) fn describe(&self) -> StateResponse {
        StateResponse {
            id: self.id.clone(),
            bundle: self.bundle.display().to_string(),
            pid: self.pid(),
            ..describe(self.state(), &self.stdio, self.terminal)
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

/// The part of a State answer that is the same for tasks and their processes.
pub(crate) fn describe(state: State, stdio: &StdioPaths, terminal: bool) -> StateResponse {
    let exit = state.exit();
    StateResponse {
        status: EnumOrUnknown::new(state.status()),
        stdin: stdio.stdin.clone(),
        stdout: stdio.stdout.clone(),
        stderr: stdio.stderr.clone(),
        terminal,
        exit_status: exit.map_or(0, |exit| exit.status),
        exited_at: exit.map(|exit| timestamp(exit.at)).into(),
        ..StateResponse::default()
    }
}

fn process_details(exec_id: &str) -> Any {
    let details = ProcessDetails { exec_id: exec_id.to_owned(), ..ProcessDetails::default() };
    Any {
        type_url: PROCESS_DETAILS.to_owned(),
        // One string cannot fail to be encoded.
        value: details.write_to_bytes().unwrap_or_default(),
        ..Any::default()
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
