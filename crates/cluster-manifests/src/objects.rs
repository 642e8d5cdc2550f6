//! What is installed into a cluster.

mod controller;
mod deployer;
mod node_installer;

use anyhow::Context as _;
use serde_json::{Value, json};

/// The parts of the description that an installation may want otherwise. In the
/// Helm chart they are references to values.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    /// Where the images are, without their own names.
    pub(crate) registry: String,
    pub(crate) tag: String,
    pub(crate) pull_policy: String,
}

impl Settings {
    /// The image of a part.
    fn image(&self, part: &str) -> String {
        format!("{}/{part}:{}", self.registry, self.tag)
    }
}

/// One file of the separate files.
pub(crate) struct File {
    pub(crate) name: &'static str,
    /// What it is, for its first line.
    pub(crate) about: &'static str,
    pub(crate) objects: Vec<Value>,
}

/// The label that the node installer sets, and that pods are placed by.
pub(crate) const READY_LABEL: &str = "spinlet.dev/ready";

/// The RuntimeClass of existing installations.
const RUNTIME_CLASS: &str = "wasmtime-spin-v2";

/// An identity that can install everything and use it, for clusters whose
/// administrator is somebody else.
pub(crate) fn identity(settings: &Settings) -> File {
    File {
        name: "kyma/identity.yaml",
        about: "Who may install Spinlet and use it; applied once by an administrator.",
        objects: deployer::objects(settings),
    }
}

/// Every file, in the order in which they are applied.
pub(crate) fn files(settings: &Settings) -> anyhow::Result<Vec<File>> {
    let definitions = spinapp_api::custom_resource_definitions()
        .context("the resources cannot be written as JSON")?;
    Ok(vec![
        File {
            name: "crds.yaml",
            about: "The resources SpinApp and SpinAppExecutor.",
            objects: definitions,
        },
        File {
            name: "namespace.yaml",
            about: "Where Spinlet itself runs. The node installer needs the node's file system.",
            objects: vec![namespace(settings)],
        },
        File {
            name: "runtimeclass.yaml",
            about: "Pods with this class run under the handler `spin` on nodes that have it.",
            objects: vec![runtime_class()],
        },
        File {
            name: "node-installer.yaml",
            about: "Makes each node able to run Spin apps, and labels it then.",
            objects: node_installer::objects(settings),
        },
        File {
            name: "controller.yaml",
            about: "Turns SpinApps into Deployments and Services.",
            objects: controller::objects(settings),
        },
    ])
}

fn namespace(settings: &Settings) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": settings.namespace,
            "labels": {
                "pod-security.kubernetes.io/enforce": "privileged",
                "pod-security.kubernetes.io/warn": "privileged",
            },
        },
    })
}

/// The handler of existing installations. What a pod costs beside its app is the
/// shim and, until containerd does without one, the pause container.
fn runtime_class() -> Value {
    json!({
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": { "name": RUNTIME_CLASS },
        "handler": "spin",
        "overhead": { "podFixed": { "memory": "8Mi", "cpu": "5m" } },
        "scheduling": { "nodeSelector": { READY_LABEL: "true" } },
    })
}

/// What every object of a part is labelled with.
fn labels(part: &str) -> Value {
    json!({ "app.kubernetes.io/name": part, "app.kubernetes.io/part-of": "spinlet" })
}

fn service_account(part: &str, settings: &Settings) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": part, "namespace": settings.namespace, "labels": labels(part) },
    })
}

fn cluster_role(part: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": format!("spinlet-{part}"), "labels": labels(part) },
        "rules": rules,
    })
}

fn cluster_role_binding(part: &str, settings: &Settings) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("spinlet-{part}"), "labels": labels(part) },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": format!("spinlet-{part}"),
        },
        "subjects": [subject(part, settings)],
    })
}

/// What holding a Lease takes, in Spinlet's own namespace.
fn lease_rules() -> Value {
    json!([{
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    }])
}

fn lease_role(part: &str, settings: &Settings) -> Value {
    role(part, settings, &lease_rules())
}

fn role(part: &str, settings: &Settings, rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": { "name": part, "namespace": settings.namespace, "labels": labels(part) },
        "rules": rules,
    })
}

fn role_binding(part: &str, settings: &Settings) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": part, "namespace": settings.namespace, "labels": labels(part) },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": part },
        "subjects": [subject(part, settings)],
    })
}

fn subject(part: &str, settings: &Settings) -> Value {
    json!({ "kind": "ServiceAccount", "name": part, "namespace": settings.namespace })
}
