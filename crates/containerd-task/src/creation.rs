//! Tasks by their ids, and ids that are taken while a container is being made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_shim_protos::api::{CreateTaskRequest, ExecProcessRequest, StateResponse};
use containerd_shim_protos::types::mount::Mount;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::lifecycle::State;
use crate::stdio::StdioPaths;
use crate::task::{Task, describe};
use crate::workload::{CreateRequest, ExecRequest, RootfsMount};

/// Every task of a shim.
#[derive(Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<HashMap<String, Slot>>>);

#[derive(Clone)]
pub(crate) enum Slot {
    Creating(Arc<Creation>),
    Live(Arc<Task>),
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn all(&self) -> Vec<Slot> {
        self.lock().values().cloned().collect()
    }

    /// The task of this id, which must exist.
    pub(crate) fn live(&self, id: &str) -> Result<Arc<Task>, Error> {
        match self.lock().get(id) {
            Some(Slot::Live(task)) => Ok(Arc::clone(task)),
            Some(Slot::Creating(_)) => {
                Err(Error::NotFound(format!("task {id} is still being created")))
            }
            None => Err(Error::NotFound(format!("task {id} not found"))),
        }
    }

    /// The create of this id, if one is under way.
    pub(crate) fn creation(&self, id: &str) -> Option<Arc<Creation>> {
        match self.lock().get(id) {
            Some(Slot::Creating(creation)) => Some(Arc::clone(creation)),
            _ => None,
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }
}

/// A create that is under way.
pub(crate) struct Creation {
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

    /// Has it given up.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Has it given up and waits until it has ended either way.
    pub(crate) async fn give_up(&self) {
        self.cancel.cancel();
        self.done.cancelled().await;
    }

    /// The answer to a State request. Creating may take minutes when code has to
    /// be compiled; a client asks for the state before it kills.
    pub(crate) fn describe(&self) -> StateResponse {
        StateResponse {
            id: self.request.id.clone(),
            bundle: self.request.bundle.display().to_string(),
            ..describe(State::Created, &self.request.stdio, self.request.terminal)
        }
    }
}

/// A task id that is taken while its container is being made; given back on
/// drop.
pub(crate) struct Reservation {
    tasks: Tasks,
    id: String,
    creation: Arc<Creation>,
    filled: bool,
}

impl Reservation {
    pub(crate) fn new(tasks: &Tasks, request: &CreateRequest) -> Result<Self, Error> {
        let (id, creation) = (request.id.as_str(), Creation::new(request));
        let mut all = tasks.lock();
        if all.contains_key(id) {
            return Err(Error::AlreadyExists(format!("task {id} exists already")));
        }
        all.insert(id.to_owned(), Slot::Creating(Arc::clone(&creation)));
        drop(all);
        Ok(Self { tasks: tasks.clone(), id: id.to_owned(), creation, filled: false })
    }

    /// Fires when the create is to be given up.
    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.creation.cancel
    }

    /// Puts the task in, unless the create was given up meanwhile.
    pub(crate) fn fill(mut self, task: impl FnOnce() -> Arc<Task>) -> Result<(), Error> {
        let tasks = self.tasks.clone();
        let mut tasks = tasks.lock();
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
            self.tasks.remove(&self.id);
        }
        self.creation.done.cancel();
    }
}

/// What containerd asks for, checked.
pub(crate) fn create_request(
    namespace: &str,
    request: CreateTaskRequest,
) -> Result<CreateRequest, Error> {
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

/// What containerd asks for, checked.
pub(crate) fn exec_request(
    namespace: &str,
    request: ExecProcessRequest,
) -> Result<ExecRequest, Error> {
    let missing = |what: &str| Error::InvalidArgument(format!("a process needs {what}"));
    if request.exec_id.is_empty() {
        return Err(missing("an id"));
    }
    let process = request.spec.into_option().ok_or_else(|| missing("a specification"))?;
    Ok(ExecRequest {
        stdio: StdioPaths {
            id: request.id,
            namespace: namespace.to_owned(),
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        },
        id: request.exec_id,
        terminal: request.terminal,
        process: process.value,
    })
}
