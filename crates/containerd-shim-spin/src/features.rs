//! What Spin containers support, as the OCI features structure.

use serde_json::{Value, json};

/// The features structure for `-info`.
pub(crate) fn features() -> Value {
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
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": { "enabled": true },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kubelet_looks_for_is_told() {
        let features = features();
        let options = features["mountOptions"].as_array().unwrap();
        assert!(options.contains(&json!("rro")), "recursive read-only mounts");
        let namespaces = features["linux"]["namespaces"].as_array().unwrap();
        assert!(namespaces.contains(&json!("user")), "hostUsers: false");
        assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    }
}
