//! Which interfaces give a component access to what its app was granted.

use app::Inherit;

/// A set that a dependency may inherit: its name in manifests, and the interfaces
/// it consists of, in every version.
const SETS: [(&str, &[&str]); 7] = [
    ("ai_models", &["fermyon:spin/llm"]),
    (
        "allowed_outbound_hosts",
        &[
            "fermyon:spin/http",
            "fermyon:spin/mqtt",
            "fermyon:spin/mysql",
            "fermyon:spin/postgres",
            "fermyon:spin/redis",
            "spin:mqtt/mqtt",
            "spin:mysql/mysql",
            "spin:postgres/postgres",
            "spin:redis/redis",
            "wasi:http/client",
            "wasi:http/outgoing-handler",
            "wasi:sockets/instance-network",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/network",
            "wasi:sockets/tcp",
            "wasi:sockets/tcp-create-socket",
            "wasi:sockets/types",
            "wasi:sockets/udp",
            "wasi:sockets/udp-create-socket",
        ],
    ),
    ("environment", &["wasi:cli/environment"]),
    ("files", &["wasi:filesystem/preopens"]),
    (
        "key_value_stores",
        &[
            "fermyon:spin/key-value",
            "spin:key-value/key-value",
            "wasi:keyvalue/atomics",
            "wasi:keyvalue/batch",
            "wasi:keyvalue/store",
        ],
    ),
    ("sqlite_databases", &["fermyon:spin/sqlite", "spin:sqlite/sqlite"]),
    (
        "variables",
        &[
            "fermyon:spin/config",
            "fermyon:spin/variables",
            "spin:variables/variables",
            "wasi:config/store",
        ],
    ),
];

/// Databases that Spin 4 counts to `sqlite_databases`, though they are reached by
/// the network. Either set grants them.
const REMOTE_DATABASES: [&str; 4] =
    ["fermyon:spin/mysql", "fermyon:spin/postgres", "spin:mysql/mysql", "spin:postgres/postgres"];

/// Whether a part that inherits `inherit` must not have the interface that it
/// imports as `import`. Names of sets that do not exist grant nothing.
pub(crate) fn is_denied(import: &str, inherit: &Inherit) -> bool {
    let Inherit::Some(inherited) = inherit else { return false };
    let interface = import.split('@').next().unwrap_or(import);
    let inherits = |set: &str| inherited.iter().any(|name| name == set);
    let of_a_set = SETS.iter().find(|(_, interfaces)| interfaces.contains(&interface));
    let remote = REMOTE_DATABASES.contains(&interface) && inherits("sqlite_databases");
    of_a_set.is_some_and(|(set, _)| !inherits(set)) && !remote
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(names: &[&str]) -> Inherit {
        Inherit::Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn nothing_is_inherited_unless_it_is_named() {
        for (import, set) in [
            ("wasi:http/outgoing-handler@0.2.6", "allowed_outbound_hosts"),
            ("wasi:sockets/types@0.3.0", "allowed_outbound_hosts"),
            ("wasi:cli/environment@0.2.0", "environment"),
            ("wasi:filesystem/preopens@0.3.0", "files"),
            ("fermyon:spin/key-value@2.0.0", "key_value_stores"),
            ("fermyon:spin/sqlite", "sqlite_databases"),
            ("spin:variables/variables@3.0.0", "variables"),
            ("fermyon:spin/llm@2.0.0", "ai_models"),
        ] {
            assert!(is_denied(import, &Inherit::default()), "{import}");
            assert!(is_denied(import, &some(&["unknown"])), "{import}");
            assert!(!is_denied(import, &some(&["unknown", set])), "{import}");
            assert!(!is_denied(import, &Inherit::All), "{import}");
        }
    }

    #[test]
    fn what_grants_nothing_is_never_denied() {
        for import in ["wasi:io/streams@0.2.0", "wasi:filesystem/types@0.2.0", "acme:x/y", "plain"]
        {
            assert!(!is_denied(import, &Inherit::default()), "{import}");
        }
    }

    #[test]
    fn remote_databases_come_with_either_set() {
        for set in ["sqlite_databases", "allowed_outbound_hosts"] {
            assert!(!is_denied("spin:postgres/postgres@4.2.0", &some(&[set])), "{set}");
        }
    }
}
