//! The Task service: containerd's requests, mapped to tasks.
//!
//! ttrpc drops a handler when its connection closes or its time is up. Whatever
//! changes a task therefore runs in a tokio task of its own, which goes on; the
//! handler only waits for it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest,
    StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::ttrpc::Result as TtrpcResult;
use containerd_shim_protos::ttrpc::r#async::{Service, TtrpcContext};
use containerd_shim_protos::{sandbox_async, shim_async};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bundle::Bundle;
use crate::creation::{Reservation, Slot, Tasks, create_request, exec_request};
use crate::error::Error;
use crate::events::Publisher;
use crate::exec::Exec;
use crate::sandbox::SandboxSlot;
use crate::task::{Task, discard, wait_response};
use crate::workload::{CreateRequest, Workload};

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

/// containerd's Task service over a [`Workload`], and its Sandbox service.
#[derive(Clone)]
pub struct TaskService(Arc<Inner>);

struct Inner {
    namespace: String,
    /// The container whose `start` made this shim.
    pod: String,
    workload: Box<dyn Workload>,
    publisher: Arc<Publisher>,
    tasks: Tasks,
    sandbox: SandboxSlot,
    /// Told at the end of every create and delete.
    used: Notify,
    shutdown: CancellationToken,
}

/// What an id and an exec id name.
enum Named {
    Init(Arc<Task>),
    Exec(Arc<Exec>),
}

impl TaskService {
    /// A service without tasks for one containerd namespace; `pod` is the container
    /// whose `start` made this shim.
    pub fn new(namespace: &str, pod: &str, workload: impl Workload, publisher: Publisher) -> Self {
        Self(Arc::new(Inner {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            workload: Box::new(workload),
            publisher: Arc::new(publisher),
            tasks: Tasks::default(),
            sandbox: SandboxSlot::default(),
            used: Notify::new(),
            shutdown: CancellationToken::new(),
        }))
    }

    /// The method tables for a ttrpc server: the Task service under both its names,
    /// and the Sandbox service.
    pub fn methods(&self) -> HashMap<String, Service> {
        let table = || shim_async::create_task(Arc::new(self.clone()));
        let mut services = table();
        services.extend(sandbox_async::create_sandbox(Arc::new(self.clone())));
        services.extend(table().into_values().map(|service| (TASK_V2.to_owned(), service)));
        debug_assert!(services.contains_key(TASK_V3));
        services
    }

    /// Waits until containerd has shut the service down.
    pub async fn shut_down(&self) {
        self.0.shutdown.cancelled().await;
    }

    /// Waits until there has been neither task nor sandbox for `idle`: whoever started
    /// this shim has died before it could use or end it. To be awaited once at a time;
    /// it does not wake up while there is one.
    pub async fn abandoned(&self, idle: Duration) {
        loop {
            if !self.0.is_unused() {
                self.0.used.notified().await;
            } else if timeout(idle, self.0.used.notified()).await.is_err() && self.0.is_unused() {
                return;
            }
        }
    }

    /// Waits, at most for `limit`, until all events have reached containerd.
    pub async fn flush_events(&self, limit: Duration) {
        self.0.publisher.flush(limit).await;
    }

    /// Ends every task, then the sandbox.
    pub async fn terminate(&self, grace: Duration) {
        self.end_tasks(grace).await;
        if let Err(error) = self.0.sandbox.remove().await {
            tracing::error!(%error, "the sandbox leaves something");
        }
    }

