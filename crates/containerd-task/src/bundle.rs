//! The files of a bundle that a shim writes for itself and for a later
//! `delete` process.

use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;
use serde::{Deserialize, Serialize};

/// File with the address of the shim's socket, read by containerd.
const ADDRESS: &str = "address";
/// File with the container's first process, read by `delete`.
const INIT: &str = "init.json";
/// File with the path of the shim's program, read and mostly written by containerd.
const PROGRAM: &str = "shim-binary-path";

/// A container's bundle folder.
#[derive(Debug, Clone)]
pub struct Bundle(PathBuf);

/// The first process of a container as recorded on disk.
///
/// The start time keeps a later reader from taking another process with the
/// same pid for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitProcess {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

impl InitProcess {
    /// The process that has this pid now; none if there is no such process.
    pub fn observe(pid: u32) -> Option<Self> {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, start_time: start_time(&stat)? })
    }

    /// Whether this very process still exists.
    pub fn exists(&self) -> bool {
        Self::observe(self.pid) == Some(*self)
    }
}

/// Field 22 of a stat line. The second field, the name, may contain spaces and
/// parentheses; the last parenthesis ends it.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

impl Bundle {
    /// The bundle at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Replaces a file whole: a reader sees the old or the new content.
    ///
    /// # Errors
    /// Fails when the folder does not exist or cannot be written to.
    pub fn write(&self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let temporary = self.0.join(format!(".{name}.{}", std::process::id()));
        let target = self.0.join(name);
        fs_err::write(&temporary, content)?;
        fs_err::rename(&temporary, target).inspect_err(|_| {
            let _ = fs_err::remove_file(&temporary);
        })
    }

    /// Records the address of the shim's socket.
    ///
    /// # Errors
    /// As [`Bundle::write`].
    pub fn record_address(&self, address: &str) -> std::io::Result<()> {
        self.write(ADDRESS, address.as_bytes())
    }

    /// The recorded address of the shim's socket.
    pub fn address(&self) -> Option<String> {
        fs_err::read_to_string(self.0.join(ADDRESS)).ok().map(|text| text.trim().to_owned())
    }

    /// Records the container's first process.
    ///
    /// # Errors
    /// Fails when the process does not exist or the file cannot be written.
    pub fn record_init(&self, pid: u32) -> std::io::Result<()> {
        let init = InitProcess::observe(pid).ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::NotFound, format!("no process {pid}"))
        })?;
        self.write(INIT, &serde_json::to_vec(&init)?)
    }

    /// The recorded first process, alive or not.
    pub fn init(&self) -> Option<InitProcess> {
        serde_json::from_slice(&fs_err::read(self.0.join(INIT)).ok()?).ok()
    }

    /// Records which program serves this container: the same as that of `pod`, a
    /// container beside this one.
    ///
    /// containerd 2 records it only in the bundle of a pod's first container, for
    /// which it ran `start`. When it comes back after a restart, it looks for the
    /// program of every other one by the name of the runtime on its own `PATH`;
    /// where the handler has a `runtime_path` instead, it finds none and forgets a
    /// container that goes on.
    ///
    /// # Errors
    /// Fails when what is recorded for the pod cannot be read, or as
    /// [`Bundle::write`].
    pub fn record_program_of(&self, pod: &str) -> std::io::Result<()> {
        if self.0.join(PROGRAM).exists() {
            return Ok(());
        }
        match fs_err::read(self.0.with_file_name(pod).join(PROGRAM)) {
            Ok(program) => self.write(PROGRAM, &program),
            // The pod's first container itself, and callers that are not containerd.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes away every mount on and below the bundle's `rootfs`, newest first.
    ///
    /// # Errors
    /// Names the first mount that stays.
    pub fn unmount_rootfs(&self) -> std::io::Result<()> {
        let Ok(bundle) = fs_err::canonicalize(&self.0) else { return Ok(()) };
        let rootfs = bundle.join("rootfs");
        let table = fs_err::read_to_string("/proc/self/mountinfo")?;
        let mut below: Vec<PathBuf> =
            mount_points(&table).filter(|point| point.starts_with(&rootfs)).collect();
        below.reverse();
        for point in below {
            // Lazily, since a process that is just being killed may still be in it.
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            match rustix::mount::unmount(&point, flags) {
                Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
                Err(errno) => {
                    return Err(std::io::Error::other(format!(
                        "cannot unmount {}: {errno}",
                        point.display()
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The mount points of a mountinfo table, in the order of mounting.
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| unescape(point).into())
}

/// Undoes the octal escapes of mountinfo: space, tab, newline, backslash.
fn unescape(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_replaced_whole_and_leaves_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(folder.path());
        bundle.record_address("unix:///a").unwrap();
        bundle.record_address("unix:///b").unwrap();
        assert_eq!(bundle.address().as_deref(), Some("unix:///b"));
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_recorded_process_is_told_apart_from_a_later_one_with_its_pid() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(folder.path());
        bundle.record_init(std::process::id()).unwrap();
        let init = bundle.init().unwrap();
        assert!(init.exists());
        let later = InitProcess { start_time: init.start_time + 1, ..init };
        assert!(!later.exists());
    }

    #[test]
    fn a_container_has_the_program_of_its_pod_unless_one_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = |id: &str| {
            fs_err::create_dir_all(folder.path().join(id)).unwrap();
            Bundle::new(folder.path().join(id))
        };
        let program = |bundle: &Bundle| fs_err::read_to_string(bundle.path().join(PROGRAM)).ok();
        let (pod, app, other) = (bundle("pod"), bundle("app"), bundle("other"));
        app.record_program_of("pod").unwrap();
        assert_eq!(program(&app), None);
        pod.write(PROGRAM, b"/opt/shim").unwrap();
        app.record_program_of("pod").unwrap();
        assert_eq!(program(&app).as_deref(), Some("/opt/shim"));
        other.write(PROGRAM, b"/opt/other").unwrap();
        other.record_program_of("pod").unwrap();
        assert_eq!(program(&other).as_deref(), Some("/opt/other"));
    }

    #[test]
    fn the_start_time_is_found_behind_a_name_with_parentheses() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) b) ) {}", fields.join(" "));
        assert_eq!(start_time(&stat), Some(22));
    }

    #[test]
    fn a_bundle_that_does_not_exist_has_nothing_to_clean() {
        let bundle = Bundle::new("/nonexistent/bundle");
        assert_eq!(bundle.address(), None);
        assert_eq!(bundle.init(), None);
        bundle.unmount_rootfs().unwrap();
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        let table = "1 2 0:3 / /a rw - tmpfs t rw\n4 1 0:5 / /a/b\\040c rw - tmpfs t rw\n";
        let points: Vec<PathBuf> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/a"), PathBuf::from("/a/b c")]);
    }
}
