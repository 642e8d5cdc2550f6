//! Control groups, versions 1 and 2 and the hybrid of both.
//!
//! A [`Cgroup`] is a name, not a handle: any process that knows the container's
//! spec can make, read and remove the same one, also after a crash. The device
//! controller is left alone: no program of an image is ever executed, so nothing
//! could open a device.
//!
//! With the systemd driver (`linux.cgroupsPath` of the form
//! `slice:prefix:name`) the folder of the scope is made directly where systemd
//! would make it, below the slice that the kubelet has had systemd make. That
//! systemd leaves the slice its controllers is the caller's to see to.

mod ending;
mod error;
mod freezer;
mod layout;
mod oom;
mod settings;
mod stats;

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use layout::Hierarchies;
use settings::Setting;

pub use error::CgroupError;
pub use layout::Layout;
pub use oom::OomWatch;
pub use stats::{CpuStats, MemoryStats, PidsStats, Stats, Version};

/// How long freezing and removing wait for the kernel.
const PATIENCE: Duration = Duration::from_secs(2);

/// The cgroup of one container: one folder in each hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    folders: Folders,
}

/// What a new process needs to be in a cgroup from its beginning.
///
/// Moving a whole process (`cgroup.procs`) makes the kernel wait for a grace
/// period of all processors, 10 to 20 ms. Neither way here does.
#[derive(Debug)]
pub enum Entrance {
    /// The `tasks` files: a thread that writes `0` moves itself.
    V1(Vec<OwnedFd>),
    /// The folder, for `CLONE_INTO_CGROUP`.
    V2(OwnedFd),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Folders {
    V1(Vec<Folder>),
    V2(Folder),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Folder {
    controllers: Vec<String>,
    mount_point: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    /// Names the cgroup of a container. Nothing is created.
    ///
    /// `configured` is `linux.cgroupsPath`; without one it is `/spinlet/<id>`.
    ///
    /// # Errors
    /// [`CgroupError::InvalidPath`] for a path that is none or climbs.
    pub fn at(layout: &Layout, configured: Option<&Path>, id: &str) -> Result<Self, CgroupError> {
        let relative = layout::relative_path(configured, id)?;
        let folder = |hierarchy: &layout::Hierarchy| Folder {
            controllers: hierarchy.controllers.clone(),
            path: hierarchy.mount_point.join(&relative),
            mount_point: hierarchy.mount_point.clone(),
        };
        let folders = match &layout.hierarchies {
            Hierarchies::V1(hierarchies) => Folders::V1(hierarchies.iter().map(folder).collect()),
            Hierarchies::V2(hierarchy) => Folders::V2(folder(hierarchy)),
        };
        Ok(Self { folders })
    }

    /// The cgroup that this one is in.
    pub fn parent(&self) -> Self {
        let above = |folder: &Folder| Folder {
            path: folder.path.parent().unwrap_or(&folder.mount_point).to_owned(),
            ..folder.clone()
        };
        let folders = match &self.folders {
            Folders::V1(folders) => Folders::V1(folders.iter().map(above).collect()),
            Folders::V2(folder) => Folders::V2(above(folder)),
        };
        Self { folders }
    }

    /// The cgroup that a process is in, which another program has made. Hierarchies
    /// where that is the root, or the caller's own cgroup, are left out: they are
    /// not the process's alone.
    ///
    /// # Errors
    /// Fails when there is no such process or no hierarchy is mounted, and with
    /// [`CgroupError::NotItsOwn`] when nothing is left.
    pub fn of_process(pid: u32) -> Result<Self, CgroupError> {
        let read = |path: &str| fs_err::read_to_string(path).map_err(CgroupError::Layout);
        let mountinfo = read("/proc/self/mountinfo")?;
        let own = Layout::parse(&mountinfo, &read("/proc/self/cgroup")?)?;
        let process = Layout::parse(&mountinfo, &read(&format!("/proc/{pid}/cgroup"))?)?;
        Self::apart(&process, &own).ok_or(CgroupError::NotItsOwn(pid))
    }

    /// The folders of one process that are not those of another.
    fn apart(process: &Layout, own: &Layout) -> Option<Self> {
        let shared = |folder: &layout::Hierarchy| {
            let is_root = folder.own.components().eq(folder.mount_point.components());
            is_root || own.all().any(|other| other.own == folder.own)
        };
        let folder = |hierarchy: &layout::Hierarchy| Folder {
            controllers: hierarchy.controllers.clone(),
            path: hierarchy.own.clone(),
            mount_point: hierarchy.mount_point.clone(),
        };
        let mut folders = process.all().filter(|folder| !shared(folder)).map(folder).peekable();
        folders.peek()?;
        Some(Self {
            folders: match &process.hierarchies {
                Hierarchies::V1(_) => Folders::V1(folders.collect()),
                Hierarchies::V2(_) => Folders::V2(folders.next()?),
            },
        })
    }

    /// Creates the cgroup with these limits. One that exists is used if nothing
    /// is in it. On failure what was created is removed again.
    ///
    /// # Errors
    /// [`CgroupError::Populated`] when processes are in it; otherwise the first
    /// folder or limit that could not be made.
    pub fn create(&self, resources: Option<&LinuxResources>) -> Result<(), CgroupError> {
        if !self.pids()?.is_empty() {
            return Err(CgroupError::Populated(self.process_folder().to_owned()));
        }
        let made = self.make_folders().and_then(|()| match resources {
            Some(resources) => self.update(resources),
            None => Ok(()),
        });
        if made.is_err()
            && let Err(error) = self.remove()
        {
            tracing::warn!(%error, "a cgroup that could not be set up is left behind");
        }
        made
    }

    fn make_folders(&self) -> Result<(), CgroupError> {
        for folder in self.all() {
            if matches!(self.folders, Folders::V2(_)) {
                enable_controllers(folder)?;
            }
            fs_err::create_dir_all(&folder.path).map_err(CgroupError::Create)?;
            if folder.controllers.iter().any(|controller| controller == "cpuset") {
                inherit_cpuset(folder)?;
            }
        }
        Ok(())
    }

    /// Changes limits; those not mentioned stay.
    ///
    /// # Errors
    /// Names the first limit that could not be set; earlier ones are in force.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let settings = match &self.folders {
            Folders::V1(_) => settings::v1(resources, self.stats().memory.limit)?,
            Folders::V2(_) => settings::v2(resources)?,
        };
        settings.iter().try_for_each(|setting| self.set(setting))
    }

