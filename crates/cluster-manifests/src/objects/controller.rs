//! The SpinApp controller.

use serde_json::{Value, json};

use super::{
    Settings, cluster_role, cluster_role_binding, labels, lease_role, role_binding, service_account,
};

pub(super) const PART: &str = "spinapp-controller";
/// The Service in front of its metrics.
pub(super) const METRICS: &str = "spinapp-controller-metrics";

pub(super) fn objects(settings: &Settings) -> Vec<Value> {
    vec![
        service_account(PART, settings),
        cluster_role(PART, &rules()),
        cluster_role_binding(PART, settings),
        lease_role(PART, settings),
        role_binding(PART, settings),
        deployment(settings),
        metrics_service(settings),
    ]
}

/// What each request of the controller needs, and nothing else.
pub(super) fn rules() -> Value {
    json!([
        {
            "apiGroups": ["core.spinkube.dev"],
            "resources": ["spinapps"],
            "verbs": ["get", "list", "watch"],
        },
        {
            "apiGroups": ["core.spinkube.dev"],
            "resources": ["spinapps/status"],
            "verbs": ["patch"],
        },
        {
            // An owner reference that blocks deletion needs the right to set
            // finalizers of the owner.
            "apiGroups": ["core.spinkube.dev"],
            "resources": ["spinapps/finalizers"],
            "verbs": ["update"],
        },
        {
            "apiGroups": ["core.spinkube.dev"],
            "resources": ["spinappexecutors"],
            "verbs": ["get", "list", "watch", "create", "patch"],
        },
        {
            "apiGroups": ["apps"],
            "resources": ["deployments"],
            "verbs": ["get", "list", "watch", "create", "patch", "delete"],
        },
        {
            "apiGroups": [""],
            "resources": ["services"],
            "verbs": ["get", "list", "watch", "create", "patch"],
        },
        {
            "apiGroups": ["policy"],
            "resources": ["poddisruptionbudgets"],
            "verbs": ["get", "create", "patch", "delete"],
        },
        {
            // Watched as metadata; read where an app names one.
            "apiGroups": [""],
            "resources": ["configmaps"],
            "verbs": ["get", "list", "watch"],
        },
        {
            // The same, and the runtime configuration of each app is one.
            "apiGroups": [""],
            "resources": ["secrets"],
            "verbs": ["get", "list", "watch", "create", "patch", "delete"],
        },
        {
            // To say why an app does not run.
            "apiGroups": [""],
            "resources": ["pods", "events"],
            "verbs": ["list"],
        },
        {
            "apiGroups": [""],
            "resources": ["namespaces"],
            "verbs": ["get"],
        },
        {
            "apiGroups": ["events.k8s.io"],
            "resources": ["events"],
            "verbs": ["create", "patch"],
        },
    ])
}

fn deployment(settings: &Settings) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": PART, "namespace": settings.namespace, "labels": labels(PART) },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app.kubernetes.io/name": PART } },
            "template": {
                "metadata": {
                    "labels": labels(PART),
                    "annotations": {
                        "prometheus.io/scrape": "true",
                        "prometheus.io/port": "8080",
                    },
                },
                "spec": {
                    "serviceAccountName": PART,
                    "priorityClassName": "system-cluster-critical",
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [container(settings)],
                },
            },
        },
    })
}

fn container(settings: &Settings) -> Value {
    let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": "metrics" } });
    json!({
        "name": "controller",
        "image": settings.image(PART),
        "imagePullPolicy": settings.pull_policy,
        "env": [
            { "name": "POD_NAME", "valueFrom": field("metadata.name") },
            { "name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace") },
        ],
        "ports": [{ "name": "metrics", "containerPort": 8080 }],
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "resources": {
            "requests": { "cpu": "10m", "memory": "32Mi" },
            "limits": { "memory": "512Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

fn metrics_service(settings: &Settings) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": METRICS,
            "namespace": settings.namespace,
            "labels": labels(PART),
        },
        "spec": {
            "selector": { "app.kubernetes.io/name": PART },
            "ports": [{ "name": "metrics", "port": 8080, "targetPort": "metrics" }],
        },
    })
}
