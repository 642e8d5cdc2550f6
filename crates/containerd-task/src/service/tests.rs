//! The whole service over real sockets, with fake containers and a recording
//! containerd.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::SystemTime;

use containerd_shim_protos::api::Status;
use containerd_shim_protos::events::task::{TaskExit, TaskStart};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::Task as _;
use containerd_shim_protos::shim_async::{Client, Events, TaskClient, create_events};
use containerd_shim_protos::ttrpc::asynchronous::Server;
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use containerd_shim_protos::ttrpc::{self, Code, context::Context};
use std::sync::Mutex;

use tokio::sync::{Notify, watch};

use tokio::time::sleep;

use super::*;
use crate::workload::{Container, ExecProcess, ExecRequest, Exit};

/// A workload whose containers do what their ids say: `hang-create`,
/// `fail-create`, `fail-start`, `instant` (ends with 3 while it starts), `slow-delete`.
#[derive(Default, Clone)]
struct Fake(Arc<FakeState>);

#[derive(Default)]
struct FakeState {
    containers: Mutex<HashMap<String, Arc<FakeContainer>>>,
    gone: Mutex<Vec<String>>,
    out_of_memory: Notify,
}

struct FakeContainer {
    id: String,
    pid: u32,
    exit: watch::Sender<Option<Exit>>,
    waited: Mutex<u32>,
    state: Arc<FakeState>,
}

impl FakeContainer {
    fn end(&self, status: u32, out_of_memory: bool) {
        let exit = Exit { status, at: SystemTime::now(), out_of_memory };
        self.exit.send_if_modified(|known| known.is_none() && known.replace(exit).is_none());
    }
}

#[async_trait]
impl Workload for Fake {
    async fn create(
        &self,
        request: CreateRequest,
        cancel: CancellationToken,
    ) -> Result<Arc<dyn Container>, Error> {
        if request.id.starts_with("fail-create") {
            return Err(Error::Failed("image x is not an app".to_owned()));
        }
        if request.id.starts_with("hang-create") {
            cancel.cancelled().await;
            return Err(Error::Failed("given up".to_owned()));
        }
        let mut containers = self.0.containers.lock().unwrap();
        let container = Arc::new(FakeContainer {
            pid: 1000 + containers.len() as u32,
            id: request.id.clone(),
            exit: watch::Sender::new(None),
            waited: Mutex::new(0),
            state: Arc::clone(&self.0),
        });
        containers.insert(request.id, Arc::clone(&container));
        Ok(container)
    }
}

#[async_trait]
impl Container for FakeContainer {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn start(&self) -> Result<(), Error> {
        if self.id.starts_with("instant") {
            self.end(3, false);
            sleep(Duration::from_millis(5)).await;
        }
        if self.id.starts_with("fail-start") {
            return Err(Error::Failed("port 80 is taken".to_owned()));
        }
        Ok(())
    }

    async fn kill(&self, signal: u32, _all: bool) -> Result<(), Error> {
        if signal != 0 {
            self.end(128 + signal, false);
        }
        Ok(())
    }

    async fn wait(&self) -> Exit {
        *self.waited.lock().unwrap() += 1;
        let mut exit = self.exit.subscribe();
        exit.wait_for(Option::is_some).await.unwrap().unwrap()
    }

    async fn pids(&self) -> Result<Vec<u32>, Error> {
        Err(Error::Failed("no cgroup".to_owned()))
    }

