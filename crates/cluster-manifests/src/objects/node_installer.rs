//! The node installer.

use serde_json::{Value, json};

use super::{
    Settings, cluster_role, cluster_role_binding, labels, lease_role, role_binding, service_account,
};

pub(super) const PART: &str = "node-installer";

pub(super) fn objects(settings: &Settings) -> Vec<Value> {
    vec![
        service_account(PART, settings),
        cluster_role(PART, &rules()),
        cluster_role_binding(PART, settings),
        // Nodes whose containerd is restarted take turns.
        lease_role(PART, settings),
        role_binding(PART, settings),
        daemon_set(settings),
    ]
}

/// Its label, its condition, and events about the node.
pub(super) fn rules() -> Value {
    json!([
        { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"] },
        { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
        { "apiGroups": [""], "resources": ["events"], "verbs": ["create"] },
    ])
}

/// One node after the other: a node whose installation fails is not ready, and
/// the roll-out stops there.
fn daemon_set(settings: &Settings) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": PART, "namespace": settings.namespace, "labels": labels(PART) },
        "spec": {
            "selector": { "matchLabels": { "app.kubernetes.io/name": PART } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } },
            "template": {
                "metadata": { "labels": labels(PART) },
                "spec": {
                    "serviceAccountName": PART,
                    "priorityClassName": "system-node-critical",
                    // It speaks to the API server only, and its own address is
                    // not needed for that: nodes without a pod network, too.
                    "hostNetwork": true,
                    // The node's service manager is reached through its first
                    // process.
                    "hostPID": true,
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                    "tolerations": [{ "operator": "Exists" }],
                    "terminationGracePeriodSeconds": 5,
                    "containers": [container(settings)],
                    "volumes": [{ "name": "node", "hostPath": { "path": "/" } }],
                },
            },
        },
    })
}

fn container(settings: &Settings) -> Value {
    json!({
        "name": "node-installer",
        "image": settings.image(PART),
        "imagePullPolicy": settings.pull_policy,
        "args": ["run"],
        "env": [
            { "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            {
                "name": "POD_NAMESPACE",
                "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } },
            },
            { "name": "SPINLET_NODE_ROOT", "value": "/node" },
        ],
        "resources": {
            "requests": { "cpu": "5m", "memory": "16Mi" },
            "limits": { "memory": "256Mi" },
        },
        "securityContext": { "privileged": true, "readOnlyRootFilesystem": true },
        "volumeMounts": [{ "name": "node", "mountPath": "/node" }],
    })
}
