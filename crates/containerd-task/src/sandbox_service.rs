//! The Sandbox service: what containerd 2 asks of a shim that makes a pod's sandbox
//! itself (`sandboxer = "shim"`), instead of a task that runs a pause container.

use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, StopSandboxResponse, WaitSandboxRequest,
    WaitSandboxResponse,
};
use containerd_shim_protos::sandbox_async::Sandbox;
use containerd_shim_protos::ttrpc::Result as TtrpcResult;
use containerd_shim_protos::ttrpc::r#async::TtrpcContext;
use containerd_shim_protos::types::platform::Platform;

use crate::error::Error;
use crate::service::{TaskService, to_the_end};
use crate::task::timestamp;
use crate::workload::SandboxRequest;

/// What containerd asks for, checked.
fn sandbox_request(request: CreateSandboxRequest) -> Result<SandboxRequest, Error> {
    if request.sandbox_id.is_empty() || request.bundle_path.is_empty() {
        return Err(Error::InvalidArgument("a sandbox needs an id and a bundle".to_owned()));
    }
    if !request.rootfs.is_empty() {
        let message = "a sandbox with a root filesystem is not supported";
        return Err(Error::Unimplemented(message.to_owned()));
    }
    Ok(SandboxRequest {
        id: request.sandbox_id,
        bundle: request.bundle_path.into(),
        network: Some(request.netns_path).filter(|path| !path.is_empty()).map(Into::into),
        options: request.options.into_option(),
    })
}

/// The processor as OCI images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

// Every method is here, as in the Task service.
#[async_trait]
impl Sandbox for TaskService {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> TtrpcResult<CreateSandboxResponse> {
        let request = sandbox_request(request)?;
        let service = self.clone();
        let create = async move { service.sandbox().create(service.workload(), request).await };
        to_the_end(create).await?;
        Ok(CreateSandboxResponse::default())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> TtrpcResult<StartSandboxResponse> {
        let sandbox = self.sandbox().get(&request.sandbox_id)?;
        sandbox.start()?;
        Ok(StartSandboxResponse {
            pid: sandbox.pid(),
            created_at: MessageField::some(timestamp(sandbox.created_at())),
            ..StartSandboxResponse::default()
        })
    }

    async fn platform(
        &self,
        _: &TtrpcContext,
        request: PlatformRequest,
    ) -> TtrpcResult<PlatformResponse> {
        self.sandbox().get(&request.sandbox_id)?;
        let platform = Platform {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture().to_owned(),
            ..Platform::default()
        };
        Ok(PlatformResponse {
            platform: MessageField::some(platform),
            ..PlatformResponse::default()
        })
    }

    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        request: StopSandboxRequest,
    ) -> TtrpcResult<StopSandboxResponse> {
        let sandbox = self.sandbox().get(&request.sandbox_id)?;
        let service = self.clone();
        let grace = Duration::from_secs(request.timeout_secs.into());
        let stop = async move {
            service.end_tasks(grace).await;
            sandbox.end().await
        };
        to_the_end(stop).await?;
        Ok(StopSandboxResponse::default())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: WaitSandboxRequest,
    ) -> TtrpcResult<WaitSandboxResponse> {
        let sandbox = self.sandbox().get(&request.sandbox_id)?;
        let exit = sandbox.ended().await;
        Ok(WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..WaitSandboxResponse::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: SandboxStatusRequest,
    ) -> TtrpcResult<SandboxStatusResponse> {
        Ok(self.sandbox().get(&request.sandbox_id)?.describe(request.verbose))
    }

    async fn ping_sandbox(
        &self,
        _: &TtrpcContext,
        request: PingRequest,
    ) -> TtrpcResult<PingResponse> {
        self.sandbox().get(&request.sandbox_id)?.check_alive()?;
        Ok(PingResponse::default())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        _: ShutdownSandboxRequest,
    ) -> TtrpcResult<ShutdownSandboxResponse> {
        let service = self.clone();
        let shut_down = async move {
            service.end_tasks(Duration::ZERO).await;
            service.sandbox().remove().await?;
            service.shut_down_now();
            Ok(())
        };
        to_the_end(shut_down).await?;
        Ok(ShutdownSandboxResponse::default())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: SandboxMetricsRequest,
    ) -> TtrpcResult<SandboxMetricsResponse> {
        let stats = self.sandbox().get(&request.sandbox_id)?.stats()?;
        let mut response = SandboxMetricsResponse::default();
        let metrics = response.metrics.mut_or_insert_default();
        metrics.timestamp = MessageField::some(timestamp(std::time::SystemTime::now()));
        metrics.id = request.sandbox_id;
        metrics.data = MessageField::some(stats);
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