    async fn pause(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn resume(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn update(&self, _resources: Any) -> Result<(), Error> {
        Ok(())
    }

    async fn stats(&self) -> Result<Any, Error> {
        let value = if self.exit.borrow().is_some() { b"last" } else { b"live" };
        if self.state.gone.lock().unwrap().contains(&self.id) {
            return Err(Error::Failed("no cgroup".to_owned()));
        }
        Ok(Any { type_url: "stats".to_owned(), value: value.to_vec(), ..Any::default() })
    }

    fn close_stdin(&self) {}

    async fn out_of_memory(&self) {
        self.state.out_of_memory.notified().await;
    }

    async fn exec(&self, request: ExecRequest) -> Result<Arc<dyn ExecProcess>, Error> {
        if request.process == b"shell" {
            return Err(Error::Unimplemented("there is nothing to execute".to_owned()));
        }
        Ok(Arc::new(FakeExec {
            container: self.exit.clone(),
            request,
            exit: watch::Sender::new(None),
        }))
    }

    async fn delete(&self) -> Result<(), Error> {
        assert!(self.exit.borrow().is_some(), "deleted while running");
        if self.id.starts_with("slow-delete") {
            sleep(Duration::from_millis(50)).await;
        }
        self.state.gone.lock().unwrap().push(self.id.clone());
        Ok(())
    }
}

/// A process that ends with its container, or by a signal; one that is called
/// `fail` cannot be started.
struct FakeExec {
    request: ExecRequest,
    container: watch::Sender<Option<Exit>>,
    exit: watch::Sender<Option<Exit>>,
}

#[async_trait]
impl ExecProcess for FakeExec {
    async fn start(&self) -> Result<u32, Error> {
        if self.request.id == "fail" {
            return Err(Error::Failed("no such program".to_owned()));
        }
        Ok(4711)
    }

    async fn wait(&self) -> Exit {
        let (mut container, mut own) = (self.container.subscribe(), self.exit.subscribe());
        let own = tokio::select! {
            _ = container.wait_for(Option::is_some) => None,
            exit = own.wait_for(Option::is_some) => *exit.unwrap(),
        };
        if own.is_none() {
            sleep(Duration::from_millis(20)).await;
        }
        own.unwrap_or(Exit { status: 137, at: SystemTime::now(), out_of_memory: false })
    }

    async fn kill(&self, signal: u32) -> Result<(), Error> {
        let exit = Exit { status: 128 + signal, at: SystemTime::now(), out_of_memory: false };
        self.exit.send_replace(Some(exit));
        Ok(())
    }

    fn close_stdin(&self) {}

    async fn delete(&self) {}
}

/// A containerd that records events, and may take its time or break off.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<Envelope>>,
    refuse: Mutex<u32>,
    more: Notify,
}

#[async_trait]
impl Events for Recorder {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> TtrpcResult<Empty> {
        let mut refuse = self.refuse.lock().unwrap();
        if *refuse > 0 {
            *refuse -= 1;
            return Err(ttrpc::Error::RpcStatus(ttrpc::get_status(Code::UNAVAILABLE, "later")));
        }
        self.seen.lock().unwrap().push(request.envelope.unwrap());
        self.more.notify_waiters();
        Ok(Empty::new())
    }
}

impl Recorder {
    /// Topics of one container's events, once there are `count` of them.
    async fn topics(&self, id: &str, count: usize) -> Vec<String> {
        let enough = async {
            loop {
                let more = self.more.notified();
                if self.topics_now(id).len() >= count {
                    return;
                }
                more.await;
            }
        };
        let _ = timeout(Duration::from_secs(10), enough).await;
        self.topics_now(id)
    }

    fn topics_now(&self, id: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        // Field 1 of every task event is the container's id.
        let of_container = |envelope: &&Envelope| {
            TaskStart::parse_from_bytes(&envelope.event.value)
                .is_ok_and(|event| event.container_id == id)
                || TaskExit::parse_from_bytes(&envelope.event.value)
                    .is_ok_and(|event| event.container_id == id)
        };
        seen.iter().filter(of_container).map(|envelope| envelope.topic.clone()).collect()
    }
}

async fn serve_events(path: &Path, recorder: Arc<Recorder>) -> Server {
    let listener = Listener::try_from(UnixListener::bind(path).unwrap()).unwrap();
    let mut server = Server::new().add_listener(listener).register_service(create_events(recorder));
    server.start().await.unwrap();
    server
}

struct Setup {
    folder: tempfile::TempDir,
    workload: Fake,
    recorder: Arc<Recorder>,
    service: TaskService,
    client: TaskClient,
    _servers: Mutex<Vec<Server>>,
}

impl Setup {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("events");
        let recorder = Arc::new(Recorder::default());
        let events_server = serve_events(&events, Arc::clone(&recorder)).await;
        let workload = Fake::default();
        let publisher = Publisher::new(&format!("unix://{}", events.display()), "ns1");
        let service = TaskService::new("ns1", "pod", workload.clone(), publisher);
        let socket = folder.path().join("task");
        let listener = Listener::try_from(UnixListener::bind(&socket).unwrap()).unwrap();
        let mut server = Server::new().add_listener(listener).register_service(service.methods());
        server.start().await.unwrap();
        let client = Client::connect(&format!("unix://{}", socket.display())).await.unwrap();
        Self {
            folder,
            workload,
            recorder,
            service,
            client: TaskClient::new(client),
            _servers: Mutex::new(vec![events_server, server]),
        }
    }

