use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use containerd_shim_protos::api::ShutdownRequest;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim_async::Task as _;
use containerd_shim_protos::ttrpc::{self, Code};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::events::Publisher;
use crate::workload::{Container, CreateRequest, Exit, Workload};

/// Makes sandboxes, all of which are remembered; one called `wrong` cannot be made.
#[derive(Default, Clone)]
struct Fake(Arc<Mutex<Vec<Arc<FakeSandbox>>>>);

struct FakeSandbox {
    exit: watch::Sender<Option<Exit>>,
    deleted: Mutex<bool>,
}

#[async_trait]
impl Workload for Fake {
    async fn create(
        &self,
        request: CreateRequest,
        _: CancellationToken,
    ) -> Result<Arc<dyn Container>, Error> {
        Err(Error::Failed(format!("no container {}", request.id)))
    }

    async fn create_sandbox(
        &self,
        request: SandboxRequest,
    ) -> Result<Arc<dyn crate::workload::Sandbox>, Error> {
        if request.id == "wrong" {
            return Err(Error::InvalidArgument("no such parameter".to_owned()));
        }
        let sandbox =
            Arc::new(FakeSandbox { exit: watch::Sender::new(None), deleted: Mutex::new(false) });
        self.0.lock().unwrap().push(Arc::clone(&sandbox));
        Ok(sandbox)
    }
}

#[async_trait]
impl crate::workload::Sandbox for FakeSandbox {
    fn pid(&self) -> u32 {
        4711
    }

    fn kill(&self) {
        let exit = Exit { status: 137, at: SystemTime::now(), out_of_memory: false };
        self.exit.send_replace(Some(exit));
    }

    async fn wait(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        exit.wait_for(Option::is_some).await.unwrap().unwrap()
    }

    fn stats(&self) -> Result<Any, Error> {
        Ok(Any { type_url: "stats".to_owned(), ..Any::default() })
    }

    async fn delete(&self) -> Result<(), Error> {
        assert!(self.exit.borrow().is_some(), "deleted while running");
        *self.deleted.lock().unwrap() = true;
        Ok(())
    }
}

fn service() -> (TaskService, Fake) {
    let fake = Fake::default();
    (TaskService::new("ns1", "pod", fake.clone(), Publisher::new("", "ns1")), fake)
}

async fn create(service: &TaskService, id: &str) -> TtrpcResult<CreateSandboxResponse> {
    let request = CreateSandboxRequest {
        sandbox_id: id.to_owned(),
        bundle_path: "/bundle".to_owned(),
        ..CreateSandboxRequest::default()
    };
    service.create_sandbox(&TtrpcContext::default(), request).await
}

async fn start(service: &TaskService, id: &str) -> TtrpcResult<u32> {
    let request = StartSandboxRequest { sandbox_id: id.to_owned(), ..Default::default() };
    let response = service.start_sandbox(&TtrpcContext::default(), request).await?;
    assert!(response.created_at.is_some());
    Ok(response.pid)
}

async fn status(service: &TaskService, id: &str) -> TtrpcResult<SandboxStatusResponse> {
    let request =
        SandboxStatusRequest { sandbox_id: id.to_owned(), verbose: true, ..Default::default() };
    service.sandbox_status(&TtrpcContext::default(), request).await
}

async fn ping(service: &TaskService, id: &str) -> TtrpcResult<PingResponse> {
    let request = PingRequest { sandbox_id: id.to_owned(), ..Default::default() };
    service.ping_sandbox(&TtrpcContext::default(), request).await
}

fn code<T>(result: TtrpcResult<T>) -> Code {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => status.code.enum_value_or_default(),
        Err(error) => panic!("not a status: {error}"),
        Ok(_) => Code::OK,
    }
}

/// Whether the service has been told to end.
async fn is_shut_down(service: &TaskService) -> bool {
    timeout(Duration::from_millis(10), service.shut_down()).await.is_ok()
}

