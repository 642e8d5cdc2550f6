//! What CRI says a pod is to be: the parts of `runtime.v1.PodSandboxConfig` that a
//! sandbox is made from, as protocol buffers with the numbers of the published
//! `api.proto`.

use std::collections::HashMap;

use containerd_task::{Any, Error};
use prost::Message;

/// The type that containerd names.
const TYPE: &str = "runtime.v1.PodSandboxConfig";

/// A pod.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodConfiguration {
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) dns: Option<Dns>,
    #[prost(message, optional, tag = "8")]
    linux: Option<Linux>,
}

/// The content of its `resolv.conf`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dns {
    #[prost(string, repeated, tag = "1")]
    pub(crate) servers: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) searches: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) options: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Linux {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security_context: Option<SecurityContext>,
    #[prost(map = "string, string", tag = "3")]
    sysctls: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct SecurityContext {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, Message)]
struct Namespaces {
    #[prost(enumeration = "Mode", tag = "1")]
    network: i32,
    #[prost(enumeration = "Mode", tag = "2")]
    pid: i32,
    #[prost(enumeration = "Mode", tag = "3")]
    ipc: i32,
    #[prost(message, optional, tag = "5")]
    user: Option<UserNamespace>,
}

#[derive(Clone, PartialEq, Message)]
struct UserNamespace {
    #[prost(enumeration = "Mode", tag = "1")]
    mode: i32,
}

/// Whose namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Mode {
    Pod = 0,
    Container = 1,
    Node = 2,
    Target = 3,
}

/// A kind of namespace that a pod may share with the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Network,
    Pid,
    Ipc,
}

impl PodConfiguration {
    /// Reads what containerd sent.
    ///
    /// # Errors
    /// For another type of message, one that cannot be read, and a pod that cannot be
    /// made.
    pub(crate) fn read(options: Option<&Any>) -> Result<Self, Error> {
        let invalid =
            |why: String| Error::InvalidArgument(format!("the configuration of the sandbox {why}"));
        let options = options.ok_or_else(|| invalid("is missing".to_owned()))?;
        if options.type_url.rsplit('/').next() != Some(TYPE) {
            return Err(invalid(format!("is of type {:?}, not {TYPE}", options.type_url)));
        }
        let pod = Self::decode(options.value.as_slice())
            .map_err(|error| invalid(format!("cannot be read: {error}")))?;
        let user = pod.namespaces().and_then(|namespaces| namespaces.user.as_ref());
        if user.is_some_and(|user| user.mode() == Mode::Pod) {
            // A Linux container could not join the other namespaces, which are the host's.
            let message = "a user namespace (hostUsers: false) needs a sandbox with a pause container: use a runtime handler without `sandboxer = \"shim\"`";
            return Err(Error::Unimplemented(message.to_owned()));
        }
        Ok(pod)
    }

    fn namespaces(&self) -> Option<&Namespaces> {
        self.linux.as_ref()?.security_context.as_ref()?.namespaces.as_ref()
    }

    /// Whether the pod has the node's namespace of this kind.
    pub(crate) fn has_the_nodes(&self, kind: Kind) -> bool {
        let mode = |namespaces: &Namespaces| match kind {
            Kind::Network => namespaces.network(),
            Kind::Pid => namespaces.pid(),
            Kind::Ipc => namespaces.ipc(),
        };
        self.namespaces().is_some_and(|namespaces| mode(namespaces) == Mode::Node)
    }

    /// The cgroup of the whole pod, if it has one: a path or the name of a slice.
    pub(crate) fn cgroup_parent(&self) -> Option<&str> {
        let parent = self.linux.as_ref().map(|linux| linux.cgroup_parent.as_str());
        parent.filter(|parent| !parent.is_empty())
    }

    /// `linux.cgroupsPath` of a container of this name in the pod, as containerd
    /// makes it.
    pub(crate) fn cgroups_path(&self, id: &str) -> Option<String> {
        let parent = self.cgroup_parent()?;
        let slice = parent.rsplit('/').next().filter(|name| name.strip_suffix(".slice").is_some());
        Some(match slice {
            Some(slice) => format!("{slice}:cri-containerd:{id}"),
            None => format!("{}/{id}", parent.trim_end_matches('/')),
        })
    }