    async fn create(&self, id: &str) -> TtrpcResult<u32> {
        let request = CreateTaskRequest {
            id: id.to_owned(),
            bundle: self.folder.path().display().to_string(),
            ..CreateTaskRequest::default()
        };
        self.client.create(Context::default(), &request).await.map(|response| response.pid)
    }

    async fn start(&self, id: &str) -> TtrpcResult<u32> {
        let request = StartRequest { id: id.to_owned(), ..StartRequest::default() };
        self.client.start(Context::default(), &request).await.map(|response| response.pid)
    }

    async fn kill(&self, id: &str, signal: u32) -> TtrpcResult<Empty> {
        let request = KillRequest { id: id.to_owned(), signal, ..KillRequest::default() };
        self.client.kill(Context::default(), &request).await
    }

    async fn wait(&self, id: &str) -> TtrpcResult<u32> {
        let request = WaitRequest { id: id.to_owned(), ..WaitRequest::default() };
        self.client.wait(Context::default(), &request).await.map(|response| response.exit_status)
    }

    async fn delete(&self, id: &str) -> TtrpcResult<DeleteResponse> {
        let request = DeleteRequest { id: id.to_owned(), ..DeleteRequest::default() };
        self.client.delete(Context::default(), &request).await
    }

    async fn status(&self, id: &str) -> TtrpcResult<Status> {
        let request = StateRequest { id: id.to_owned(), ..StateRequest::default() };
        let response = self.client.state(Context::default(), &request).await?;
        Ok(response.status.enum_value_or_default())
    }

    async fn pids(&self, id: &str) -> TtrpcResult<Vec<u32>> {
        let request = PidsRequest { id: id.to_owned(), ..PidsRequest::default() };
        let response = self.client.pids(Context::default(), &request).await?;
        Ok(response.processes.iter().map(|process| process.pid).collect())
    }

    async fn connect(&self, id: &str) -> ConnectResponse {
        let request = ConnectRequest { id: id.to_owned(), ..ConnectRequest::default() };
        self.client.connect(Context::default(), &request).await.unwrap()
    }

    async fn stats(&self, id: &str) -> TtrpcResult<Vec<u8>> {
        let request = StatsRequest { id: id.to_owned(), ..StatsRequest::default() };
        let response = self.client.stats(Context::default(), &request).await?;
        Ok(response.stats.value.clone())
    }

    async fn exec(&self, id: &str, exec_id: &str, process: &str) -> TtrpcResult<Empty> {
        let spec = Any { value: process.as_bytes().to_vec(), ..Any::default() };
        let request = ExecProcessRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            spec: MessageField::some(spec),
            ..ExecProcessRequest::default()
        };
        self.client.exec(Context::default(), &request).await
    }

    async fn start_exec(&self, id: &str, exec_id: &str) -> TtrpcResult<u32> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = StartRequest { id, exec_id, ..StartRequest::default() };
        self.client.start(Context::default(), &request).await.map(|response| response.pid)
    }

    async fn kill_exec(&self, id: &str, exec_id: &str) -> TtrpcResult<Empty> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = KillRequest { id, exec_id, signal: 15, ..KillRequest::default() };
        self.client.kill(Context::default(), &request).await
    }

    async fn wait_exec(&self, id: &str, exec_id: &str) -> TtrpcResult<u32> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = WaitRequest { id, exec_id, ..WaitRequest::default() };
        self.client.wait(Context::default(), &request).await.map(|response| response.exit_status)
    }

    async fn delete_exec(&self, id: &str, exec_id: &str) -> TtrpcResult<DeleteResponse> {
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let request = DeleteRequest { id, exec_id, ..DeleteRequest::default() };
        self.client.delete(Context::default(), &request).await
    }

    fn container(&self, id: &str) -> Arc<FakeContainer> {
        Arc::clone(&self.workload.0.containers.lock().unwrap()[id])
    }

    async fn run(&self, id: &str) {
        self.create(id).await.unwrap();
        self.start(id).await.unwrap();
    }
}