    /// Ends every task: a create is given up, a running container gets SIGTERM
    /// and, if it has not ended within `grace`, SIGKILL.
    pub(crate) async fn end_tasks(&self, grace: Duration) {
        let slots = self.0.tasks.all();
        let mut live = Vec::new();
        for slot in slots {
            match slot {
                Slot::Creating(creation) => creation.cancel(),
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

    pub(crate) fn sandbox(&self) -> &SandboxSlot {
        &self.0.sandbox
    }

    pub(crate) fn workload(&self) -> &dyn Workload {
        self.0.workload.as_ref()
    }

    /// Ends the service whatever there is.
    pub(crate) fn shut_down_now(&self) {
        self.0.shutdown.cancel();
    }
}

async fn all_ended(tasks: &[Arc<Task>]) {
    for task in tasks {
        task.ended().await;
    }
}

impl Inner {
    fn is_unused(&self) -> bool {
        self.tasks.is_empty() && self.sandbox.any().is_none()
    }

    /// The task of this id, which must exist.
    fn task(&self, id: &str) -> Result<Arc<Task>, Error> {
        self.tasks.live(id)
    }

    /// The task of this id or another process in it, which must exist.
    fn named(&self, id: &str, exec_id: &str) -> Result<Named, Error> {
        let task = self.task(id)?;
        if exec_id.is_empty() { Ok(Named::Init(task)) } else { task.exec(exec_id).map(Named::Exec) }
    }

    /// The same for what is to be started: nothing is in a task that has ended.
    fn startable(&self, id: &str, exec_id: &str) -> Result<Named, Error> {
        if !exec_id.is_empty() {
            self.task(id)?.check_not_ended()?;
        }
        self.named(id, exec_id)
    }

    async fn create(self: Arc<Self>, request: CreateRequest) -> Result<u32, Error> {
        // After the reservation, which is given back when this fails.
        let _told = Tells(&self.used);
        let reservation = Reservation::new(&self.tasks, &request)?;
        Bundle::new(&request.bundle)
            .record_program_of(&self.pod)
            .map_err(|error| Error::failed("cannot record the shim's program", &error))?;
        let cancel = reservation.cancel().clone();
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
        if let Some(creation) = self.tasks.creation(&id) {
            creation.give_up().await;
        }
        let task = self.task(&id)?;
        let response = task.delete().await?;
        self.tasks.remove(&id);
        self.used.notify_one();
        Ok(response)
    }
}

/// Tells that something has ended when it is dropped.
struct Tells<'a>(&'a Notify);

impl Drop for Tells<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Runs a change to its end even if the request for it goes away.
pub(crate) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> TtrpcResult<T> {
    match tokio::spawn(change).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Error::failed("the shim failed to carry out a request", &error).into()),
    }
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
        let named = self.0.startable(&request.id, &request.exec_id)?;
        let start = async move {
            match named {
                Named::Init(task) => task.start().await,
                Named::Exec(exec) => exec.start().await,
            }
        };
        let pid = to_the_end(start).await?;
        Ok(StartResponse { pid, ..StartResponse::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> TtrpcResult<StateResponse> {
        if let Some(creation) = self.0.tasks.creation(&request.id) {
            return Ok(creation.describe());
        }
        Ok(match self.0.named(&request.id, &request.exec_id)? {
            Named::Init(task) => task.describe(),
            Named::Exec(exec) => exec.describe(),
        })
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> TtrpcResult<WaitResponse> {
        Ok(wait_response(match self.0.named(&request.id, &request.exec_id)? {
            Named::Init(task) => task.ended().await,
            Named::Exec(exec) => exec.ended().await,
        }))
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> TtrpcResult<Empty> {
        if let Some(creation) = self.0.tasks.creation(&request.id)
            && ENDING.contains(&request.signal)
        {
            creation.cancel();
            return Ok(Empty::new());
        }
        let named = self.0.named(&request.id, &request.exec_id)?;
        let kill = async move {
            match named {
                Named::Init(task) => task.kill(request.signal, request.all).await,
                Named::Exec(exec) => exec.kill(request.signal).await,
            }
        };
        to_the_end(kill).await?;
        Ok(Empty::new())
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: DeleteRequest,
    ) -> TtrpcResult<DeleteResponse> {
        if request.exec_id.is_empty() {
            return to_the_end(Arc::clone(&self.0).delete(request.id)).await;
        }
        let task = self.0.task(&request.id)?;
        to_the_end(async move { task.delete_exec(&request.exec_id).await }).await
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
        if self.0.is_unused() {
            self.0.shutdown.cancel();
        }
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> TtrpcResult<Empty> {
        match self.0.named(&request.id, &request.exec_id)? {
            _ if !request.stdin => {}
            Named::Init(task) => task.close_stdin(),
            Named::Exec(exec) => exec.close_stdin(),
        }
        Ok(Empty::new())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> TtrpcResult<Empty> {
        // Terminals count in 16 bits.
        let size = |characters: u32| u16::try_from(characters).unwrap_or(u16::MAX);
        let (columns, rows) = (size(request.width), size(request.height));
        match self.0.named(&request.id, &request.exec_id)? {
            Named::Init(task) => task.resize(columns, rows).await?,
            Named::Exec(exec) => exec.resize(columns, rows).await?,
        }
        Ok(Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> TtrpcResult<Empty> {
        let task = self.0.task(&request.id)?;
        let request = exec_request(&self.0.namespace, request)?;
        to_the_end(async move { task.add_exec(request).await }).await?;
        Ok(Empty::new())
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        request: CheckpointTaskRequest,
    ) -> TtrpcResult<Empty> {
        self.0.task(&request.id)?;
        // The status code alone does not reach people: newer clients show the text only.
        let message = format!("a checkpoint is not implemented for task {}", request.id);
        Err(Error::Unimplemented(message).into())
    }
}

#[cfg(test)]
mod tests;