    fn set(&self, setting: &Setting) -> Result<(), CgroupError> {
        let folder =
            self.controller(&setting.controller).ok_or_else(|| CgroupError::NoController {
                controller: setting.controller.clone(),
                file: setting.file.clone(),
            })?;
        match write(folder, &setting.file, &setting.value) {
            Err(CgroupError::Write { source, .. }) if source.kind() == ErrorKind::NotFound => {
                if setting.optional {
                    return Ok(());
                }
                Err(CgroupError::NoController {
                    controller: setting.controller.clone(),
                    file: setting.file.clone(),
                })
            }
            result => result,
        }
    }

    /// Opens what [`spawn`](crate::spawn::Program::entrance) needs to start a
    /// process in this cgroup.
    ///
    /// # Errors
    /// Fails when the cgroup does not exist.
    pub fn entrance(&self) -> Result<Entrance, CgroupError> {
        let open = |path: PathBuf, write: bool| {
            let file = fs_err::OpenOptions::new().read(!write).write(write).open(path);
            file.map(|file| OwnedFd::from(file.into_parts().0)).map_err(CgroupError::Read)
        };
        Ok(match &self.folders {
            Folders::V2(folder) => Entrance::V2(open(folder.path.clone(), false)?),
            Folders::V1(folders) => {
                let tasks = folders.iter().map(|folder| open(folder.path.join("tasks"), true));
                Entrance::V1(tasks.collect::<Result<_, _>>()?)
            }
        })
    }

