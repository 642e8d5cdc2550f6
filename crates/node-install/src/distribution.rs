//! What kind of Kubernetes a node runs, as far as containerd is concerned.

use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::Root;

/// Who configures and starts containerd on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// containerd as a service of its own: kubeadm, kubespray, kind, minikube,
    /// AKS, EKS, GKE and most others.
    Plain,
    /// The same on Gardener's machines (SAP Kyma), where another folder is on
    /// containerd's path.
    Gardener,
    /// Google's Container-Optimized OS, whose root is read-only.
    ContainerOptimizedOs,
    /// Flatcar, whose containerd reads a file of its read-only `/usr` until it is
    /// told otherwise.
    Flatcar,
    /// k3s, and k3d.
    K3s,
    /// RKE2.
    Rke2,
    /// k0s.
    K0s,
    /// MicroK8s.
    MicroK8s,
    /// AWS Bottlerocket: no runtime can be added.
    Bottlerocket,
    /// Talos: runtimes are system extensions.
    Talos,
}

const SOCKET_K3S: &str = "/run/k3s/containerd/containerd.sock";
const SOCKET_K0S: &str = "/run/k0s/containerd.sock";
const SOCKET_MICROK8S: &str = "/var/snap/microk8s/common/run/containerd.sock";
const SOCKET_PLAIN: &str = "/run/containerd/containerd.sock";

impl Distribution {
    /// Tells by the operating system, by the socket that a running containerd
    /// has, and where that leaves a doubt by the files beside it. Leftovers of
    /// another distribution without a socket do not count.
    pub fn of(root: &Root) -> Self {
        let there = |path: &str| root.exists(Path::new(path));
        let system = operating_system(root);
        match system.as_str() {
            "bottlerocket" => return Self::Bottlerocket,
            "talos" => return Self::Talos,
            "cos" => return Self::ContainerOptimizedOs,
            _ => {}
        }
        if there(SOCKET_K3S) {
            return if there("/var/lib/rancher/rke2/agent/etc/containerd") {
                Self::Rke2
            } else {
                Self::K3s
            };
        }
        if there(SOCKET_K0S) {
            return Self::K0s;
        }
        if there(SOCKET_MICROK8S) {
            return Self::MicroK8s;
        }
        if there("/var/bin/containerruntimes") || there("/var/lib/gardener-node-agent") {
            return Self::Gardener;
        }
        if system == "flatcar" { Self::Flatcar } else { Self::Plain }
    }

    /// Where containerd is spoken to.
    pub fn socket(self) -> &'static str {
        match self {
            Self::K3s | Self::Rke2 => SOCKET_K3S,
            Self::K0s => SOCKET_K0S,
            Self::MicroK8s => SOCKET_MICROK8S,
            _ => SOCKET_PLAIN,
        }
    }

    /// Where the shim is put: a folder that can be written to and from which
    /// programs can be started.
    pub fn program_folder(self) -> &'static str {
        match self {
            Self::Gardener => "/var/bin/containerruntimes",
            Self::ContainerOptimizedOs => "/home/kubernetes/bin",
            Self::MicroK8s => "/var/snap/microk8s/common/spinlet",
            _ => "/opt/spinlet/bin",
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "containerd as a service",
            Self::Gardener => "containerd as a service (Gardener)",
            Self::ContainerOptimizedOs => "containerd as a service (Container-Optimized OS)",
            Self::Flatcar => "containerd as a service (Flatcar)",
            Self::K3s => "k3s",
            Self::Rke2 => "RKE2",
            Self::K0s => "k0s",
            Self::MicroK8s => "MicroK8s",
            Self::Bottlerocket => "Bottlerocket",
            Self::Talos => "Talos",
        })
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The `ID` of the node's `os-release`; empty when it has none.
fn operating_system(root: &Root) -> String {
    let files = ["/etc/os-release", "/usr/lib/os-release"];
    let text = files.iter().find_map(|path| root.read(Path::new(path)).ok().flatten());
    let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("ID="));
    line.unwrap_or_default().trim_matches(['"', '\'']).to_lowercase()
}
