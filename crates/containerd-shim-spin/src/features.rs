//! What the containers of a pod support, as the OCI features structure.

use serde_json::{Value, json};

/// The features structure for `-info`: what Spin containers and those of the OCI
/// runtime both have, because a pod holds either kind. A runtime that does not tell
/// is taken to have everything.
pub(crate) fn features(of_runtime: Option<&Value>) -> Value {
    let mut features = of_spin();
    if let Some(of_runtime) = of_runtime {
        keep_common(&mut features, of_runtime);
    }
    features
}

/// Takes away what the other structure does not have; what it does not speak of, it
/// may have.
fn keep_common(features: &mut Value, other: &Value) {
    match (features, other) {
        (Value::Object(fields), Value::Object(others)) => {
            for (name, field) in fields {
                if let Some(other) = others.get(name) {
                    keep_common(field, other);
                }
            }
        }
        (Value::Array(list), Value::Array(others)) => list.retain(|item| others.contains(item)),
        (Value::Bool(flag), Value::Bool(other)) => *flag &= other,
        _ => {}
    }
}

fn of_spin() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.1",
        "mountOptions": [
            "async", "atime", "bind", "defaults", "dev", "diratime", "exec", "noatime", "nodev",
            "nodiratime", "noexec", "norelatime", "nosuid", "private", "rbind", "rdev", "rexec",
            "relatime", "rnodev", "rnoexec", "rnosuid", "ro", "rprivate", "rro", "rrw", "rslave",
            "rsuid", "rw", "slave", "suid"
        ],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "uts"],
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": { "enabled": true },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": false } }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kubelet_looks_for_is_told() {
        let features = features(None);
        let options = features["mountOptions"].as_array().unwrap();
        assert!(options.contains(&json!("rro")), "recursive read-only mounts");
        let namespaces = features["linux"]["namespaces"].as_array().unwrap();
        assert!(!namespaces.contains(&json!("user")), "no user namespaces");
    }

    #[test]
    fn only_what_the_oci_runtime_has_too_is_told() {
        let features = features(Some(&json!({
            "mountOptions": ["ro", "rshared"],
            "hooks": ["prestart"],
            "linux": { "seccomp": { "enabled": false }, "apparmor": null },
        })));
        assert_eq!(features["mountOptions"], json!(["ro"]));
        assert_eq!(features["hooks"], Value::Null, "Spin containers have none");
        assert_eq!(features["linux"]["seccomp"]["enabled"], false);
        assert_eq!(features["linux"]["apparmor"]["enabled"], true);
        assert!(!features["linux"]["namespaces"].as_array().unwrap().is_empty());
    }
}
