//! The sandbox of a shim: at most one, with the life cycle of a task but without
//! its events, which containerd publishes itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::sandbox_api::SandboxStatusResponse;
use tokio::time::timeout;

use crate::error::Error;
use crate::lifecycle::{Event, Lifecycle, SharedLifecycle, State};
use crate::task::timestamp;
use crate::workload::{Exit, Sandbox, SandboxRequest, Workload};

/// How long a killed process may take to end.
const KILLED: Duration = Duration::from_secs(10);

/// The place for a shim's sandbox.
#[derive(Default)]
pub(crate) struct SandboxSlot {
    current: Mutex<Option<Arc<PodSandbox>>>,
    /// Held while one is being made or removed.
    changing: tokio::sync::Mutex<()>,
}

impl SandboxSlot {
    /// Makes the sandbox.
    pub(crate) async fn create(
        &self,
        workload: &dyn Workload,
        request: SandboxRequest,
    ) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        if let Some(existing) = self.any() {
            return Err(Error::AlreadyExists(format!("sandbox {} exists already", existing.id)));
        }
        let id = request.id.clone();
        let sandbox = PodSandbox::new(id, workload.create_sandbox(request).await?);
        *self.lock() = Some(sandbox);
        Ok(())
    }

    /// The sandbox of this id, which must exist.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<PodSandbox>, Error> {
        let found = self.any().filter(|sandbox| sandbox.id == id);
        found.ok_or_else(|| Error::NotFound(format!("sandbox {id} not found")))
    }

    /// Whichever sandbox there is.
    pub(crate) fn any(&self) -> Option<Arc<PodSandbox>> {
        self.lock().clone()
    }

    /// Ends the sandbox, if there is one, and removes it.
    pub(crate) async fn remove(&self) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let Some(sandbox) = self.any() else { return Ok(()) };
        sandbox.end().await?;
        sandbox.sandbox.delete().await?;
        *self.lock() = None;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<PodSandbox>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What holds a pod together, and where it is in its life.
pub(crate) struct PodSandbox {
    id: String,
    sandbox: Arc<dyn Sandbox>,
    created_at: SystemTime,
    life: SharedLifecycle,
}

impl PodSandbox {
    fn new(id: String, sandbox: Arc<dyn Sandbox>) -> Arc<Self> {
        let (lifecycle, _) = Lifecycle::created(format!("sandbox {id}"));
        let life = SharedLifecycle::new(lifecycle);
        let made = Arc::new(Self { id, sandbox, created_at: SystemTime::now(), life });
        tokio::spawn(Arc::clone(&made).watch());
        made
    }

    async fn watch(self: Arc<Self>) {
        let exit = self.sandbox.wait().await;
        tracing::info!(sandbox = self.id, status = exit.status, "sandbox has ended");
        self.transition(|lifecycle| lifecycle.exited(exit));
    }

    fn transition(&self, step: impl FnOnce(&mut Lifecycle) -> Vec<Event>) {
        self.life.transition(step, drop);
    }

    /// From now on the sandbox counts as ready.
    pub(crate) fn start(&self) -> Result<(), Error> {
        self.life.lock().begin_start()?;
        self.transition(Lifecycle::started);
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.sandbox.pid()
    }

    pub(crate) fn created_at(&self) -> SystemTime {
        self.created_at
    }

    /// Whether its process runs.
    pub(crate) fn check_alive(&self) -> Result<(), Error> {
        self.life.lock().check_alive()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Exit {
        self.life.ended().await
    }

    /// Ends it.
    pub(crate) async fn end(&self) -> Result<(), Error> {
        self.sandbox.kill();
        let ended = timeout(KILLED, self.ended()).await.map(drop);
        ended.map_err(|_| Error::DeadlineExceeded(format!("sandbox {} does not end", self.id)))
    }

    /// Resource usage of the pod.
    pub(crate) fn stats(&self) -> Result<Any, Error> {
        self.sandbox.stats()
    }

    /// The answer to a status request. The states are those of CRI; the details that
    /// `verbose` asks for have the names they have in containerd's own answers.
    pub(crate) fn describe(&self, verbose: bool) -> SandboxStatusResponse {
        let state = self.life.state();
        let mut status = SandboxStatusResponse {
            sandbox_id: self.id.clone(),
            pid: self.pid(),
            state: if state == State::Running { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" }
                .to_owned(),
            created_at: MessageField::some(timestamp(self.created_at)),
            exited_at: state.exit().map(|exit| timestamp(exit.at)).into(),
            ..SandboxStatusResponse::default()
        };
        if verbose {
            let process = if state.exit().is_some() { "stopped" } else { "running" };
            let info = serde_json::json!({ "pid": self.pid(), "processStatus": process });
            status.info.insert("info".to_owned(), info.to_string());
        }
        status
    }
}
