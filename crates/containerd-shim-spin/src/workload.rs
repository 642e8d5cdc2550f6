//! Making Spin containers for the Task service.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_trait::async_trait;
use container::Bundle as OciBundle;
use container::cgroup::{Cgroup, Layout};
use containerd_task::bootstrap::Flags;
use containerd_task::{Bundle, Container, CreateRequest, Error, RootfsMount, StdioHold, Workload};
use control::{AppSource, Phase, RunSpec, Sandbox};
use tokio_util::sync::CancellationToken;

use crate::compilers::Compilers;
use crate::container_process::{blocking, clear, start_runtime};
use crate::phases::{Clock, phase_since, shim_phase};
use crate::settings::Settings;
use crate::spin_container::{Parts, SpinContainer};

/// Where an application listens if its environment does not say.
const DEFAULT_LISTEN: &str = "0.0.0.0:80";

/// Makes Spin containers.
pub(crate) struct SpinWorkload {
    containerd: PathBuf,
    namespace: String,
    state_dir: PathBuf,
    start_timeout: Duration,
    layout: Layout,
    compilers: Arc<Compilers>,
    /// The shim's own start, which counts for its first container.
    shim: Mutex<Option<Phase>>,
}

impl SpinWorkload {
    /// A workload for the daemon that these flags belong to.
    pub(crate) fn new(
        settings: Settings,
        flags: &Flags,
        begun: Option<Clock>,
    ) -> anyhow::Result<Self> {
        let layout = Layout::detect().context("cannot make cgroups for containers")?;
        let state_dir = settings.state_dir;
        let for_compiler = state_dir.clone();
        let locate = move || Ok(payload::locate(&for_compiler, "spinlet-compiler")?);
        let compilers =
            Compilers::new(Arc::new(locate), &cache_dir(&state_dir), Some(layout.clone()));
        Ok(Self {
            containerd: flags.address.strip_prefix("unix://").unwrap_or(&flags.address).into(),
            namespace: flags.namespace.clone(),
            start_timeout: settings.start_timeout,
            layout,
            compilers: Arc::new(compilers),
            shim: Mutex::new(begun.map(shim_phase)),
            state_dir,
        })
    }

    async fn make(
        &self,
        request: &CreateRequest,
        cgroup: &Cgroup,
        oci: &OciBundle,
        cancel: &CancellationToken,
    ) -> Result<SpinContainer, Error> {
        let begun = Instant::now();
        let state_dir = self.state_dir.clone();
        let program =
            blocking("find the runtime", move || payload::locate(&state_dir, "spinlet-runtime"))
                .await?;
        let (stdio, hold) = request.stdio.open().await?;
        let started = start_runtime(program, oci, cgroup, stdio);
        let (process, channel) = match started {
            Ok(started) => started,
            Err(error) => return Err(closed(hold, error).await),
        };
        let container = SpinContainer::new(Parts {
            id: request.id.clone(),
            process,
            channel,
            cgroup: cgroup.clone(),
            out_of_memory: watch_oom(cgroup),
            stdio: hold,
            bundle: Bundle::new(&request.bundle),
            start_timeout: self.start_timeout,
        });
        let spawned = phase_since("spawn", begun);
        match container.load(&self.compilers, self.run_spec(request, oci), cancel).await {
            Ok(phases) => {
                let own = self.take_shim_phase().into_iter().chain([spawned]);
                container.record(own.chain(phases));
                Ok(container)
            }
            Err(error) => {
                container.give_up().await;
                Err(error)
            }
        }
    }

    fn run_spec(&self, request: &CreateRequest, oci: &OciBundle) -> RunSpec {
        let rootfs = request.rootfs.iter().map(|mount| control::RootfsMount {
            kind: mount.kind.clone(),
            source: mount.source.clone(),
            options: mount.options.clone(),
        });
        RunSpec {
            id: request.id.clone(),
            app: AppSource::Containerd {
                address: self.containerd.clone(),
                namespace: self.namespace.clone(),
                container: request.id.clone(),
                root: containerd_root(&request.bundle),
            },
            cache_dir: cache_dir(&self.state_dir),
            environment: oci.environment(),
            args: oci.arguments(),
            default_listen: DEFAULT_LISTEN.to_owned(),
            sandbox: Some(Sandbox { bundle: request.bundle.clone(), rootfs: rootfs.collect() }),
        }
    }

