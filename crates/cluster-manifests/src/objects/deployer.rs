//! Who installs Spinlet and uses it without being an administrator of the
//! cluster.
//!
//! Kubernetes lets nobody grant a right that he does not have himself, so the
//! rights of both parts are among those of this identity; they are taken from the
//! same lists, and there is no right to grant others.

use serde_json::{Value, json};

use super::{
    RUNTIME_CLASS, Settings, cluster_role, cluster_role_binding, controller, lease_rules,
    namespace, node_installer, role, role_binding, service_account,
};

const PART: &str = "deployer";
const PARTS: [&str; 2] = [node_installer::PART, controller::PART];
/// What reading, changing and deleting one object takes.
const OF_ONE: [&str; 3] = ["get", "patch", "delete"];

/// The identity: applied once, by an administrator.
pub(super) fn objects(settings: &Settings) -> Vec<Value> {
    vec![
        namespace(settings),
        service_account(PART, settings),
        cluster_role(PART, &cluster_rules(settings)),
        cluster_role_binding(PART, settings),
        role(PART, settings, &own_rules()),
        role_binding(PART, settings),
    ]
}

/// Objects that belong to no namespace, apps in all of them, and what the parts
/// may do.
fn cluster_rules(settings: &Settings) -> Value {
    let named: Vec<_> = PARTS.iter().map(|part| format!("spinlet-{part}")).collect();
    let definitions =
        ["spinapps", "spinappexecutors"].map(|name| format!("{name}.core.spinkube.dev"));
    let mut rules = vec![
        of_one("", "namespaces", json!([settings.namespace]), &["get", "patch"]),
        create("apiextensions.k8s.io", "customresourcedefinitions"),
        of_one("apiextensions.k8s.io", "customresourcedefinitions", json!(definitions), &OF_ONE),
        create("node.k8s.io", "runtimeclasses"),
        of_one("node.k8s.io", "runtimeclasses", json!([RUNTIME_CLASS]), &OF_ONE),
    ];
    for resource in ["clusterroles", "clusterrolebindings"] {
        rules.push(create("rbac.authorization.k8s.io", resource));
        rules.push(of_one("rbac.authorization.k8s.io", resource, json!(named), &OF_ONE));
    }
    rules.extend(use_of_apps());
    for granted in [node_installer::rules(), controller::rules()] {
        rules.extend(granted.as_array().cloned().unwrap_or_default());
    }
    Value::Array(rules)
}

/// Apps are made, scaled, looked at, reached and exposed.
fn use_of_apps() -> Vec<Value> {
    let all = ["get", "list", "watch", "create", "patch", "update", "delete"];
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    vec![
        rule("core.spinkube.dev", &["spinapps", "spinappexecutors"], &all),
        rule("core.spinkube.dev", &["spinapps/scale"], &["get", "patch", "update"]),
        rule("", &["pods", "pods/log"], &["get", "list", "watch"]),
        rule("", &["pods/portforward"], &["create"]),
        rule("", &["events", "nodes"], &["list", "watch"]),
        rule("gateway.kyma-project.io", &["apirules"], &all),
    ]
}

/// What belongs to Spinlet's own namespace.
fn own_rules() -> Value {
    let parts = json!(PARTS);
    let watched = &["get", "list", "watch", "patch", "delete"];
    let mut rules = Vec::new();
    for (group, resource) in [
        ("", "serviceaccounts"),
        ("", "services"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
    ] {
        let names =
            if resource == "services" { json!([controller::METRICS]) } else { parts.clone() };
        let verbs: &[&str] = if group == "apps" { watched } else { &OF_ONE };
        rules.push(create(group, resource));
        rules.push(of_one(group, resource, names, verbs));
    }
    rules.extend(lease_rules().as_array().cloned().unwrap_or_default());
    Value::Array(rules)
}

/// Making an object cannot be restricted to a name.
fn create(group: &str, resource: &str) -> Value {
    json!({ "apiGroups": [group], "resources": [resource], "verbs": ["create"] })
}

fn of_one(group: &str, resource: &str, names: Value, verbs: &[&str]) -> Value {
    json!({
        "apiGroups": [group],
        "resources": [resource],
        "resourceNames": names,
        "verbs": verbs,
    })
}