fn code<T>(result: TtrpcResult<T>) -> Code {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => status.code.enum_value_or_default(),
        Err(error) => panic!("not a status: {error}"),
        Ok(_) => Code::OK,
    }
}

const WHOLE_LIFE: [&str; 4] = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];

#[tokio::test]
async fn a_task_lives_and_its_events_come_in_order_and_once() {
    let setup = Setup::new().await;
    let pid = setup.create("a").await.unwrap();
    assert_eq!(setup.status("a").await.unwrap(), Status::CREATED);
    assert_eq!(setup.start("a").await.unwrap(), pid);
    assert_eq!(setup.status("a").await.unwrap(), Status::RUNNING);
    setup.kill("a", 15).await.unwrap();
    assert_eq!(setup.wait("a").await.unwrap(), 143);
    assert_eq!(setup.status("a").await.unwrap(), Status::STOPPED);
    assert_eq!(setup.wait("a").await.unwrap(), 143, "a wait after the exit has the same answer");
    let deleted = setup.delete("a").await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 143));
    assert_eq!(setup.recorder.topics("a", 4).await, WHOLE_LIFE);
    assert_eq!(code(setup.status("a").await), Code::NOT_FOUND);
    assert_eq!(*setup.container("a").waited.lock().unwrap(), 1, "one owner of the status");
}

#[tokio::test]
async fn a_process_in_a_task_has_a_life_of_its_own() {
    let setup = Setup::new().await;
    setup.run("a").await;
    setup.exec("a", "e", "true").await.unwrap();
    assert_eq!(code(setup.exec("a", "e", "true").await), Code::ALREADY_EXISTS);
    assert_eq!(code(setup.kill_exec("a", "e").await), Code::FAILED_PRECONDITION);
    assert_eq!(setup.start_exec("a", "e").await.unwrap(), 4711);
    assert_eq!(code(setup.delete_exec("a", "e").await), Code::FAILED_PRECONDITION);
    setup.kill_exec("a", "e").await.unwrap();
    assert_eq!(setup.wait_exec("a", "e").await.unwrap(), 143);
    assert_eq!(code(setup.kill_exec("a", "e").await), Code::NOT_FOUND);
    assert_eq!(setup.delete_exec("a", "e").await.unwrap().exit_status, 143);
    assert_eq!(code(setup.wait_exec("a", "e").await), Code::NOT_FOUND);
    let events = ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"];
    assert_eq!(setup.recorder.topics("a", 5).await[2..], events);
    assert_eq!(setup.status("a").await.unwrap(), Status::RUNNING);
}

#[tokio::test]
async fn the_exits_of_processes_in_a_task_come_before_its_own() {
    let setup = Setup::new().await;
    setup.run("a").await;
    setup.exec("a", "e", "sleep").await.unwrap();
    setup.start_exec("a", "e").await.unwrap();
    setup.kill("a", 9).await.unwrap();
    setup.wait("a").await.unwrap();
    let exits = |envelope: &Envelope| TaskExit::parse_from_bytes(&envelope.event.value).unwrap().id;
    setup.recorder.topics("a", 6).await;
    let seen = setup.recorder.seen.lock().unwrap();
    let exits: Vec<String> =
        seen.iter().filter(|envelope| envelope.topic == "/tasks/exit").map(exits).collect();
    assert_eq!(exits, ["e", "a"]);
}

