//! Making Linux containers for the Task service.

use std::os::fd::OwnedFd;
use std::time::Instant;

use container::RootfsMount;
use container::cgroup::Cgroup;
use containerd_task::{Bundle, CreateRequest, Error, Process, Stdio, StdioHold, Terminal};
use oci_runtime::{Io, OciContainer, Options};

use crate::container_process::blocking;
use crate::linux_container::{LinuxContainer, Parts, Streams};
use crate::memory_watch::MemoryWatch;
use crate::outline::Outline;
use crate::phases::{Record, phase_since};
use crate::systemd;

/// File in the bundle with the name that the OCI runtime knows the container by,
/// for a later `delete`.
const RECORD: &str = "oci-container.json";

/// Makes Linux containers through an OCI runtime.
pub(crate) struct LinuxWorkload {
    namespace: String,
}

impl LinuxWorkload {
    /// For one containerd namespace.
    pub(crate) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    /// Makes a container; its streams may be open already. After an error nothing of
    /// it is left.
    pub(crate) async fn create(
        &self,
        request: &CreateRequest,
        outline: &Outline,
        opened: Option<(Stdio, StdioHold)>,
    ) -> Result<LinuxContainer, Error> {
        let begun = Instant::now();
        let oci = self.name(request, outline)?;
        let bundle = Bundle::new(&request.bundle);
        record(&bundle, &oci)?;
        let record = Record::new(bundle.clone());
        let made = async {
            mount_rootfs(request).await?;
            record.add([phase_since("rootfs", begun)]);
            make(request, outline, &oci, opened).await
        };
        match made.await {
            Ok(parts) => {
                record.add([phase_since("create", begun)]);
                Ok(LinuxContainer::new(parts, record))
            }
            Err(error) => {
                clean_up(&oci, &bundle).await;
                Err(error)
            }
        }
    }

    fn name(&self, request: &CreateRequest, outline: &Outline) -> Result<OciContainer, Error> {
        let mut options = Options::read(request.options.as_ref(), &self.namespace)
            .map_err(|error| Error::InvalidArgument(process_setup::chain(&error)))?;
        options.systemd_cgroup |= outline.scope().is_some() && systemd::is_running();
        Ok(OciContainer::new(options, &request.id, &request.bundle))
    }
}

/// The container that a shim recorded in a bundle, if it was one of Linux.
pub(crate) fn recorded(bundle: &Bundle) -> Option<OciContainer> {
    serde_json::from_slice(&fs_err::read(bundle.path().join(RECORD)).ok()?).ok()
}

fn record(bundle: &Bundle, oci: &OciContainer) -> Result<(), Error> {
    serde_json::to_vec(oci)
        .map_err(std::io::Error::from)
        .and_then(|document| bundle.write(RECORD, &document))
        .map_err(|error| Error::failed("cannot record the container", &error))
}

async fn mount_rootfs(request: &CreateRequest) -> Result<(), Error> {
    if request.rootfs.is_empty() {
        return Ok(());
    }
    let mount = |mount: &containerd_task::RootfsMount| RootfsMount {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        options: mount.options.clone(),
    };
    let mounts: Vec<RootfsMount> = request.rootfs.iter().map(mount).collect();
    let place = request.bundle.join("rootfs");
    let attempt = "make the container's root filesystem";
    blocking(attempt, move || container::enter::mount_rootfs(&mounts, &place)).await
}

async fn make(
    request: &CreateRequest,
    outline: &Outline,
    oci: &OciContainer,
    opened: Option<(Stdio, StdioHold)>,
) -> Result<Parts, Error> {
    let streams = match opened {
        Some(streams) => streams,
        None => request.stdio.open().await?,
    };
    let create = |io| async move { oci.create(io).await };
    let (process, streams) = with_streams(request.terminal, streams, create).await?;
    let bundle = Bundle::new(&request.bundle);
    bundle
        .record_init(process.pid())
        .map_err(|error| Error::failed("cannot record the container's process", &error))?;
    let cgroup = Cgroup::of_process(process.pid())
        .inspect_err(|error| tracing::warn!(%error, "the container cannot be measured"))
        .ok();
    Ok(Parts {
        id: request.id.clone(),
        oci: oci.clone(),
        memory: MemoryWatch::new(cgroup.as_ref()),
        process,
        cgroup,
        streams,
        bundle,
        own_pids: outline.has_own_pids(),
    })
}

/// Starts a process with these streams, or with a terminal between it and them.
pub(crate) async fn with_streams<F, E>(
    terminal: bool,
    (stdio, hold): (Stdio, StdioHold),
    start: impl FnOnce(Io) -> F,
) -> Result<(Process, Streams), Error>
where
    F: Future<Output = Result<(Process, Option<OwnedFd>), E>>,
    E: std::error::Error + 'static,
{
    let failed = |error: &E| Error::Failed(process_setup::chain(error));
    if !terminal {
        return match start(Io::Streams(stdio)).await {
            Ok((process, _)) => Ok((process, Streams::Plain(hold))),
            Err(error) => {
                hold.close().await;
                Err(failed(&error))
            }
        };
    }
    match start(Io::Terminal).await {
        Ok((process, Some(controller))) => Terminal::new(controller, stdio, hold)
            .map(|terminal| (process, Streams::Terminal(terminal)))
            .map_err(|error| Error::failed("cannot serve the terminal", &error)),
        Ok((_, None)) => Err(Error::Failed("the OCI runtime gave no terminal".to_owned())),
        Err(error) => {
            hold.close().await;
            Err(failed(&error))
        }
    }
}

async fn clean_up(oci: &OciContainer, bundle: &Bundle) {
    if let Err(error) = oci.delete(true).await {
        tracing::error!(%error, "a container that could not be made leaves something");
    }
    if let Err(error) = bundle.unmount_rootfs() {
        tracing::error!(%error, "a container that could not be made leaves a mount");
    }
}