    /// The kernel parameters: those of the pod, and in a network of its own those that
    /// containerd sets by default, so that anybody may use low ports and ping.
    pub(crate) fn sysctls(&self) -> HashMap<String, String> {
        let mut sysctls = HashMap::new();
        if !self.has_the_nodes(Kind::Network) {
            for (name, value) in [
                ("net.ipv4.ip_unprivileged_port_start", "0"),
                ("net.ipv4.ping_group_range", "0 2147483647"),
            ] {
                sysctls.insert(name.to_owned(), value.to_owned());
            }
        }
        sysctls.extend(self.linux.iter().flat_map(|linux| linux.sysctls.clone()));
        sysctls
    }
}

impl Dns {
    /// The file that says so.
    pub(crate) fn file(&self) -> String {
        let mut lines = Vec::new();
        if !self.searches.is_empty() {
            lines.push(format!("search {}\n", self.searches.join(" ")));
        }
        lines.extend(self.servers.iter().map(|server| format!("nameserver {server}\n")));
        if !self.options.is_empty() {
            lines.push(format!("options {}\n", self.options.join(" ")));
        }
        lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(linux: Linux) -> PodConfiguration {
        PodConfiguration { linux: Some(linux), ..PodConfiguration::default() }
    }

    fn with(namespaces: Namespaces) -> PodConfiguration {
        let security_context = Some(SecurityContext { namespaces: Some(namespaces) });
        pod(Linux { security_context, ..Linux::default() })
    }

    fn sent(pod: &PodConfiguration) -> Any {
        Any { type_url: TYPE.to_owned(), value: pod.encode_to_vec(), ..Any::default() }
    }

    #[test]
    fn fields_have_the_numbers_of_the_published_interface() {
        // hostname "h"; dns_config.servers "1"; linux.cgroup_parent "/p",
        // linux.security_context.namespace_options.network NODE.
        let bytes = b"\x12\x01h\x22\x03\x0a\x011\x42\x0a\x0a\x02/p\x12\x04\x0a\x02\x08\x02";
        let options = Any { type_url: TYPE.to_owned(), value: bytes.to_vec(), ..Any::default() };
        let pod = PodConfiguration::read(Some(&options)).unwrap();
        assert_eq!(pod.hostname, "h");
        assert_eq!(pod.dns.as_ref().unwrap().file(), "nameserver 1\n");
        assert_eq!(pod.cgroup_parent(), Some("/p"));
        assert!(pod.has_the_nodes(Kind::Network) && !pod.has_the_nodes(Kind::Ipc));
    }

    #[test]
    fn a_missing_or_foreign_configuration_is_named() {
        assert!(matches!(PodConfiguration::read(None), Err(Error::InvalidArgument(_))));
        let other = Any { type_url: "a/b.C".to_owned(), ..Any::default() };
        let error = PodConfiguration::read(Some(&other)).unwrap_err().to_string();
        assert!(error.contains("a/b.C"), "{error}");
    }

    #[test]
    fn a_user_namespace_is_refused_and_the_nodes_is_not() {
        let of = |mode: Mode| {
            let user = Some(UserNamespace { mode: mode.into() });
            PodConfiguration::read(Some(&sent(&with(Namespaces { user, ..Namespaces::default() }))))
        };
        assert!(matches!(of(Mode::Pod), Err(Error::Unimplemented(_))));
        assert!(of(Mode::Node).is_ok());
    }

    #[test]
    fn cgroups_are_named_as_containerd_names_them() {
        let of = |parent: &str| {
            pod(Linux { cgroup_parent: parent.to_owned(), ..Linux::default() }).cgroups_path("c")
        };
        assert_eq!(of("/kubepods/pod1").unwrap(), "/kubepods/pod1/c");
        assert_eq!(of("/a.slice/a-b.slice").unwrap(), "a-b.slice:cri-containerd:c");
        assert_eq!(of(""), None);
    }

    #[test]
    fn a_network_of_its_own_has_containerds_parameters_unless_the_pod_has_others() {
        let name = "net.ipv4.ip_unprivileged_port_start";
        assert_eq!(pod(Linux::default()).sysctls()[name], "0");
        let sysctls = HashMap::from([(name.to_owned(), "80".to_owned())]);
        assert_eq!(pod(Linux { sysctls, ..Linux::default() }).sysctls()[name], "80");
        let node = Namespaces { network: Mode::Node.into(), ..Namespaces::default() };
        assert!(with(node).sysctls().is_empty());
    }
}