#[tokio::test]
async fn a_process_that_cannot_be_added_or_started_leaves_nothing() {
    let setup = Setup::new().await;
    setup.run("a").await;
    assert_eq!(code(setup.exec("a", "e", "shell").await), Code::UNIMPLEMENTED);
    assert_eq!(code(setup.start_exec("a", "e").await), Code::NOT_FOUND);
    setup.exec("a", "fail", "x").await.unwrap();
    assert_eq!(code(setup.start_exec("a", "fail").await), Code::UNKNOWN);
    assert_eq!(setup.wait_exec("a", "fail").await.unwrap(), 255);
    setup.delete_exec("a", "fail").await.unwrap();
    setup.exec("a", "never", "x").await.unwrap();
    setup.delete_exec("a", "never").await.unwrap();
    setup.kill("a", 9).await.unwrap();
    setup.wait("a").await.unwrap();
    assert_eq!(code(setup.exec("a", "late", "x").await), Code::FAILED_PRECONDITION);
}

#[tokio::test]
async fn a_kill_for_want_of_memory_is_published_while_the_task_goes_on() {
    let setup = Setup::new().await;
    setup.run("a").await;
    setup.workload.0.out_of_memory.notify_one();
    assert_eq!(setup.recorder.topics("a", 3).await[2], "/tasks/oom");
    assert_eq!(setup.status("a").await.unwrap(), Status::RUNNING);
}

#[tokio::test]
async fn an_instant_exit_is_published_after_the_start() {
    let setup = Setup::new().await;
    for round in 0..20 {
        let id = format!("instant-{round}");
        setup.run(&id).await;
        assert_eq!(setup.wait(&id).await.unwrap(), 3);
        setup.delete(&id).await.unwrap();
        assert_eq!(setup.recorder.topics(&id, 4).await, WHOLE_LIFE);
    }
}

#[tokio::test]
async fn a_running_task_is_not_deleted() {
    let setup = Setup::new().await;
    setup.run("a").await;
    assert_eq!(code(setup.delete("a").await), Code::FAILED_PRECONDITION);
    assert_eq!(setup.status("a").await.unwrap(), Status::RUNNING);
    assert_eq!(setup.recorder.topics("a", 2).await, WHOLE_LIFE[..2]);
}

#[tokio::test]
async fn deleting_a_created_task_ends_it_first() {
    let setup = Setup::new().await;
    setup.create("a").await.unwrap();
    assert_eq!(setup.delete("a").await.unwrap().exit_status, 137);
    let expected = ["/tasks/create", "/tasks/exit", "/tasks/delete"];
    assert_eq!(setup.recorder.topics("a", 3).await, expected);
}

#[tokio::test]
async fn a_failed_create_leaves_the_id_free_and_says_why() {
    let setup = Setup::new().await;
    for _ in 0..2 {
        let error = setup.create("fail-create").await.unwrap_err();
        assert!(error.to_string().contains("image x is not an app"), "{error}");
    }
    assert_eq!(code(setup.status("fail-create").await), Code::NOT_FOUND);
}

#[tokio::test]
async fn a_failed_start_ends_the_container_and_publishes_no_start() {
    let setup = Setup::new().await;
    setup.create("fail-start").await.unwrap();
    let error = setup.start("fail-start").await.unwrap_err();
    assert!(error.to_string().contains("port 80 is taken"), "{error}");
    assert_eq!(setup.status("fail-start").await.unwrap(), Status::STOPPED);
    setup.delete("fail-start").await.unwrap();
    let expected = ["/tasks/create", "/tasks/exit", "/tasks/delete"];
    assert_eq!(setup.recorder.topics("fail-start", 3).await, expected);
}

#[tokio::test]
async fn an_id_exists_once() {
    let setup = Setup::new().await;
    setup.create("a").await.unwrap();
    assert_eq!(code(setup.create("a").await), Code::ALREADY_EXISTS);
    setup.start("a").await.unwrap();
    assert_eq!(code(setup.start("a").await), Code::FAILED_PRECONDITION);
}

