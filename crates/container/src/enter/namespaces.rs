//! Joining and making namespaces, and what belongs to them: the loopback
//! interface, the host name, kernel parameters.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use rustix::thread::LinkNameSpaceType;

use super::{EnterError, system};
use crate::bundle::{Bundle, Namespace};
use crate::syscalls::{NewNamespace, unshare};

/// Enters all namespaces of the container except that of processes, in which
/// the process was started. The mount namespace is the last: the others are
/// found by paths of the host.
pub(super) fn enter(bundle: &Bundle) -> Result<(), EnterError> {
    use LinkNameSpaceType as Link;
    let pid = rustix::process::getpid();
    if bundle.pid_namespace() == Namespace::New && pid.as_raw_nonzero().get() != 1 {
        let what = "the process was not started in the container's pid namespace".to_owned();
        return Err(EnterError::Configuration(what));
    }
    let kinds = [
        (LinuxNamespaceType::Network, Link::Network, NewNamespace::Network),
        (LinuxNamespaceType::Ipc, Link::InterProcessCommunication, NewNamespace::Ipc),
        (LinuxNamespaceType::Uts, Link::HostNameAndNISDomainName, NewNamespace::Uts),
        (LinuxNamespaceType::Cgroup, Link::ControlGroup, NewNamespace::Cgroup),
    ];
    for (kind, link, new) in kinds {
        match bundle.namespace(kind) {
            Namespace::Inherit => {}
            Namespace::New => {
                unshare(new).map_err(system(|| format!("make a new {kind} namespace")))?;
            }
            Namespace::Path(path) => join(&path, link)
                .map_err(system(|| format!("join the {kind} namespace {}", path.display())))?,
        }
    }
    if bundle.namespace(LinuxNamespaceType::Network) == Namespace::New {
        bring_loopback_up().map_err(system(|| "bring the loopback interface up".to_owned()))?;
    }
    unshare(NewNamespace::Mount).map_err(system(|| "make a new mount namespace".to_owned()))
}

fn join(path: &Path, kind: LinkNameSpaceType) -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags};
    let namespace: OwnedFd =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))
}

/// Sets `lo`, which has index 1 in every new network namespace, to `IFF_UP` by
/// one rtnetlink(7) request.
fn bring_loopback_up() -> Result<(), Errno> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const NLMSG_ERROR: u16 = 2;
    const IFF_UP: u32 = 1;
    let mut request = Vec::with_capacity(32);
    // struct nlmsghdr: length, type, flags, sequence, port.
    request.extend(32_u32.to_ne_bytes());
    request.extend(RTM_NEWLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    request.extend([0_u8; 8]);
    // struct ifinfomsg: family, padding, type, index, flags, change mask.
    request.extend([0_u8; 4]);
    request.extend(1_u32.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    request.extend(IFF_UP.to_ne_bytes());
    // NETLINK_ROUTE is protocol 0, which is also what "none" means.
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0_u8; 128];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    let answer = answer.get(..length).unwrap_or_default();
    // The acknowledgement is an "error" with a negated errno of zero.
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw_os_error(-error)),
        _ => Err(Errno::PROTO),
    }
}

/// Sets host and domain name.
pub(super) fn set_names(bundle: &Bundle) -> Result<(), EnterError> {
    let spec = bundle.spec();
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let (host, domain) = (given(spec.hostname()), given(spec.domainname()));
    if (host.is_some() || domain.is_some())
        && bundle.namespace(LinuxNamespaceType::Uts) == Namespace::Inherit
    {
        let what = "a host or domain name without a UTS namespace would be the node's".to_owned();
        return Err(EnterError::Configuration(what));
    }
    if let Some(host) = host {
        rustix::system::sethostname(host.as_bytes())
            .map_err(system(|| format!("set the host name {host:?}")))?;
    }
    if let Some(domain) = domain {
        rustix::system::setdomainname(domain.as_bytes())
            .map_err(system(|| format!("set the domain name {domain:?}")))?;
    }
    Ok(())
}

/// The kernel parameters of the spec as files below `/proc/sys`.
///
/// # Errors
/// A parameter that is not of one of the container's own namespaces is refused.
pub(super) fn kernel_parameters(bundle: &Bundle) -> Result<Vec<(PathBuf, String)>, EnterError> {
    let parameters = bundle.linux().and_then(|linux| linux.sysctl().as_ref());
    let mut files = Vec::new();
    for (name, value) in parameters.into_iter().flatten() {
        let path = name.replace('.', "/");
        let plain = path.split('/').all(|part| !part.is_empty());
        let namespace = namespace_of(&path)
            .filter(|kind| plain && bundle.namespace(*kind) != Namespace::Inherit);
        if namespace.is_none() {
            return Err(EnterError::Configuration(format!(
                "kernel parameter {name:?} is not of a namespace of the container"
            )));
        }
        files.push((Path::new("/proc/sys").join(path), value.clone()));
    }
    files.sort();
    Ok(files)
}

fn namespace_of(path: &str) -> Option<LinuxNamespaceType> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    if path.starts_with("net/") {
        return Some(LinuxNamespaceType::Network);
    }
    if path.starts_with("fs/mqueue/") {
        return Some(LinuxNamespaceType::Ipc);
    }
    match path.strip_prefix("kernel/")? {
        "domainname" => Some(LinuxNamespaceType::Uts),
        name if IPC.contains(&name) => Some(LinuxNamespaceType::Ipc),
        _ => None,
    }
}

/// Writes kernel parameters; the namespaces must have been entered.
pub(super) fn set_kernel_parameters(files: &[(PathBuf, String)]) -> Result<(), EnterError> {
    for (path, value) in files {
        write_existing(path, value).map_err(|source| EnterError::System {
            attempt: format!("set {}", path.display()),
            source,
        })?;
    }
    Ok(())
}

/// Writes to a file of `/proc`, which must exist.
pub(super) fn write_existing(path: &Path, value: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::tests::bundle;

    #[test]
    fn a_parameter_of_a_namespace_of_the_container_becomes_a_file() {
        let bundle = bundle(json!({"linux": {
            "namespaces": [{"type": "network", "path": "/run/netns/a"}, {"type": "ipc"}],
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1"},
        }}));
        let files = kernel_parameters(&bundle).unwrap();
        let expected = [
            ("/proc/sys/kernel/shm_rmid_forced", "1"),
            ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
        ]
        .map(|(path, value)| (PathBuf::from(path), value.to_owned()));
        assert_eq!(files, expected);
    }

    #[test]
    fn a_parameter_of_the_node_is_refused() {
        let names = [
            "vm.swappiness",
            "kernel.panic",
            "net.core.somaxconn",
            "net....kernel.panic",
            "net/../x",
        ];
        for name in names {
            let bundle = bundle(json!({"linux": {"sysctl": {name: "1"}}}));
            let error = kernel_parameters(&bundle).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let own =
            json!({"namespaces": [{"type": "network"}], "sysctl": {"net/../kernel/panic": "1"}});
        assert!(kernel_parameters(&bundle(json!({ "linux": own }))).is_err());
    }
}
