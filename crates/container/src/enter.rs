//! Become the container: namespaces, file system, privileges.
//!
//! Three steps, so that the caller can act between them:
//!
//! 1. [`Container::prepare`] reads and checks everything that can be checked
//!    without touching the kernel.
//! 2. [`Container::enter`] joins the namespaces, mounts the container's file
//!    system and makes it `/`. The process is still root: this is the moment to
//!    bind a port below 1024 and to read files as root.
//! 3. [`Entered::drop_privileges`] takes on the identity, the limits, the
//!    capabilities, the profile and the filters of the spec.
//!
//! The process must have one thread only: the kernel keeps identity and
//! namespaces for each thread. Threads started afterwards inherit all of it.
//!
//! Stricter than the spec asks, because no program of the image will ever be
//! executed: `no_new_privs` is always set; a user other than root has only the
//! ambient capabilities; the process cannot be traced by its equals; device
//! nodes besides the six standard ones are not made. The working directory is
//! `/` whatever the spec says. The user namespace is entered last: namespaces and
//! mounts belong to the host, so that root of the container can change none of them.

mod capabilities;
mod id_mappings;
mod mapped_layers;
mod mount_data;
mod mount_options;
mod namespaces;
mod privileges;
mod root;
mod rootfs;
mod seccomp;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use seccompiler::BpfProgram;

use crate::bundle::{Bundle, BundleError, RootfsMount};
use crate::cgroup::{CgroupError, Layout};
use id_mappings::UserNamespace;
use mount_options::{ContainerMount, MountKind, RootLayer, normal_path};
use privileges::{OpenProfile, Privileges};

/// Why a container cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The spec asks for what is not supported.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The spec contradicts itself or asks for what this crate cannot give.
    #[error("the container's configuration cannot be applied: {0}")]
    Configuration(String),
    /// More than one thread runs.
    #[error("a container is entered by a process with one thread, and this one has {0}")]
    Threads(usize),
    /// The cgroup to show to the container cannot be found.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The kernel refused something.
    #[error("cannot {attempt}")]
    System {
        /// What was attempted.
        attempt: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The system call filter of the spec cannot be used.
    #[error("cannot {attempt} the seccomp filter")]
    Seccomp {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: seccompiler::Error,
    },
}

/// Turns an errno into an error that says what was attempted.
fn system(attempt: impl FnOnce() -> String) -> impl FnOnce(Errno) -> EnterError {
    move |errno| EnterError::System { attempt: attempt(), source: errno.into() }
}

/// Mounts a root filesystem at `path`, where this mount namespace and its peers see
/// it: for a program that enters the container in its own way. Mounts bottom first;
/// after an error some may be there, and whoever called unmounts them.
///
/// # Errors
/// An option that is not supported, or what the kernel refused.
pub fn mount_rootfs(mounts: &[RootfsMount], path: &Path) -> Result<(), EnterError> {
    let layers: Result<Vec<RootLayer>, EnterError> = mounts.iter().map(RootLayer::parse).collect();
    rootfs::mount_visibly(&layers?, path)
}

/// A container that is checked and ready to be entered.
#[derive(Debug)]
pub struct Container {
    bundle: Bundle,
    rootfs: Vec<RootLayer>,
    mounts: Vec<ContainerMount>,
    kernel_parameters: Vec<(PathBuf, String)>,
    masked: Vec<PathBuf>,
    read_only: Vec<PathBuf>,
    privileges: Privileges,
    user_namespace: Option<UserNamespace>,
    filters: Vec<BpfProgram>,
}

/// A container that is entered, with root's privileges still there.
#[derive(Debug)]
pub struct Entered {
    privileges: Privileges,
    user_namespace: Option<OwnedFd>,
    profile: Option<OpenProfile>,
    filters: Vec<BpfProgram>,
}

impl Container {
    /// Checks what the bundle asks for. `rootfs` are the mounts of the root
    /// filesystem, bottom first; with none it is the bundle's folder as it is.
    ///
    /// # Errors
    /// Everything in the spec that cannot be given is an error here, before
    /// anything has changed.
    pub fn prepare(bundle: Bundle, rootfs: &[RootfsMount]) -> Result<Self, EnterError> {
        bundle.check()?;
        let user_namespace = UserNamespace::of(&bundle)?;
        let mappings = user_namespace.as_ref().map(|namespace| &namespace.mappings);
        let mounts = bundle.spec().mounts().iter().flatten();
        let mounts = mounts
            .map(|mount| ContainerMount::parse(mount, bundle.path(), mappings))
            .collect::<Result<_, _>>()?;
        let linux = bundle.linux();
        let paths = |list: Option<&Vec<String>>| {
            list.into_iter().flatten().map(|path| normal_path(Path::new(path))).collect()
        };
        let masked: Result<Vec<PathBuf>, _> =
            paths(linux.and_then(|linux| linux.masked_paths().as_ref()));
        let read_only: Result<Vec<PathBuf>, _> =
            paths(linux.and_then(|linux| linux.readonly_paths().as_ref()));
        let filters = match linux.and_then(|linux| linux.seccomp().as_ref()) {
            Some(spec) => seccomp::compile(spec)?,
            None => Vec::new(),
        };
        Ok(Self {
            mounts,
            kernel_parameters: namespaces::kernel_parameters(&bundle)?,
            masked: masked?,
            read_only: read_only?,
            privileges: Privileges::of(&bundle)?,
            user_namespace,
            filters,
            rootfs: rootfs.iter().map(RootLayer::parse).collect::<Result<_, _>>()?,
            bundle,
        })
    }