#[tokio::test]
async fn a_kill_or_a_delete_gives_up_a_create() {
    let setup = Setup::new().await;
    for end in ["kill", "delete"] {
        let create = setup.create("hang-create");
        let end = async {
            while setup.service.0.tasks.creation("hang-create").is_none() {
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(setup.connect("hang-create").await.task_pid, 0);
            assert_eq!(setup.status("hang-create").await.unwrap(), Status::CREATED);
            if end == "kill" {
                setup.kill("hang-create", 9).await.unwrap();
            } else {
                assert_eq!(code(setup.delete("hang-create").await), Code::NOT_FOUND);
            }
        };
        let (created, ()) = tokio::join!(create, end);
        assert_eq!(code(created), Code::UNKNOWN);
    }
}

#[tokio::test]
async fn a_process_that_has_ended_takes_no_signal() {
    let setup = Setup::new().await;
    setup.run("a").await;
    setup.kill("a", 0).await.unwrap();
    setup.container("a").end(0, false);
    setup.wait("a").await.unwrap();
    assert_eq!(code(setup.kill("a", 15).await), Code::NOT_FOUND);
}

#[tokio::test]
async fn after_the_exit_the_task_is_still_known_with_its_last_counters() {
    let setup = Setup::new().await;
    setup.run("a").await;
    assert_eq!(setup.stats("a").await.unwrap(), b"live");
    let pid = setup.container("a").pid;
    setup.container("a").end(137, true);
    setup.wait("a").await.unwrap();
    setup.workload.0.gone.lock().unwrap().push("a".to_owned());
    assert_eq!(setup.stats("a").await.unwrap(), b"last");
    assert_eq!(setup.pids("a").await.unwrap(), [pid]);
    let connected = setup.connect("a").await;
    assert_eq!((connected.task_pid, connected.shim_pid), (pid, std::process::id()));
    assert_eq!(setup.connect("unknown").await.task_pid, 0);
    let topics = setup.recorder.topics("a", 4).await;
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/oom", "/tasks/exit"]);
}

#[tokio::test]
async fn a_paused_task_says_so_and_goes_on() {
    let setup = Setup::new().await;
    setup.run("a").await;
    let pause = PauseRequest { id: "a".to_owned(), ..PauseRequest::default() };
    setup.client.pause(Context::default(), &pause).await.unwrap();
    assert_eq!(setup.status("a").await.unwrap(), Status::PAUSED);
    assert_eq!(
        code(setup.client.pause(Context::default(), &pause).await),
        Code::FAILED_PRECONDITION
    );
    let resume = ResumeRequest { id: "a".to_owned(), ..ResumeRequest::default() };
    setup.client.resume(Context::default(), &resume).await.unwrap();
    assert_eq!(setup.status("a").await.unwrap(), Status::RUNNING);
    let topics = setup.recorder.topics("a", 4).await;
    assert_eq!(topics[2..], ["/tasks/paused", "/tasks/resumed"]);
}

#[tokio::test]
async fn what_is_not_supported_is_unimplemented_and_never_not_found() {
    let setup = Setup::new().await;
    setup.run("a").await;
    let id = || "a".to_owned();
    let context = Context::default;
    assert_eq!(code(setup.exec("a", "e", "shell").await), Code::UNIMPLEMENTED);
    let checkpoint = CheckpointTaskRequest { id: id(), ..CheckpointTaskRequest::default() };
    assert_eq!(code(setup.client.checkpoint(context(), &checkpoint).await), Code::UNIMPLEMENTED);
    let resize = ResizePtyRequest { id: id(), ..ResizePtyRequest::default() };
    setup.client.resize_pty(context(), &resize).await.unwrap();
    let close = CloseIORequest { id: id(), stdin: true, ..CloseIORequest::default() };
    setup.client.close_io(context(), &close).await.unwrap();
}

#[tokio::test]
async fn shutdown_waits_for_the_last_task_and_may_be_repeated() {
    let setup = Setup::new().await;
    setup.run("a").await;
    let shutdown = ShutdownRequest::default();
    setup.client.shutdown(Context::default(), &shutdown).await.unwrap();
    assert!(!setup.service.0.shutdown.is_cancelled());
    setup.kill("a", 9).await.unwrap();
    setup.wait("a").await.unwrap();
    setup.delete("a").await.unwrap();
    for _ in 0..2 {
        setup.client.shutdown(Context::default(), &shutdown).await.unwrap();
    }
    setup.service.shut_down().await;
}

#[tokio::test]
async fn a_shim_without_tasks_is_abandoned_after_a_while_and_one_with_a_task_never() {
    let setup = Setup::new().await;
    let idle = Duration::from_millis(20);
    setup.create("a").await.unwrap();
    assert!(timeout(idle * 5, setup.service.abandoned(idle)).await.is_err());
    setup.delete("a").await.unwrap();
    timeout(Duration::from_secs(5), setup.service.abandoned(idle)).await.unwrap();
}

#[tokio::test]
async fn fifty_tasks_at_once_each_have_their_own_life() {
    let setup = Arc::new(Setup::new().await);
    let lives = (0..50).map(|number| {
        let setup = Arc::clone(&setup);
        tokio::spawn(async move {
            let id = format!("slow-delete-{number}");
            setup.run(&id).await;
            let (status, ()) = tokio::join!(setup.wait(&id), async {
                setup.container(&id).end(number, false);
            });
            assert_eq!(status.unwrap(), number);
            assert_eq!(setup.delete(&id).await.unwrap().exit_status, number);
            assert_eq!(setup.recorder.topics(&id, 4).await, WHOLE_LIFE);
        })
    });
    for life in lives.collect::<Vec<_>>() {
        life.await.unwrap();
    }
    assert!(setup.service.0.tasks.is_empty());
}

#[tokio::test]
async fn a_create_whose_caller_goes_away_is_carried_out() {
    let setup = Setup::new().await;
    let request = CreateTaskRequest {
        id: "hang-create".to_owned(),
        bundle: "/b".to_owned(),
        ..CreateTaskRequest::default()
    };
    let brief = ttrpc::context::with_duration(Duration::from_millis(20));
    assert!(setup.client.create(brief, &request).await.is_err());
    sleep(Duration::from_millis(20)).await;
    assert!(setup.service.0.tasks.creation("hang-create").is_some());
    assert_eq!(code(setup.delete("hang-create").await), Code::NOT_FOUND);
}

#[tokio::test]
async fn a_second_delete_meanwhile_is_told_so() {
    let setup = Setup::new().await;
    setup.run("slow-delete").await;
    setup.container("slow-delete").end(0, false);
    setup.wait("slow-delete").await.unwrap();
    let (first, second) = tokio::join!(setup.delete("slow-delete"), setup.delete("slow-delete"));
    let mut codes = [code(first), code(second)];
    codes.sort_by_key(|code| *code as i32);
    assert_eq!(codes, [Code::OK, Code::NOT_FOUND]);
    assert_eq!(setup.recorder.topics("slow-delete", 4).await, WHOLE_LIFE);
}

#[tokio::test]
async fn both_names_of_the_service_are_served() {
    let setup = Setup::new().await;
    let methods = setup.service.methods();
    for name in [TASK_V2, TASK_V3] {
        assert_eq!(methods[name].methods.len(), 17, "{name}");
    }
}

#[tokio::test]
async fn events_wait_for_a_containerd_that_is_away_and_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let publisher = Publisher::new(&path.display().to_string(), "ns1");
    let service = TaskService::new("ns1", "pod", Fake::default(), publisher);
    let request = CreateTaskRequest {
        id: "a".to_owned(),
        bundle: "/b".to_owned(),
        ..CreateTaskRequest::default()
    };
    let context = TtrpcContext::default();
    service.create(&context, request).await.unwrap();
    let start = StartRequest { id: "a".to_owned(), ..StartRequest::default() };
    service.start(&context, start).await.unwrap();
    sleep(Duration::from_millis(50)).await;

    let recorder = Arc::new(Recorder::default());
    *recorder.refuse.lock().unwrap() = 2;
    let _server = serve_events(&path, Arc::clone(&recorder)).await;
    service.terminate(Duration::from_secs(1)).await;
    service.flush_events(Duration::from_secs(5)).await;
    assert_eq!(recorder.topics_now("a"), WHOLE_LIFE[..3]);
    let seen = recorder.seen.lock().unwrap();
    assert!(seen.iter().all(|envelope| envelope.namespace == "ns1"));
    assert_eq!(seen[0].event.type_url, "containerd.events.TaskCreate");
}
