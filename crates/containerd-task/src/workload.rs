//! What a shim implements to have its containers driven by containerd.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::stdio::StdioPaths;

/// Makes containers; one per shim process.
#[async_trait]
pub trait Workload: Send + Sync + 'static {
    /// Makes a container that is ready to be started.
    ///
    /// When `cancel` fires (the task was killed or deleted while it was being
    /// created), the call ends soon with an error. After any error nothing of
    /// the container is left: no process, cgroup, mount or file outside the
    /// bundle.
    async fn create(
        &self,
        request: CreateRequest,
        cancel: CancellationToken,
    ) -> Result<Arc<dyn Container>, Error>;

    /// Makes what holds a pod together, where containerd leaves that to the shim.
    /// The containers of the pod are made afterwards, by [`Workload::create`].
    ///
    /// After an error nothing of the sandbox is left.
    async fn create_sandbox(&self, request: SandboxRequest) -> Result<Arc<dyn Sandbox>, Error> {
        let message = format!("sandbox {} cannot be made by this shim", request.id);
        Err(Error::Unimplemented(message))
    }
}

/// What holds a pod together: a process in the pod's namespaces.
#[async_trait]
pub trait Sandbox: Send + Sync + 'static {
    /// Process id of the process whose namespaces are the pod's, in the shim's pid
    /// namespace.
    fn pid(&self) -> u32;

    /// Ends the process. One that has ended is what is wanted.
    fn kill(&self);

    /// Waits for the process to end and reaps it. Called exactly once.
    async fn wait(&self) -> Exit;

    /// Resource usage of the whole pod, in one of the forms of [`Container::stats`].
    ///
    /// # Errors
    /// Fails when it cannot be told.
    fn stats(&self) -> Result<Any, Error>;

    /// Removes what is left of the sandbox after its process has ended. May be
    /// called again after an error.
    async fn delete(&self) -> Result<(), Error>;
}

/// One container. Methods are called in the order that the life cycle allows;
/// `kill`, `pids` and `stats` may be called at any time, also concurrently.
#[async_trait]
pub trait Container: Send + Sync + 'static {
    /// Process id of the container's first process, in the shim's pid namespace.
    fn pid(&self) -> u32;

    /// Starts the workload and returns when it is ready to serve. Called at
    /// most once. After an error the service kills the container.
    async fn start(&self) -> Result<(), Error>;

    /// Sends a signal to the first process, or with `all` to every process of
    /// the container. Signal 0 only asks whether the process is alive.
    ///
    /// Fails with [`Error::NotFound`] when the process has ended.
    async fn kill(&self, signal: u32, all: bool) -> Result<(), Error>;

    /// Waits for the first process to end and reaps it. Called exactly once.
    async fn wait(&self) -> Exit;

    /// Every process of the container; the service adds the first process if
    /// it is not among them.
    async fn pids(&self) -> Result<Vec<u32>, Error>;

    /// Stops all processes where they are.
    async fn pause(&self) -> Result<(), Error>;

    /// Lets paused processes go on.
    async fn resume(&self) -> Result<(), Error>;

    /// Changes resource limits; `resources` is what containerd sent, an OCI
    /// `LinuxResources` in JSON.
    async fn update(&self, resources: Any) -> Result<(), Error>;

    /// Resource usage as a message of type `io.containerd.cgroups.v1.Metrics`
    /// or `io.containerd.cgroups.v2.Metrics`; containerd accepts no other.
    async fn stats(&self) -> Result<Any, Error>;

    /// Ends the container's standard input.
    fn close_stdin(&self);

    /// Resolves when the kernel has killed a process of the container for want of
    /// memory; [`Exit::out_of_memory`] tells of the kills that it has not told.
    ///
    /// Cancel safety: a dropped future loses nothing.
    async fn out_of_memory(&self) {
        std::future::pending::<()>().await;
    }

    /// Prepares another process in the container, to be started later.
    ///
    /// Fails with [`Error::Unimplemented`] where there is nothing to execute.
    async fn exec(&self, request: ExecRequest) -> Result<Arc<dyn ExecProcess>, Error>;

    /// Tells the terminal, if there is one, its size in characters.
    async fn resize(&self, _columns: u16, _rows: u16) -> Result<(), Error> {
        Ok(())
    }

    /// Removes what is left of a container whose first process has ended: other
    /// processes, cgroup, mounts. May be called again after an error.
    async fn delete(&self) -> Result<(), Error>;
}

/// Another process in a container. Methods are called in the order that the life
/// cycle allows.
#[async_trait]
pub trait ExecProcess: Send + Sync + 'static {
    /// Starts it and returns its process id in the shim's pid namespace. Called
    /// at most once. After an error nothing of the process is left.
    async fn start(&self) -> Result<u32, Error>;

    /// Waits for its end and reaps it. Called exactly once, after it was started.
    async fn wait(&self) -> Exit;

    /// Sends a signal; called only while it runs.
    ///
    /// Fails with [`Error::NotFound`] when it has ended.
    async fn kill(&self, signal: u32) -> Result<(), Error>;

    /// Ends its standard input.
    fn close_stdin(&self);

    /// Tells its terminal, if there is one, the size in characters.
    async fn resize(&self, _columns: u16, _rows: u16) -> Result<(), Error> {
        Ok(())
    }

    /// Lets go of what is left of a process that has ended or was never started.
    async fn delete(&self);
}

/// What containerd asks for when it wants another process in a container.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// Id of the process, unique in its container.
    pub id: String,
    /// Whether a terminal is wanted.
    pub terminal: bool,
    /// Where the standard streams go.
    pub stdio: StdioPaths,
    /// An OCI `Process` in JSON.
    pub process: Vec<u8>,
}

/// What containerd asks for when it creates a task.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// Container id, unique in the namespace.
    pub id: String,
    /// The OCI bundle with `config.json`.
    pub bundle: PathBuf,
    /// Mounts that make the root filesystem, bottom first; the service makes
    /// none of them.
    pub rootfs: Vec<RootfsMount>,
    /// Whether a terminal is wanted.
    pub terminal: bool,
    /// Where the standard streams go.
    pub stdio: StdioPaths,
    /// Runtime options, if containerd sent any.
    pub options: Option<Any>,
}

/// What containerd asks for when it has the shim make a sandbox.
#[derive(Debug, Clone)]
pub struct SandboxRequest {
    /// Sandbox id, unique in the namespace.
    pub id: String,
    /// A folder for the sandbox, which containerd removes at the end.
    pub bundle: PathBuf,
    /// The network namespace of the pod; none for the node's.
    pub network: Option<PathBuf>,
    /// What the pod is to be, in the form of whoever asked; for CRI a message of type
    /// `runtime.v1.PodSandboxConfig`.
    pub options: Option<Any>,
}

/// One mount of a root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsMount {
    /// Filesystem type, for example `overlay` or `bind`.
    pub kind: String,
    /// Source device or folder.
    pub source: String,
    /// Folder below the root filesystem; empty for its top.
    pub target: String,
    /// Options in the form of `mount -o`.
    pub options: Vec<String>,
}

/// How a container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 plus the signal's number when a signal ended it.
    pub status: u32,
    /// When the end was noticed.
    pub at: SystemTime,
    /// Whether the kernel's OOM killer struck inside the container.
    pub out_of_memory: bool,
}
