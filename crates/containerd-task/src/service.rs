//! The Task service: containerd's requests, mapped to tasks.
//!
//! ttrpc drops a handler when its connection closes or its time is up. Whatever
//! changes a task therefore runs in a tokio task of its own, which goes on; the
//! handler only waits for it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest,
    StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, Status,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
use containerd_shim_protos::shim_async;
use containerd_shim_protos::ttrpc::Result as TtrpcResult;
use containerd_shim_protos::ttrpc::r#async::{Service, TtrpcContext};
use containerd_shim_protos::types::mount::Mount;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::events::Publisher;
use crate::lifecycle::State;
use crate::stdio::StdioPaths;
use crate::task::{Task, discard, wait_response};
use crate::workload::{CreateRequest, RootfsMount, Workload};

/// The service's name in ttrpc requests of containerd 1.x, and of 2.x for a shim
/// that answered `start` with a bare address.
const TASK_V2: &str = "containerd.task.v2.Task";
/// The same service for a shim that announced version 3.
const TASK_V3: &str = "containerd.task.v3.Task";

const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;
/// How long killed containers may take to end when the shim itself ends.
const KILLED: Duration = Duration::from_secs(2);
/// Signals that end a task which is only being created: HUP, INT, QUIT, KILL, TERM.
const ENDING: [u32; 5] = [1, 2, 3, SIGKILL, SIGTERM];

/// containerd's Task service over a [`Workload`].
#[derive(Clone)]
pub struct TaskService(Arc<Inner>);

struct Inner {
    namespace: String,
    workload: Box<dyn Workload>,
    publisher: Arc<Publisher>,
    tasks: Mutex<HashMap<String, Slot>>,
    /// How many creates there were.
    creates: AtomicU64,
    shutdown: CancellationToken,
}

#[derive(Clone)]
enum Slot {
    Creating(Arc<Creation>),
    Live(Arc<Task>),
}

/// A create that is under way.
struct Creation {
    request: CreateRequest,
    /// Fired to have it given up.
    cancel: CancellationToken,
    /// Fires when it has ended either way.
    done: CancellationToken,
}

impl Creation {
    fn new(request: &CreateRequest) -> Arc<Self> {
        Arc::new(Self {
            request: request.clone(),
            cancel: CancellationToken::new(),
            done: CancellationToken::new(),
        })
    }

    /// The answer to a State request. Creating may take minutes when code has to
    /// be compiled; a client asks for the state before it kills.
    fn describe(&self) -> StateResponse {
        StateResponse {
            id: self.request.id.clone(),
            bundle: self.request.bundle.display().to_string(),
            status: EnumOrUnknown::new(Status::CREATED),
            stdin: self.request.stdio.stdin.clone(),
            stdout: self.request.stdio.stdout.clone(),
            stderr: self.request.stdio.stderr.clone(),
            terminal: self.request.terminal,
            ..StateResponse::default()
        }
    }
}

impl TaskService {
    /// A service without tasks for one containerd namespace.
    pub fn new(namespace: &str, workload: impl Workload, publisher: Publisher) -> Self {
        Self(Arc::new(Inner {
            namespace: namespace.to_owned(),
            workload: Box::new(workload),
            publisher: Arc::new(publisher),
            tasks: Mutex::default(),
            creates: AtomicU64::new(0),
            shutdown: CancellationToken::new(),
        }))
    }

    /// The method tables for a ttrpc server, under both names of the service.
    pub fn methods(&self) -> HashMap<String, Service> {
        let table = || shim_async::create_task(Arc::new(self.clone()));
        let mut services = table();
        services.extend(table().into_values().map(|service| (TASK_V2.to_owned(), service)));
        debug_assert!(services.contains_key(TASK_V3));
        services
    }

    /// Waits until containerd has shut the service down.
    pub async fn shut_down(&self) {
        self.0.shutdown.cancelled().await;
    }

    /// Waits until there has been no task for `idle`: whoever started this shim has
    /// died before it could use or end it.
    pub async fn abandoned(&self, idle: Duration) {
        let mut creates = self.0.creates.load(Ordering::Relaxed);
        loop {
            sleep(idle).await;
            let before = std::mem::replace(&mut creates, self.0.creates.load(Ordering::Relaxed));
            if before == creates && self.0.tasks().is_empty() {
                return;
            }
        }
    }

    /// Waits, at most for `limit`, until all events have reached containerd.
    pub async fn flush_events(&self, limit: Duration) {
        self.0.publisher.flush(limit).await;
    }

