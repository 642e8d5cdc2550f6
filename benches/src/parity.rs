//! What a started container really has: no figure is compared without it.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// The Linux side of a running container, read from the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(crate) struct Parity {
    /// Namespaces of its own.
    pub(crate) namespaces: Vec<String>,
    /// Its root is not the machine's.
    pub(crate) own_root: bool,
    /// How many capabilities it has.
    pub(crate) capabilities: u32,
    pub(crate) no_new_privileges: bool,
    /// A filter of system calls is on.
    pub(crate) seccomp: bool,
    /// It is in a control group of its own.
    pub(crate) control_group: bool,
    /// It answers when `ctr run` has returned.
    pub(crate) start_means_listening: Option<bool>,
    /// Processes that exist for it.
    pub(crate) processes: usize,
}

impl Parity {
    /// Looks at the process of a replica.
    pub(crate) fn of(pid: i32, control_group: &str, processes: usize) -> Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let status = fs_err::read_to_string(proc.join("status"))?;
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_default().trim().to_owned()
        };
        let link = |process: &str, name: &str| {
            fs_err::read_link(PathBuf::from("/proc").join(process).join("ns").join(name)).ok()
        };
        let own = |name: &str| link(&pid.to_string(), name) != link("self", name);
        let groups = fs_err::read_to_string(proc.join("cgroup")).unwrap_or_default();
        Ok(Self {
            namespaces: ["mnt", "pid", "ipc", "uts", "net", "cgroup"]
                .into_iter()
                .filter(|name| own(name))
                .map(str::to_owned)
                .collect(),
            own_root: root_of(pid) != root_of(i32::try_from(std::process::id())?),
            capabilities: u64::from_str_radix(&field("CapEff"), 16).map_or(0, u64::count_ones),
            no_new_privileges: field("NoNewPrivs") == "1",
            seccomp: field("Seccomp") == "2",
            control_group: groups.contains(control_group),
            start_means_listening: None,
            processes,
        })
    }

    /// Short, for a column.
    pub(crate) fn text(&self) -> String {
        let namespaces = if self.namespaces.is_empty() {
            "no namespaces".to_owned()
        } else {
            self.namespaces.join("+")
        };
        let capabilities = match self.capabilities {
            0 => "no capabilities".to_owned(),
            count => format!("{count} caps"),
        };
        let mut parts = vec![namespaces, capabilities];
        let mut say = |is: bool, what: &str| {
            if is {
                parts.push(what.to_owned());
            }
        };
        say(self.own_root, "own root");
        say(self.no_new_privileges, "nnp");
        say(self.seccomp, "seccomp");
        say(self.control_group, "cgroup");
        say(self.start_means_listening == Some(true), "start=listening");
        parts.push(format!("{} proc", self.processes));
        parts.join(", ")
    }
}

/// Device and inode of a process's root folder.
fn root_of(pid: i32) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs_err::metadata(format!("/proc/{pid}/root/")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_nothing_of_its_own() {
        let own = Parity::of(i32::try_from(std::process::id()).unwrap(), "/no-such", 1).unwrap();
        assert!(own.namespaces.is_empty() && !own.own_root && !own.control_group);
        assert!(own.text().starts_with("no namespaces"), "{}", own.text());
    }
}
