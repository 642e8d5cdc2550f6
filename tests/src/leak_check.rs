//! What may be left behind on a machine, compared before and after.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use crate::containerd::Containerd;
use crate::process::{processes_of, wait_until};

/// How long the machine may take to come to rest.
const SETTLING: Duration = Duration::from_secs(10);

/// The traces that running containers leave, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// What there is now of one containerd and its containers.
    ///
    /// # Errors
    /// Fails when containerd does not answer.
    pub fn now(containerd: &Containerd) -> Result<Self> {
        let mut traces = BTreeSet::new();
        let place = containerd.folder();
        for process in processes_of(place) {
            if !matches!(process.program.as_str(), "containerd" | "ctr") {
                traces.insert(format!("process {} {}", process.pid, process.command_line));
            }
        }
        for mount in fs::read_to_string("/proc/self/mountinfo")?.lines() {
            if mount.contains(&place.display().to_string()) || mount.contains(" /run/netns/") {
                traces.insert(format!("mount {mount}"));
            }
        }
        for group in containerd.cgroups().into_iter().flat_map(control_groups) {
            traces.insert(format!("cgroup {}", group.display()));
        }
        for file in remembered_networks(place) {
            traces.insert(format!("file {file}"));
        }
        let runc = format!("/run/containerd/runc/{}", containerd.namespace());
        for folder in ["/run/containerd/s", "/run/netns", &runc] {
            traces.extend(entries(Path::new(folder)).iter().map(|path| format!("file {path}")));
        }
        for folder in containerd.bundle_folders() {
            traces.extend(entries(&folder).iter().map(|path| format!("bundle {path}")));
        }
        for file in unfinished_files(&containerd.state()) {
            traces.insert(format!("unfinished file {}", file.display()));
        }
        for kind in ["containers", "tasks", "leases", "snapshots"] {
            for line in containerd.ctr(&[kind, "ls"])?.lines().skip(1) {
                let name = line.split(' ').next().unwrap_or_default();
                // Those called after a digest are layers of images, not of containers.
                if !name.starts_with("sha256:") {
                    traces.insert(format!("{kind} {name}"));
                }
            }
        }
        for line in containerd.ctr(&["content", "active"])?.lines().skip(1) {
            traces.insert(format!("content ingest {line}"));
        }
        Ok(Self(traces))
    }

    /// Waits until nothing is there that was not there at this moment.
    ///
    /// # Errors
    /// Fails with the list of what stays longer than ten seconds.
    pub fn nothing_new(&self, containerd: &Containerd) -> Result<()> {
        let mut new = Vec::new();
        let gone = wait_until(SETTLING, || {
            new = Self::now(containerd)?.0.difference(&self.0).cloned().collect();
            Ok(new.is_empty().then_some(()))
        });
        gone.with_context(|| format!("this was left behind:\n  {}", new.join("\n  ")))
    }
}

/// What shims without a containerd have left of the containers whose bundles are in
/// a folder: processes, mounts, control groups, and what the OCI runtime remembers.
///
/// # Errors
/// Fails when the kernel does not tell.
pub fn left_by_shims(folder: &Path, namespace: &str) -> Result<Vec<String>> {
    let place = folder.display().to_string();
    let mut left = Vec::new();
    for process in processes_of(folder) {
        left.push(format!("process {} {}", process.pid, process.command_line));
    }
    left.extend(processes_in_groups(namespace).iter().map(|pid| format!("process {pid}")));
    for mount in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        if mount.contains(&place) {
            left.push(format!("mount {mount}"));
        }
    }
    left.extend(
        control_groups(namespace).iter().map(|group| format!("cgroup {}", group.display())),
    );
    let runtime = PathBuf::from(format!("/run/containerd/runc/{namespace}"));
    left.extend(entries(&runtime).iter().map(|entry| format!("container {entry}")));
    Ok(left)
}

/// Waits until no process has anything to do with a folder.
///
/// # Errors
/// Fails with the processes that stay longer than ten seconds.
pub fn no_process_of(place: &Path) -> Result<()> {
    let gone = wait_until(SETTLING, || Ok(processes_of(place).is_empty().then_some(())));
    gone.with_context(|| crate::process::describe(&processes_of(place)))
}

/// Fails when a state directory holds a file that was not finished.
///
/// # Errors
/// Names the files.
pub fn no_unfinished_file(state: &Path) -> Result<()> {
    let files = unfinished_files(state);
    ensure!(files.is_empty(), "unfinished files: {files:?}");
    Ok(())
}

/// What CNI remembers, in one place for the whole machine, of networks whose
/// namespaces are below a folder.
pub(crate) fn remembered_networks(place: &Path) -> Vec<String> {
    let place = place.display().to_string();
    let of_place = |file: &String| fs::read_to_string(file).is_ok_and(|text| text.contains(&place));
    entries(Path::new("/var/lib/cni/results")).into_iter().filter(of_place).collect()
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path().display().to_string()).collect()
}

/// The control groups below those with this name, in every hierarchy.
pub(crate) fn control_groups(name: &str) -> Vec<PathBuf> {
    groups_named(name).iter().flat_map(|group| folders_below(group, 2)).collect()
}

/// The processes in the control groups below those with this name.
pub(crate) fn processes_in_groups(name: &str) -> Vec<u32> {
    let groups = control_groups(name).into_iter();
    let texts = groups.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    let mut pids: Vec<u32> = texts
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// The control groups with this name in every hierarchy.
pub(crate) fn groups_named(name: &str) -> Vec<PathBuf> {
    let groups = folders_below(Path::new("/sys/fs/cgroup"), 3).into_iter();
    groups.filter(|path| path.ends_with(name)).collect()
}

/// The folders at most so deep below one.
pub(crate) fn folders_below(folder: &Path, depth: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut folders = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth > 1 {
                folders.extend(folders_below(&entry.path(), depth - 1));
            }
            folders.push(entry.path());
        }
    }
    folders
}

/// Files whose names say that they were to be renamed when they are whole.
fn unfinished_files(state: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(state) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(unfinished_files(&entry.path()));
        } else if [".tmp", ".partial", ".part"].iter().any(|mark| name.contains(mark)) {
            found.push(entry.path());
        }
    }
    found
}
