//! What the shim itself needs to know of a container's `config.json`. Read with
//! leave: a runtime that understands more than we do is to judge the rest.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use containerd_task::Error;
use serde::Deserialize;

use crate::systemd::Scope;

/// Tells what part a container has in its pod.
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

/// A container's configuration, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Outline {
    annotations: Option<HashMap<String, String>>,
    process: Option<Process>,
    root: Option<Root>,
    linux: Option<Linux>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    cwd: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Root {
    path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
    cgroups_path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: PathBuf,
}

impl Outline {
    /// Reads the `config.json` of a bundle.
    pub(crate) fn read(bundle: &Path) -> Result<Self, Error> {
        let path = bundle.join("config.json");
        let what = || format!("cannot read the container's configuration {}", path.display());
        let bytes = fs_err::read(&path).map_err(|error| Error::failed(what(), &error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::failed(what(), &error))
    }

    /// Whether this is the container that only holds the pod's namespaces.
    pub(crate) fn is_sandbox(&self) -> bool {
        let kind = self.annotations.as_ref().and_then(|all| all.get(CONTAINER_TYPE));
        kind.is_some_and(|kind| kind == "sandbox")
    }

    /// Whether the container's processes are in a pid namespace that ends with the
    /// first of them.
    pub(crate) fn has_own_pids(&self) -> bool {
        let namespaces = self.linux.as_ref().and_then(|linux| linux.namespaces.as_ref());
        namespaces
            .into_iter()
            .flatten()
            .any(|namespace| namespace.kind == "pid" && namespace.path.as_os_str().is_empty())
    }

    /// `linux.cgroupsPath`, if there is one.
    pub(crate) fn cgroups_path(&self) -> Option<&Path> {
        let path = self.linux.as_ref().map(|linux| linux.cgroups_path.as_path());
        path.filter(|path| !path.as_os_str().is_empty())
    }

    /// The scope that the cgroup is named as, where it is named for systemd. Some
    /// releases of containerd lose the option that says so.
    pub(crate) fn scope(&self) -> Option<Scope> {
        self.cgroups_path().and_then(Path::to_str).and_then(Scope::of)
    }

    /// Where the root filesystem is, if nothing is to be mounted.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_ref().map(|root| root.path.as_path())
    }

    /// The places in the root filesystem where the kernel would find the
    /// container's program, in their order.
    pub(crate) fn programs(&self) -> Vec<PathBuf> {
        let Some(process) = &self.process else { return Vec::new() };
        let name = process.args.iter().flatten().next().map_or("", String::as_str);
        if name.is_empty() {
            return Vec::new();
        }
        if name.contains('/') {
            return vec![Path::new("/").join(&process.cwd).join(name)];
        }
        let mut variables = process.env.iter().flatten().rev();
        let path = variables.find_map(|variable| variable.strip_prefix("PATH="));
        let folders =
            path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        folders.split(':').map(|folder| Path::new("/").join(folder).join(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn outline(value: Value) -> Outline {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_container_that_holds_the_namespaces_is_told_by_its_annotation() {
        let of = |kind| outline(json!({"annotations": {"io.kubernetes.cri.container-type": kind}}));
        assert!(of("sandbox").is_sandbox());
        assert!(!of("container").is_sandbox());
        assert!(!outline(json!({"annotations": null})).is_sandbox());
    }

    #[test]
    fn only_a_new_pid_namespace_is_its_own() {
        let of = |list: Value| outline(json!({"linux": {"namespaces": list}}));
        assert!(of(json!([{"type": "network"}, {"type": "pid"}])).has_own_pids());
        assert!(!of(json!([{"type": "pid", "path": "/proc/1/ns/pid"}])).has_own_pids());
        assert!(!of(json!([])).has_own_pids());
        assert!(!outline(json!({})).has_own_pids());
    }

    #[test]
    fn a_program_is_looked_for_as_the_kernel_does() {
        let of = |args: Value, env: Value| {
            outline(json!({"process": {"args": args, "env": env, "cwd": "/work"}})).programs()
        };
        assert_eq!(of(json!(["/bin/sh", "-c"]), json!([])), [Path::new("/bin/sh")]);
        assert_eq!(of(json!(["./run"]), json!([])), [Path::new("/work/./run")]);
        let path = json!(["PATH=/old", "A=b", "PATH=/a:/b"]);
        assert_eq!(of(json!(["sh"]), path), [Path::new("/a/sh"), Path::new("/b/sh")]);
        assert!(of(json!(["sh"]), json!(null)).contains(&PathBuf::from("/bin/sh")));
        assert!(of(json!([]), json!([])).is_empty());
    }

    #[test]
    fn a_systemd_scope_is_told_from_a_path() {
        let of = |path: &str| outline(json!({"linux": {"cgroupsPath": path}}));
        assert!(of("kubepods.slice:cri-containerd:abc").scope().is_some());
        assert_eq!(of("/kubepods/pod:x:y/abc").scope(), None);
        assert_eq!(outline(json!({})).scope(), None);
    }

    #[test]
    fn a_bundle_without_configuration_is_an_error_that_names_it() {
        let error = Outline::read(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/config.json"), "{error}");
    }
}