    /// Ends every task: a create is given up, a running container gets SIGTERM
    /// and, if it has not ended within `grace`, SIGKILL.
    pub async fn terminate(&self, grace: Duration) {
        let slots: Vec<Slot> = self.0.tasks().values().cloned().collect();
        let mut live = Vec::new();
        for slot in slots {
            match slot {
                Slot::Creating(creation) => creation.cancel.cancel(),
                Slot::Live(task) => live.push(task),
            }
        }
        for task in &live {
            // An already ended task is what is wanted.
            let _ = task.kill(SIGTERM, false).await;
        }
        if timeout(grace, all_ended(&live)).await.is_err() {
            for task in &live {
                let _ = task.kill(SIGKILL, true).await;
            }
            let _ = timeout(KILLED, all_ended(&live)).await;
        }
    }
}

async fn all_ended(tasks: &[Arc<Task>]) {
    for task in tasks {
        task.ended().await;
    }
}

impl Inner {
    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task of this id, which must exist.
    fn task(&self, id: &str) -> Result<Arc<Task>, Error> {
        match self.tasks().get(id) {
            Some(Slot::Live(task)) => Ok(Arc::clone(task)),
            Some(Slot::Creating(_)) => {
                Err(Error::NotFound(format!("task {id} is still being created")))
            }
            None => Err(Error::NotFound(format!("task {id} not found"))),
        }
    }

    /// The task of this id, for a request about its first process.
    fn init_of(&self, id: &str, exec_id: &str) -> Result<Arc<Task>, Error> {
        let task = self.task(id)?;
        if exec_id.is_empty() {
            return Ok(task);
        }
        Err(Error::NotFound(format!("process {exec_id} of task {id} not found")))
    }

    /// The create of this id, if one is under way.
    fn creation(&self, id: &str) -> Option<Arc<Creation>> {
        match self.tasks().get(id) {
            Some(Slot::Creating(creation)) => Some(Arc::clone(creation)),
            _ => None,
        }
    }

    async fn create(self: Arc<Self>, request: CreateRequest) -> Result<u32, Error> {
        let reservation = Reservation::new(Arc::clone(&self), &request)?;
        let cancel = reservation.creation.cancel.clone();
        let container = self.workload.create(request.clone(), cancel).await?;
        let pid = container.pid();
        match reservation
            .fill(|| Task::new(request, Arc::clone(&container), Arc::clone(&self.publisher)))
        {
            Ok(()) => Ok(pid),
            Err(error) => {
                discard(container.as_ref()).await;
                Err(error)
            }
        }
    }

    async fn delete(self: Arc<Self>, id: String) -> Result<DeleteResponse, Error> {
        if let Some(creation) = self.creation(&id) {
            creation.cancel.cancel();
            creation.done.cancelled().await;
        }
        let task = self.task(&id)?;
        let response = task.delete().await?;
        self.tasks().remove(&id);
        Ok(response)
    }
}

/// A task id that is taken while its container is being made; given back on
/// drop.
struct Reservation {
    inner: Arc<Inner>,
    id: String,
    creation: Arc<Creation>,
    filled: bool,
}

impl Reservation {
    fn new(inner: Arc<Inner>, request: &CreateRequest) -> Result<Self, Error> {
        let (id, creation) = (request.id.as_str(), Creation::new(request));
        inner.creates.fetch_add(1, Ordering::Relaxed);
        let mut tasks = inner.tasks();
        if tasks.contains_key(id) {
            return Err(Error::AlreadyExists(format!("task {id} exists already")));
        }
        tasks.insert(id.to_owned(), Slot::Creating(Arc::clone(&creation)));
        drop(tasks);
        Ok(Self { inner, id: id.to_owned(), creation, filled: false })
    }

    /// Puts the task in, unless the create was given up meanwhile.
    fn fill(mut self, task: impl FnOnce() -> Arc<Task>) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let mut tasks = inner.tasks();
        if self.creation.cancel.is_cancelled() {
            drop(tasks);
            return Err(Error::Failed(format!("task {} was ended during its creation", self.id)));
        }
        tasks.insert(self.id.clone(), Slot::Live(task()));
        self.filled = true;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.inner.tasks().remove(&self.id);
        }
        self.creation.done.cancel();
    }
}

/// Runs a change to its end even if the request for it goes away.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> TtrpcResult<T> {
    match tokio::spawn(change).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Error::failed("the shim failed to carry out a request", &error).into()),
    }
}

