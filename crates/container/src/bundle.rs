//! A container's OCI bundle: the folder with its `config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Spec};

pub use oci_spec::runtime::LinuxResources;

/// One mount of a root filesystem, as containerd hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsMount {
    /// Filesystem type, for example `overlay` or `bind`.
    pub kind: String,
    /// Source device or folder.
    pub source: String,
    /// Mount options in the form of `mount -o`.
    pub options: Vec<String>,
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The configuration file cannot be read.
    #[error("cannot read the container's configuration")]
    Read(#[source] std::io::Error),
    /// The configuration is not one of the OCI runtime specification.
    #[error("{} is not an OCI runtime configuration", path.display())]
    Decode {
        /// Path of `config.json`.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration asks for what this crate cannot give; all of it.
    #[error("the container's configuration asks for what Spin containers do not have: {}", .0.join("; "))]
    Unsupported(Vec<String>),
}

/// A container's configuration and the folder it was found in.
#[derive(Debug, Clone)]
pub struct Bundle {
    path: PathBuf,
    spec: Spec,
}

/// How a container's process is to be started concerning one kind of namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// The supervisor's.
    Inherit,
    /// A new one.
    New,
    /// The one at this path.
    Path(PathBuf),
}

impl Bundle {
    /// Reads `config.json` of a bundle.
    ///
    /// # Errors
    /// Fails when there is none or it is not of the OCI runtime specification.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, BundleError> {
        let path = path.into();
        let config = path.join("config.json");
        let bytes = fs_err::read(&config).map_err(BundleError::Read)?;
        let spec = serde_json::from_slice(&bytes)
            .map_err(|source| BundleError::Decode { path: config, source })?;
        Ok(Self { path, spec })
    }

    /// A bundle from a configuration already read.
    pub fn new(path: impl Into<PathBuf>, spec: Spec) -> Self {
        Self { path: path.into(), spec }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Where the root filesystem is, or is to be mounted.
    pub fn rootfs(&self) -> PathBuf {
        let path = self.spec.root().as_ref().map_or(Path::new("rootfs"), |root| root.path());
        self.path.join(path)
    }

    /// The environment of the container's process. Of a variable given twice the
    /// last value counts, as for a program that reads its environment in order.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let process = self.spec.process().as_ref();
        let variables = process.and_then(|process| process.env().as_ref()).into_iter().flatten();
        variables
            .filter_map(|variable| variable.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The arguments of the container's process.
    pub fn arguments(&self) -> Vec<String> {
        let process = self.spec.process().as_ref();
        process.and_then(|process| process.args().clone()).unwrap_or_default()
    }

    /// The annotations.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.spec.annotations().as_ref()?.get(key).map(String::as_str)
    }

    /// `linux.cgroupsPath`.
    pub fn cgroups_path(&self) -> Option<&Path> {
        self.linux()?.cgroups_path().as_deref()
    }

    /// `linux.resources`.
    pub fn resources(&self) -> Option<&LinuxResources> {
        self.linux()?.resources().as_ref()
    }

    /// The pid namespace of the container's process.
    pub fn pid_namespace(&self) -> Namespace {
        self.namespace(LinuxNamespaceType::Pid)
    }

    /// The namespace of one kind.
    pub(crate) fn namespace(&self, kind: LinuxNamespaceType) -> Namespace {
        match self.namespaces().iter().find(|namespace| namespace.typ() == kind) {
            None => Namespace::Inherit,
            Some(namespace) => match namespace.path() {
                Some(path) if !path.as_os_str().is_empty() => Namespace::Path(path.clone()),
                _ => Namespace::New,
            },
        }
    }

    /// Reports everything that the container's configuration asks for and that
    /// this crate cannot give.
    ///
    /// # Errors
    /// [`BundleError::Unsupported`] with one entry for each such wish.
    pub fn check(&self) -> Result<(), BundleError> {
        let mut wishes = Vec::new();
        self.check_process(&mut wishes);
        self.check_linux(&mut wishes);
        if has_hooks(&self.spec) {
            wishes.push("OCI hooks".to_owned());
        }
        if wishes.is_empty() { Ok(()) } else { Err(BundleError::Unsupported(wishes)) }
    }

    fn check_process(&self, wishes: &mut Vec<String>) {
        let Some(process) = self.spec.process() else { return };
        if process.scheduler().is_some() {
            wishes.push("process.scheduler".to_owned());
        }
        if process.io_priority().is_some() {
            wishes.push("process.ioPriority".to_owned());
        }
        if process.exec_cpu_affinity().is_some() {
            wishes.push("process.execCPUAffinity".to_owned());
        }
    }

    fn check_linux(&self, wishes: &mut Vec<String>) {
        let Some(linux) = self.linux() else { return };
        for namespace in self.namespaces() {
            let joins = namespace.path().is_some();
            match namespace.typ() {
                LinuxNamespaceType::Time => wishes.push("a time namespace".to_owned()),
                LinuxNamespaceType::Mount if joins => {
                    wishes.push("an existing mount namespace".to_owned());
                }
                _ => {}
            }
        }
        if self.namespace(LinuxNamespaceType::Mount) == Namespace::Inherit {
            wishes.push("the host's mount namespace".to_owned());
        }
        if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
            wishes.push("linux.netDevices".to_owned());
        }
        if linux.intel_rdt().is_some() {
            wishes.push("linux.intelRdt".to_owned());
        }
        if linux.memory_policy().is_some() {
            wishes.push("linux.memoryPolicy".to_owned());
        }
        if linux.personality().is_some() {
            wishes.push("linux.personality".to_owned());
        }
    }

    pub(crate) fn linux(&self) -> Option<&Linux> {
        self.spec.linux().as_ref()
    }

    fn namespaces(&self) -> &[LinuxNamespace] {
        self.linux().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default()
    }
}