    fn take_shim_phase(&self) -> Option<Phase> {
        self.shim.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Workload for SpinWorkload {
    async fn create(
        &self,
        request: CreateRequest,
        cancel: CancellationToken,
    ) -> Result<Arc<dyn Container>, Error> {
        let begun = Instant::now();
        let id = &request.id;
        check(&request)?;
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Error::failed(format!("cannot create container {id}"), error)
        };
        let oci = OciBundle::load(&request.bundle).map_err(|error| failed(&error))?;
        let cgroup =
            Cgroup::at(&self.layout, oci.cgroups_path(), id).map_err(|error| failed(&error))?;
        cgroup.create(oci.resources()).map_err(|error| failed(&error))?;
        match self.make(&request, &cgroup, &oci, &cancel).await {
            Ok(container) => {
                container.record([phase_since("create", begun)]);
                Ok(Arc::new(container))
            }
            Err(error) => {
                if let Err(left) = clear(cgroup).await {
                    tracing::error!(%left, "a container that could not be made leaves something");
                }
                Err(error)
            }
        }
    }
}

/// Refuses what Spin containers do not have.
fn check(request: &CreateRequest) -> Result<(), Error> {
    if request.terminal {
        return Err(Error::Unimplemented(format!(
            "container {} asks for a terminal, which Spin applications do not have; \
             run it without -t (tty: false)",
            request.id
        )));
    }
    let below = |mount: &&RootfsMount| !matches!(mount.target.as_str(), "" | "/");
    match request.rootfs.iter().find(below) {
        Some(mount) => Err(Error::Unimplemented(format!(
            "a root filesystem with a mount at {} is not supported",
            mount.target
        ))),
        None => Ok(()),
    }
}

async fn closed(hold: StdioHold, error: Error) -> Error {
    hold.close().await;
    error
}

/// Without a memory controller nothing is ever killed for want of memory alone.
fn watch_oom(cgroup: &Cgroup) -> Option<container::cgroup::OomWatch> {
    cgroup
        .watch_oom()
        .inspect_err(|error| tracing::debug!(%error, "out-of-memory kills are not seen"))
        .ok()
}

fn cache_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("cache")
}

/// containerd's root directory: the bundle's `work` link leads to
/// `<root>/io.containerd.runtime.v2.task/<namespace>/<id>`.
fn containerd_root(bundle: &Path) -> Option<PathBuf> {
    let work = fs_err::read_link(bundle.join("work")).ok()?;
    let root = work.ancestors().nth(3)?;
    root.join("io.containerd.content.v1.content").is_dir().then(|| root.to_owned())
}

#[cfg(test)]
mod tests {
    use containerd_task::StdioPaths;

    use super::*;

    fn request() -> CreateRequest {
        CreateRequest {
            id: "c1".to_owned(),
            bundle: "/bundle".into(),
            rootfs: Vec::new(),
            terminal: false,
            stdio: StdioPaths::default(),
            options: None,
        }
    }

    #[test]
    fn a_terminal_is_refused_with_what_to_do() {
        let error = check(&CreateRequest { terminal: true, ..request() }).unwrap_err();
        assert!(matches!(&error, Error::Unimplemented(text) if text.contains("tty: false")));
    }

    #[test]
    fn a_mount_below_the_root_filesystem_is_refused_and_one_at_its_top_is_not() {
        let mount = |target: &str| RootfsMount {
            kind: "bind".to_owned(),
            source: "/a".to_owned(),
            target: target.to_owned(),
            options: Vec::new(),
        };
        check(&CreateRequest { rootfs: vec![mount(""), mount("/")], ..request() }).unwrap();
        let error = check(&CreateRequest { rootfs: vec![mount("/sub")], ..request() }).unwrap_err();
        assert!(error.to_string().contains("/sub"), "{error}");
    }

    #[test]
    fn the_root_of_containerd_is_found_through_the_work_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let bundle = folder.path().join("bundle");
        fs_err::create_dir_all(&bundle).unwrap();
        assert_eq!(containerd_root(&bundle), None);
        let work = root.join("io.containerd.runtime.v2.task/ns/c1");
        fs_err::os::unix::fs::symlink(work, bundle.join("work")).unwrap();
        assert_eq!(containerd_root(&bundle), None, "no content store there");
        fs_err::create_dir_all(root.join("io.containerd.content.v1.content")).unwrap();
        assert_eq!(containerd_root(&bundle), Some(root));
    }
}
