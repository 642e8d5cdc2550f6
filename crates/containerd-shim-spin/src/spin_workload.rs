//! Making Spin containers for the Task service.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use container::Bundle as OciBundle;
use container::cgroup::{Cgroup, Layout};
use containerd_task::bootstrap::Flags;
use containerd_task::{Bundle, CreateRequest, Error, Stdio, StdioHold};
use control::{AppSource, Phase, RunSpec, Sandbox};
use tokio_util::sync::CancellationToken;

use crate::compilers::{Compilers, cache_dir};
use crate::container_process::{blocking, clear, start_runtime};
use crate::memory_watch::MemoryWatch;
use crate::phases::{Clock, phase_since, shim_phase};
use crate::settings::Settings;
use crate::spin_container::{Parts, Refusal, SpinContainer};

/// Where an application listens if its environment does not say.
const DEFAULT_LISTEN: &str = "0.0.0.0:80";

/// Makes Spin containers.
pub(crate) struct SpinWorkload {
    containerd: PathBuf,
    namespace: String,
    state_dir: PathBuf,
    start_timeout: Duration,
    first_tier: bool,
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
        let compilers = Compilers::of_node(&state_dir, layout.clone());
        Ok(Self {
            containerd: flags.address.strip_prefix("unix://").unwrap_or(&flags.address).into(),
            namespace: flags.namespace.clone(),
            start_timeout: settings.start_timeout,
            first_tier: settings.first_tier,
            layout,
            compilers: Arc::new(compilers),
            shim: Mutex::new(begun.map(shim_phase)),
            state_dir,
        })
    }

    /// Makes a container with these streams. After a refusal nothing of it is left.
    pub(crate) async fn create(
        &self,
        request: &CreateRequest,
        stdio: Stdio,
        hold: StdioHold,
        cancel: &CancellationToken,
    ) -> Result<SpinContainer, Refusal> {
        let begun = Instant::now();
        let (oci, cgroup) = match self.prepare(request) {
            Ok(prepared) => prepared,
            Err(error) => return Err(closed(hold, error).await),
        };
        match self.make(request, &cgroup, &oci, (stdio, hold), cancel).await {
            Ok(container) => {
                container.record([phase_since("create", begun)]);
                Ok(container)
            }
            Err(refusal) => {
                if let Err(left) = clear(cgroup).await {
                    tracing::error!(%left, "a container that could not be made leaves something");
                }
                Err(refusal)
            }
        }
    }

    fn prepare(&self, request: &CreateRequest) -> Result<(OciBundle, Cgroup), Error> {
        let id = &request.id;
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Error::failed(format!("cannot create container {id}"), error)
        };
        let oci = OciBundle::load(&request.bundle).map_err(|error| failed(&error))?;
        let cgroup =
            Cgroup::at(&self.layout, oci.cgroups_path(), id).map_err(|error| failed(&error))?;
        cgroup.create(oci.resources()).map_err(|error| failed(&error))?;
        Ok((oci, cgroup))
    }

    async fn make(
        &self,
        request: &CreateRequest,
        cgroup: &Cgroup,
        oci: &OciBundle,
        (stdio, hold): (Stdio, StdioHold),
        cancel: &CancellationToken,
    ) -> Result<SpinContainer, Refusal> {
        let begun = Instant::now();
        let state_dir = self.state_dir.clone();
        let program =
            blocking("find the runtime", move || payload::locate(&state_dir, "spinlet-runtime"))
                .await;
        let started = program.and_then(|program| start_runtime(program, oci, cgroup, stdio));
        let (process, channel) = match started {
            Ok(started) => started,
            Err(error) => return Err(closed(hold, error).await),
        };
        let container = SpinContainer::new(Parts {
            id: request.id.clone(),
            process,
            channel,
            cgroup: cgroup.clone(),
            memory: MemoryWatch::new(Some(cgroup)),
            stdio: hold,
            bundle: Bundle::new(&request.bundle),
            start_timeout: self.start_timeout,
            compilers: Arc::clone(&self.compilers),
        });
        let spawned = phase_since("spawn", begun);
        let phases = container.load(self.run_spec(request, oci), cancel).await;
        match phases {
            Ok(Some(phases)) => {
                let own = self.take_shim_phase().into_iter().chain([spawned]);
                container.record(own.chain(phases));
                Ok(container)
            }
            Ok(None) => Err(Refusal::NotSpin(container.into_stdio())),
            Err(error) => {
                container.give_up().await;
                Err(Refusal::Failed(error))
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
            first_tier: self.first_tier,
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

async fn closed(hold: StdioHold, error: Error) -> Refusal {
    hold.close().await;
    Refusal::Failed(error)
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
    use super::*;

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
