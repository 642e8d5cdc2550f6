//! systemd, where it is the first process of this machine: it takes the controllers of
//! a slice away, and all limits below with them, unless it knows of a scope in there.
//! For containers that an OCI runtime starts that runtime tells it; for the process
//! that holds a pod's namespaces the shim does.

use std::path::Path;
use std::process::{Command, Stdio};

/// Whether this machine was started by systemd: sd_booted(3). Without it a name
/// of a scope is a path like any other, as it is for containerd's own shim.
pub(crate) fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A scope as `linux.cgroupsPath` names it: `slice:prefix:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    slice: String,
    name: String,
}

impl Scope {
    /// None for a plain path.
    pub(crate) fn of(cgroups_path: &str) -> Option<Self> {
        let parts: Vec<&str> = cgroups_path.split(':').collect();
        let [slice, prefix, name] = parts.as_slice() else { return None };
        let plain = !slice.starts_with('/') && !slice.is_empty();
        plain.then(|| Self { slice: (*slice).to_owned(), name: format!("{prefix}-{name}.scope") })
    }

    /// Has systemd take over the scope with the process in it, and leave everything
    /// below and beside it to us (`StartTransientUnit` of org.freedesktop.systemd1
    /// with `Delegate`). Blocks the thread for some milliseconds.
    ///
    /// # Errors
    /// Fails where `busctl` of systemd is not there, and with what it says when
    /// systemd cannot be asked or refuses.
    pub(crate) fn announce(&self, pid: u32) -> std::io::Result<()> {
        let output = Command::new("busctl")
            .args(["--quiet", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"])
            .args(["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"])
            .args([self.name.as_str(), "fail", "6"])
            .args(["Description", "s", "namespaces of a pod"])
            .args(["Slice", "s", &self.slice])
            .args(["Delegate", "b", "true"])
            .args(["DefaultDependencies", "b", "false"])
            .args(["CollectMode", "s", "inactive-or-failed"])
            .args(["PIDs", "au", "1", &pid.to_string()])
            .arg("0")
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(std::io::Error::other(format!("busctl: {} ({})", said.trim(), output.status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_told_from_a_path() {
        let scope = Scope::of("kubepods-pod1.slice:cri-containerd:abc").unwrap();
        assert_eq!(scope.slice, "kubepods-pod1.slice");
        assert_eq!(scope.name, "cri-containerd-abc.scope");
        for path in ["/kubepods/pod1/abc", "/kubepods/pod:x:y/abc", "", "a:b", "a:b:c:d"] {
            assert_eq!(Scope::of(path), None, "{path}");
        }
    }
}