#[tokio::test]
async fn a_sandbox_is_ready_from_its_start_to_its_stop_and_then_removed() {
    let (service, fake) = service();
    create(&service, "s").await.unwrap();
    assert_eq!(status(&service, "s").await.unwrap().state, "SANDBOX_NOTREADY");
    assert_eq!(start(&service, "s").await.unwrap(), 4711);
    let ready = status(&service, "s").await.unwrap();
    assert_eq!((ready.state.as_str(), ready.pid), ("SANDBOX_READY", 4711));
    assert!(ready.info["info"].contains("4711"));
    ping(&service, "s").await.unwrap();

    let context = TtrpcContext::default();
    let stop = || StopSandboxRequest { sandbox_id: "s".to_owned(), ..Default::default() };
    service.stop_sandbox(&context, stop()).await.unwrap();
    service.stop_sandbox(&context, stop()).await.unwrap();
    let wait = WaitSandboxRequest { sandbox_id: "s".to_owned(), ..Default::default() };
    assert_eq!(service.wait_sandbox(&context, wait).await.unwrap().exit_status, 137);
    let stopped = status(&service, "s").await.unwrap();
    assert_eq!(stopped.state, "SANDBOX_NOTREADY");
    assert!(stopped.exited_at.is_some());
    assert_eq!(code(ping(&service, "s").await), Code::NOT_FOUND);

    assert!(!is_shut_down(&service).await);
    let request = ShutdownSandboxRequest::default;
    service.shutdown_sandbox(&context, request()).await.unwrap();
    service.shutdown_sandbox(&context, request()).await.unwrap();
    assert!(is_shut_down(&service).await);
    assert!(*fake.0.lock().unwrap()[0].deleted.lock().unwrap());
    assert_eq!(code(status(&service, "s").await), Code::NOT_FOUND);
}

#[tokio::test]
async fn a_shim_has_one_sandbox_and_knows_no_other() {
    let (service, _) = service();
    create(&service, "s").await.unwrap();
    assert_eq!(code(create(&service, "t").await), Code::ALREADY_EXISTS);
    assert_eq!(code(start(&service, "t").await), Code::NOT_FOUND);
    assert_eq!(code(create(&service, "").await), Code::INVALID_ARGUMENT);
    start(&service, "s").await.unwrap();
    assert_eq!(code(start(&service, "s").await), Code::FAILED_PRECONDITION);
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_made_leaves_the_place_free() {
    let (service, _) = service();
    assert_eq!(code(create(&service, "wrong").await), Code::INVALID_ARGUMENT);
    create(&service, "s").await.unwrap();
}

#[tokio::test]
async fn the_end_of_its_process_is_the_end_of_the_sandbox() {
    let (service, fake) = service();
    create(&service, "s").await.unwrap();
    start(&service, "s").await.unwrap();
    crate::workload::Sandbox::kill(fake.0.lock().unwrap()[0].as_ref());
    let wait = WaitSandboxRequest { sandbox_id: "s".to_owned(), ..Default::default() };
    service.wait_sandbox(&TtrpcContext::default(), wait).await.unwrap();
    assert_eq!(status(&service, "s").await.unwrap().state, "SANDBOX_NOTREADY");
}

#[tokio::test]
async fn a_shim_with_a_sandbox_is_in_use_without_a_task() {
    let (service, _) = service();
    create(&service, "s").await.unwrap();
    let context = TtrpcContext::default();
    service.shutdown(&context, ShutdownRequest::default()).await.unwrap();
    assert!(!is_shut_down(&service).await);
    let idle = service.abandoned(Duration::from_millis(1));
    assert!(timeout(Duration::from_millis(50), idle).await.is_err());
}

#[tokio::test]
async fn numbers_and_platform_are_those_of_the_machine_and_the_pod() {
    let (service, _) = service();
    create(&service, "s").await.unwrap();
    let context = TtrpcContext::default();
    let request = SandboxMetricsRequest { sandbox_id: "s".to_owned(), ..Default::default() };
    let metrics = service.sandbox_metrics(&context, request).await.unwrap().metrics;
    assert_eq!((metrics.id.as_str(), metrics.data.type_url.as_str()), ("s", "stats"));
    let request = PlatformRequest { sandbox_id: "s".to_owned(), ..Default::default() };
    let platform = service.platform(&context, request).await.unwrap().platform;
    assert_eq!(platform.os, "linux");
    assert!(["amd64", "arm64", "riscv64"].contains(&platform.architecture.as_str()));
}
