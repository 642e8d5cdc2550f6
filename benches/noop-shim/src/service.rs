//! The Task service for a task that does not exist.

use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
    DeleteResponse, Empty, KillRequest, PidsRequest, PidsResponse, ShutdownRequest, StartRequest,
    StartResponse, StateRequest, StateResponse, Status, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::shim_async::Task;
use containerd_shim_protos::ttrpc::Result;
use containerd_shim_protos::ttrpc::r#async::TtrpcContext;
use tokio::sync::watch;

/// How far the life of the task that is not there has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    Stopped,
    ShutDown,
}

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct NoTask(Arc<watch::Sender<Stage>>);

impl Default for NoTask {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Stage::Running)))
    }
}

impl NoTask {
    /// Waits until containerd has no more use for this shim.
    pub(crate) async fn shut_down(&self) {
        self.reached(Stage::ShutDown).await;
    }

    async fn reached(&self, stage: Stage) {
        // The sender lives as long as this value does.
        let _ = self.0.subscribe().wait_for(|now| *now >= stage).await;
    }
}

/// The shim's own process stands in for the container's.
fn pid() -> u32 {
    std::process::id()
}

fn now() -> MessageField<Timestamp> {
    Some(Timestamp::now()).into()
}

#[async_trait]
impl Task for NoTask {
    async fn create(&self, _: &TtrpcContext, _: CreateTaskRequest) -> Result<CreateTaskResponse> {
        Ok(CreateTaskResponse { pid: pid(), ..Default::default() })
    }

    async fn start(&self, _: &TtrpcContext, _: StartRequest) -> Result<StartResponse> {
        Ok(StartResponse { pid: pid(), ..Default::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> Result<StateResponse> {
        let running = *self.0.borrow() == Stage::Running;
        let status = if running { Status::RUNNING } else { Status::STOPPED };
        Ok(StateResponse {
            id: request.id,
            pid: pid(),
            status: status.into(),
            exited_at: if running { MessageField::none() } else { now() },
            ..Default::default()
        })
    }

    async fn kill(&self, _: &TtrpcContext, _: KillRequest) -> Result<Empty> {
        self.0.send_replace(Stage::Stopped);
        Ok(Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, _: WaitRequest) -> Result<WaitResponse> {
        self.reached(Stage::Stopped).await;
        Ok(WaitResponse { exited_at: now(), ..Default::default() })
    }

    async fn delete(&self, _: &TtrpcContext, _: DeleteRequest) -> Result<DeleteResponse> {
        Ok(DeleteResponse { pid: pid(), exited_at: now(), ..Default::default() })
    }

    async fn pids(&self, _: &TtrpcContext, _: PidsRequest) -> Result<PidsResponse> {
        Ok(PidsResponse::default())
    }

    async fn connect(&self, _: &TtrpcContext, _: ConnectRequest) -> Result<ConnectResponse> {
        Ok(ConnectResponse { shim_pid: pid(), task_pid: pid(), ..Default::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> Result<Empty> {
        self.0.send_replace(Stage::ShutDown);
        Ok(Empty::default())
    }
}