fn has_hooks(spec: &Spec) -> bool {
    let Some(hooks) = spec.hooks() else { return false };
    // Through JSON, so that the deprecated `prestart` is seen without naming it.
    serde_json::to_value(hooks).is_ok_and(|hooks| {
        hooks
            .as_object()
            .into_iter()
            .flatten()
            .any(|(_, list)| list.as_array().is_some_and(|list| !list.is_empty()))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A bundle at `/bundle` from JSON, with a mount namespace unless
    /// `linux.namespaces` is given.
    pub(crate) fn bundle(mut spec: Value) -> Bundle {
        let object = spec.as_object_mut().unwrap();
        object.entry("ociVersion").or_insert(json!("1.1.0"));
        let linux = object.entry("linux").or_insert(json!({})).as_object_mut().unwrap();
        linux.entry("namespaces").or_insert(json!([{"type": "mount"}]));
        Bundle::new("/bundle", serde_json::from_value(spec).unwrap())
    }

    fn process(fields: Value) -> Value {
        let mut process = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
        process.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "process": process })
    }

    #[test]
    fn a_bundle_without_configuration_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Bundle::load(folder.path()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("config.json"), "{source}");
    }

    #[test]
    fn configuration_that_is_no_oci_spec_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("config.json"), "text").unwrap();
        let error = Bundle::load(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("config.json is not an OCI runtime configuration"));
    }

    #[test]
    fn of_a_variable_given_twice_the_last_value_counts() {
        let bundle = bundle(process(json!({"env": ["A=1", "B=x=y", "A=2", "broken"]})));
        let expected = [("A", "2"), ("B", "x=y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(bundle.environment(), BTreeMap::from(expected));
    }

    #[test]
    fn a_namespace_is_inherited_new_or_at_a_path() {
        let bundle = bundle(json!({"linux": {"namespaces": [
            {"type": "pid"}, {"type": "network", "path": "/run/netns/a"}, {"type": "ipc", "path": ""},
        ]}}));
        assert_eq!(bundle.pid_namespace(), Namespace::New);
        assert_eq!(
            bundle.namespace(LinuxNamespaceType::Network),
            Namespace::Path("/run/netns/a".into())
        );
        assert_eq!(bundle.namespace(LinuxNamespaceType::Ipc), Namespace::New);
        assert_eq!(bundle.namespace(LinuxNamespaceType::Uts), Namespace::Inherit);
    }

    #[test]
    fn everything_unsupported_is_reported_at_once() {
        let bundle = bundle(json!({
            "hooks": {"prestart": [{"path": "/bin/true"}]},
            "linux": {
                "namespaces": [{"type": "time"}, {"type": "mount", "path": "/run/mnt"}],
                "personality": {"domain": "LINUX32"},
            },
        }));
        let error = bundle.check().unwrap_err().to_string();
        for wish in ["time namespace", "existing mount namespace", "hooks", "personality"] {
            assert!(error.contains(wish), "{wish} in {error}");
        }
    }

    #[test]
    fn empty_lists_of_hooks_are_none() {
        bundle(json!({"hooks": {"poststop": []}})).check().unwrap();
    }

    #[test]
    fn the_hosts_mount_namespace_is_refused() {
        let error = bundle(json!({"linux": {"namespaces": []}})).check().unwrap_err();
        assert!(error.to_string().contains("host's mount namespace"));
    }

    #[test]
    fn the_root_filesystem_is_in_the_bundle_unless_it_is_told_otherwise() {
        assert_eq!(bundle(json!({})).rootfs(), Path::new("/bundle/rootfs"));
        assert_eq!(bundle(json!({"root": {"path": "fs"}})).rootfs(), Path::new("/bundle/fs"));
        assert_eq!(bundle(json!({"root": {"path": "/fs"}})).rootfs(), Path::new("/fs"));
    }
}
