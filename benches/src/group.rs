//! The control group of a run: whatever the benchmark starts is below it, so
//! that nothing escapes the count.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use container::cgroup::{Cgroup, Layout};

/// Where containerd, `ctr` and the shims are, which get no group of their own.
const SERVICES: &str = "services";

/// The control group of this run; removed with the value.
#[derive(Debug)]
pub(crate) struct Group {
    layout: Layout,
    name: String,
    root: Cgroup,
    services: Cgroup,
}

impl Group {
    /// Makes the group.
    pub(crate) fn create() -> Result<Self> {
        let layout = Layout::detect()?;
        let name = format!("/spinlet-bench-{}", std::process::id());
        let at = |path: &str| Cgroup::at(&layout, Some(Path::new(path)), "bench");
        let (root, services) = (at(&name)?, at(&format!("{name}/{SERVICES}"))?);
        root.create(None).context("cannot make the benchmark's control group")?;
        services.create(None)?;
        Ok(Self { layout, name, root, services })
    }

    /// Where containerd runs.
    pub(crate) fn services(&self) -> &Cgroup {
        &self.services
    }

    /// The path of a replica's own group, for a container's configuration.
    pub(crate) fn path_of(&self, id: &str) -> String {
        format!("{}/{id}", self.name)
    }

    /// A replica's own group.
    pub(crate) fn replica(&self, id: &str) -> Result<Cgroup> {
        Ok(Cgroup::at(&self.layout, Some(Path::new(&self.path_of(id))), id)?)
    }

    /// Processor time of everything in the group so far, also of what has ended.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.root.stats().cpu.usage)
    }

    /// The processes of containerd and its shims, and of the given replicas.
    pub(crate) fn processes(&self, replicas: &[String]) -> Result<BTreeSet<i32>> {
        let mut pids: BTreeSet<i32> = self.services.pids()?.into_iter().collect();
        for id in replicas {
            pids.extend(self.replica(id)?.pids()?);
        }
        Ok(pids)
    }

    /// Kernel memory that is charged to the group; none where the kernel does not
    /// tell.
    pub(crate) fn kernel_memory(&self) -> Option<u64> {
        if let Some(kernel) = self.root.stats().memory.detail.get("kernel") {
            return Some(*kernel);
        }
        let folder = PathBuf::from("/sys/fs/cgroup/memory").join(self.name.trim_start_matches('/'));
        let text = fs_err::read_to_string(folder.join("memory.kmem.usage_in_bytes")).ok()?;
        text.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for group in [&self.services, &self.root] {
            // What is left is reported by nobody: the run is over.
            let _ = group.kill_all();
            let _ = group.remove();
        }
        // runc makes one there too where version 1 and 2 stand side by side.
        let unified = PathBuf::from("/sys/fs/cgroup/unified");
        let _ = fs_err::remove_dir(unified.join(self.name.trim_start_matches('/')));
    }
}