fn create_request(namespace: &str, request: CreateTaskRequest) -> Result<CreateRequest, Error> {
    if request.id.is_empty() || request.bundle.is_empty() {
        return Err(Error::InvalidArgument("a task needs an id and a bundle".to_owned()));
    }
    if !request.checkpoint.is_empty() {
        return Err(Error::Unimplemented(
            "restoring from a checkpoint is not supported".to_owned(),
        ));
    }
    let mount = |mount: Mount| RootfsMount {
        kind: mount.type_,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    Ok(CreateRequest {
        stdio: StdioPaths {
            id: request.id.clone(),
            namespace: namespace.to_owned(),
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        },
        id: request.id,
        bundle: request.bundle.into(),
        rootfs: request.rootfs.into_iter().map(mount).collect(),
        terminal: request.terminal,
        options: request.options.into_option(),
    })
}

// Every method is here: the generated default answers "not found", which
// containerd takes for "the task is gone".
#[async_trait]
impl shim_async::Task for TaskService {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> TtrpcResult<CreateTaskResponse> {
        let request = create_request(&self.0.namespace, request)?;
        let pid = to_the_end(Arc::clone(&self.0).create(request)).await?;
        Ok(CreateTaskResponse { pid, ..CreateTaskResponse::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> TtrpcResult<StartResponse> {
        let task = self.0.init_of(&request.id, &request.exec_id)?;
        let pid = to_the_end(async move { task.start().await }).await?;
        Ok(StartResponse { pid, ..StartResponse::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> TtrpcResult<StateResponse> {
        if let Some(creation) = self.0.creation(&request.id) {
            return Ok(creation.describe());
        }
        Ok(self.0.init_of(&request.id, &request.exec_id)?.describe())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> TtrpcResult<WaitResponse> {
        let task = self.0.init_of(&request.id, &request.exec_id)?;
        Ok(wait_response(task.ended().await))
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> TtrpcResult<Empty> {
        if let Some(creation) = self.0.creation(&request.id)
            && ENDING.contains(&request.signal)
        {
            creation.cancel.cancel();
            return Ok(Empty::new());
        }
        let task = self.0.init_of(&request.id, &request.exec_id)?;
        to_the_end(async move { task.kill(request.signal, request.all).await }).await?;
        Ok(Empty::new())
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: DeleteRequest,
    ) -> TtrpcResult<DeleteResponse> {
        if !request.exec_id.is_empty() {
            self.0.init_of(&request.id, &request.exec_id)?;
        }
        to_the_end(Arc::clone(&self.0).delete(request.id)).await
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> TtrpcResult<PidsResponse> {
        let processes = self.0.task(&request.id)?.pids().await;
        Ok(PidsResponse { processes, ..PidsResponse::default() })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> TtrpcResult<Empty> {
        let task = self.0.task(&request.id)?;
        to_the_end(async move { task.pause().await }).await?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> TtrpcResult<Empty> {
        let task = self.0.task(&request.id)?;
        to_the_end(async move { task.resume().await }).await?;
        Ok(Empty::new())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> TtrpcResult<Empty> {
        let task = self.0.task(&request.id)?;
        let resources = request.resources.into_option().ok_or_else(|| {
            Error::InvalidArgument(format!("update of task {} names no resources", request.id))
        })?;
        to_the_end(async move { task.update(resources).await }).await?;
        Ok(Empty::new())
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> TtrpcResult<StatsResponse> {
        let stats = self.0.task(&request.id)?.stats().await?;
        Ok(StatsResponse { stats: MessageField::some(stats), ..StatsResponse::default() })
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: ConnectRequest,
    ) -> TtrpcResult<ConnectResponse> {
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self.0.task(&request.id).map_or(0, |task| task.pid()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectResponse::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> TtrpcResult<Empty> {
        if self.0.tasks().is_empty() {
            self.0.shutdown.cancel();
        }
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> TtrpcResult<Empty> {
        let task = self.0.init_of(&request.id, &request.exec_id)?;
        if request.stdin {
            task.close_stdin();
        }
        Ok(Empty::new())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> TtrpcResult<Empty> {
        self.0.init_of(&request.id, &request.exec_id)?;
        Err(unsupported(&request.id, "resizing a terminal").into())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> TtrpcResult<Empty> {
        if let State::Stopped(_) | State::Deleting(_) = self.0.task(&request.id)?.state() {
            let message = format!("task {} has ended", request.id);
            return Err(Error::FailedPrecondition(message).into());
        }
        Err(unsupported(&request.id, "executing another process").into())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        request: CheckpointTaskRequest,
    ) -> TtrpcResult<Empty> {
        self.0.task(&request.id)?;
        Err(unsupported(&request.id, "a checkpoint").into())
    }
}

/// The status code alone does not reach people: newer clients show the text only.
fn unsupported(id: &str, what: &str) -> Error {
    Error::Unimplemented(format!("{what} is not implemented for task {id}"))
}

#[cfg(test)]
mod tests;