    /// The processes in it and below it, by number in the caller's pid namespace;
    /// none when it does not exist.
    ///
    /// # Errors
    /// Fails when the list cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = Vec::new();
        for folder in self.all() {
            add_pids(&folder.path, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// What it has used. Numbers that are not to be had are zero.
    pub fn stats(&self) -> Stats {
        match &self.folders {
            Folders::V2(folder) => Stats::read_v2(&folder.path),
            Folders::V1(_) => Stats::read_v1(&stats::Folders {
                cpu: self.controller("cpu"),
                cpuacct: self.controller("cpuacct"),
                memory: self.controller("memory"),
                pids: self.controller("pids"),
            }),
        }
    }

    /// Watches for out-of-memory kills.
    ///
    /// # Errors
    /// Fails when there is no memory controller or the cgroup does not exist.
    pub fn watch_oom(&self) -> Result<OomWatch, CgroupError> {
        match &self.folders {
            Folders::V2(folder) => OomWatch::v2(folder.path.clone()),
            Folders::V1(_) => match self.controller("memory") {
                Some(folder) => OomWatch::v1(folder.to_owned()),
                None => Err(CgroupError::NoController {
                    controller: "memory".to_owned(),
                    file: "cgroup.event_control".to_owned(),
                }),
            },
        }
    }

    fn all(&self) -> impl Iterator<Item = &Folder> {
        match &self.folders {
            Folders::V1(folders) => folders.iter(),
            Folders::V2(folder) => std::slice::from_ref(folder).iter(),
        }
    }

    /// The folder with the files of a controller.
    fn controller(&self, name: &str) -> Option<&Path> {
        match &self.folders {
            Folders::V2(folder) => Some(&folder.path),
            Folders::V1(folders) => folders
                .iter()
                .find(|folder| folder.controllers.iter().any(|controller| controller == name))
                .map(|folder| folder.path.as_path()),
        }
    }

    /// One folder to name in messages about processes.
    fn process_folder(&self) -> &Path {
        self.controller("pids")
            .or_else(|| self.all().next().map(|folder| folder.path.as_path()))
            .unwrap_or(Path::new("/"))
    }
}

fn add_pids(folder: &Path, pids: &mut Vec<i32>) -> Result<(), CgroupError> {
    let path = folder.join("cgroup.procs");
    #[expect(clippy::disallowed_methods, reason = "the kernel's number must be seen")]
    match std::fs::read_to_string(&path) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        // Gone, or being removed; or of threads, whose processes are listed above.
        Err(error) if is_gone(&error) || error.kind() == ErrorKind::Unsupported => {}
        Err(source) => return Err(CgroupError::ReadProcesses { path, source }),
    }
    for below in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_pids(&below.path(), pids)?;
        }
    }
    Ok(())
}

/// Writes one value to a control file, which must exist.
fn write(folder: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    use std::io::Write as _;
    let path = folder.join(file);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| CgroupError::Write { path, value: value.to_owned(), source })
}

/// Makes the controllers of every ancestor available to its children.
fn enable_controllers(folder: &Folder) -> Result<(), CgroupError> {
    let below = folder.path.strip_prefix(&folder.mount_point).unwrap_or(&folder.path);
    let mut ancestor = folder.mount_point.clone();
    for component in below.components() {
        fs_err::create_dir_all(&ancestor).map_err(CgroupError::Create)?;
        let read = |file| fs_err::read_to_string(ancestor.join(file)).unwrap_or_default();
        let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
        for controller in available.split_whitespace() {
            if enabled.split_whitespace().any(|name| name == controller) {
                continue;
            }
            // Some cannot be had in some places (a cgroup with processes, a
            // threaded one). A limit that then cannot be set is an error later.
            if let Err(error) =
                write(&ancestor, "cgroup.subtree_control", &format!("+{controller}"))
            {
                tracing::debug!(%error, controller, "a controller stays off");
            }
        }
        ancestor.push(component);
    }
    Ok(())
}

/// A version 1 cpuset is empty at first and takes no process; so are those of
/// ancestors that were made with it.
fn inherit_cpuset(folder: &Folder) -> Result<(), CgroupError> {
    let below = folder.path.strip_prefix(&folder.mount_point).unwrap_or(&folder.path);
    let mut parent = folder.mount_point.clone();
    for component in below.components() {
        let child = parent.join(component);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let read = |folder: &Path| fs_err::read_to_string(folder.join(file));
            if read(&child).map_err(CgroupError::Read)?.trim().is_empty() {
                let inherited = read(&parent).map_err(CgroupError::Read)?;
                write(&child, file, inherited.trim())?;
            }
        }
        parent = child;
    }
    Ok(())
}

/// Whether a cgroup is no more: the kernel answers ENODEV for a control file that
/// was opened before the removal. Only for errors of `std::fs`, for those of
/// `fs_err` do not tell the kernel's number.
fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::NODEV)
}

/// Asks again and again, less and less often, until it is so or [`PATIENCE`] ends.
fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if done() {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests;