    /// Enters namespaces and file system. The calling process must be root, in
    /// the container's cgroup and pid namespace, and have one thread.
    ///
    /// After an error the process is in an undefined place and must end; nothing
    /// outlives it.
    ///
    /// # Errors
    /// Names the step that the kernel refused.
    pub fn enter(self) -> Result<Entered, EnterError> {
        require_one_thread()?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(system(|| "forbid tracing".to_owned()))?;
        rustix::process::umask(rustix::fs::Mode::empty());
        let cgroups = self.own_cgroups()?;
        let user_namespace = self.user_namespace.as_ref().map(UserNamespace::open).transpose()?;
        namespaces::enter(&self.bundle)?;
        if let Some(adjustment) = self.privileges.oom_score_adj {
            let path = Path::new("/proc/self/oom_score_adj");
            namespaces::write_existing(path, &adjustment.to_string()).map_err(|source| {
                EnterError::System { attempt: format!("set oom_score_adj to {adjustment}"), source }
            })?;
        }
        namespaces::set_kernel_parameters(&self.kernel_parameters)?;
        namespaces::set_names(&self.bundle)?;
        let profile = self.privileges.open_profile()?;
        self.build_root(cgroups.as_ref())?;
        Ok(Entered { privileges: self.privileges, user_namespace, profile, filters: self.filters })
    }

    fn build_root(&self, cgroups: Option<&Layout>) -> Result<(), EnterError> {
        let root = rootfs::mount_root(&self.bundle, &self.rootfs)?;
        let label = self.bundle.linux().and_then(|linux| linux.mount_label().as_deref());
        let label = label.filter(|label| !label.is_empty());
        for mount in &self.mounts {
            rootfs::mount_inside(&root, mount, label, cgroups)?;
        }
        rootfs::make_devices(&root, &self.mounts)?;
        rootfs::make_read_only(&root, &self.read_only)?;
        rootfs::mask(&root, &self.masked)?;
        let read_only =
            self.bundle.spec().root().as_ref().and_then(oci_spec::runtime::Root::readonly);
        rootfs::pivot(&root, read_only == Some(true))
    }

    /// The layout of cgroups where the spec wants to show them.
    fn own_cgroups(&self) -> Result<Option<Layout>, CgroupError> {
        let wanted = self.mounts.iter().any(|mount| mount.kind == MountKind::Cgroup);
        wanted.then(Layout::detect).transpose()
    }
}

impl Entered {
    /// Gives up everything that the spec does not grant. There is no way back.
    ///
    /// After an error the process must end.
    ///
    /// # Errors
    /// Names the step that the kernel refused.
    pub fn drop_privileges(self) -> Result<(), EnterError> {
        require_one_thread().or_else(|error| match error {
            // Without /proc in the container the threads cannot be counted; they
            // were before.
            EnterError::System { .. } => Ok(()),
            error => Err(error),
        })?;
        self.privileges.drop(self.user_namespace, self.profile)?;
        seccomp::install(&self.filters)
    }
}

fn require_one_thread() -> Result<(), EnterError> {
    let threads = fs_err::read_dir("/proc/self/task").map_err(|source| EnterError::System {
        attempt: "count the threads of this process".to_owned(),
        source,
    })?;
    match threads.count() {
        1 => Ok(()),
        more => Err(EnterError::Threads(more)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::tests::bundle;

    #[test]
    fn a_process_with_several_threads_enters_nothing() {
        // The test harness itself runs this in a second thread.
        let process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
        let container = Container::prepare(bundle(json!({ "process": process })), &[]);
        assert!(matches!(container.unwrap().enter(), Err(EnterError::Threads(2..))));
    }

    #[test]
    fn a_spec_is_checked_before_anything_changes() {
        let process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
        let cases = [
            json!({ "process": process, "linux": {"maskedPaths": ["/proc/../etc"]} }),
            json!({ "process": process, "mounts": [{"destination": "/a", "type": "nfs"}] }),
            json!({ "process": process, "linux": {"sysctl": {"vm.swappiness": "1"}} }),
            json!({}),
        ];
        for case in cases {
            assert!(Container::prepare(bundle(case), &[]).is_err());
        }
    }
}
