use super::*;

fn runtime() -> Runtime {
    Runtime {
        program: "/opt/spinlet/bin/containerd-shim-spin-v2".to_owned(),
        replaces_default: false,
    }
}

fn added(text: &str) -> String {
    let mut document = parse(text).unwrap();
    add(&mut document, &runtime()).unwrap();
    document.to_string()
}

fn tables(plugin: &str) -> String {
    ["spin", "spin-v2"]
        .map(|handler| {
            format!(
                "[plugins.{plugin}.containerd.runtimes.{handler}]\n\
                 runtime_type = \"io.containerd.spin.v2\"\n\
                 runtime_path = \"/opt/spinlet/bin/containerd-shim-spin-v2\"\n"
            )
        })
        .join("\n")
}

#[test]
fn each_version_has_its_own_table() {
    let versions = [
        ("version = 2\n", "\"io.containerd.grpc.v1.cri\""),
        ("version = 3\n", "\"io.containerd.cri.v1.runtime\""),
        ("version = 4\n", "\"io.containerd.cri.v1.runtime\""),
    ];
    for (text, plugin) in versions {
        assert_eq!(added(text), format!("{text}\n{}", tables(plugin)));
    }
    assert!(added("root = \"/x\"\n").contains("[plugins.cri.containerd.runtimes.spin]"));
}

#[test]
fn what_is_not_ours_stays_as_it_is_written() {
    let text = "# a comment\nversion   =  2\n\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  \
                sandbox_image = 'pause' # mine\n  \
                [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n    \
                runtime_type = \"io.containerd.runc.v2\"\n\n[debug]\nlevel = \"info\"\n";
    let result = added(text);
    for line in text.lines() {
        assert!(result.contains(line), "{line} is gone:\n{result}");
    }
    assert_eq!(started_by(&parse(&result).unwrap(), 2, "spin").unwrap(), runtime().program);
}

#[test]
fn a_first_list_of_handlers_keeps_the_default_one_where_it_would_be_replaced() {
    let runtime = Runtime { replaces_default: true, ..runtime() };
    let added = |text: &str| {
        let mut document = parse(text).unwrap();
        add(&mut document, &runtime).unwrap();
        document.to_string()
    };
    let none = added("version = 2\n");
    assert_eq!(started_by(&parse(&none).unwrap(), 2, "runc").unwrap(), "io.containerd.runc.v2");
    assert_eq!(added(&none), none);
    let other = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.crun]\n\
                 runtime_type = \"io.containerd.runc.v2\"\n";
    assert_eq!(started_by(&parse(&added(other)).unwrap(), 2, "runc"), None);
}

#[test]
fn adding_twice_changes_nothing() {
    let once = added("version = 3\n");
    assert_eq!(added(&once), once);
}

#[test]
fn removal_leaves_what_was_there() {
    let text = "version = 3\n\n[plugins.\"io.containerd.cri.v1.images\"]\nsnapshotter = \"x\"\n";
    let mut document = parse(&added(text)).unwrap();
    remove(&mut document, &runtime());
    assert_eq!(document.to_string(), text);
}

#[test]
fn inline_tables_are_tables_too() {
    let text =
        "version = 3\nplugins = { \"io.containerd.cri.v1.runtime\" = { containerd = {} } }\n";
    let result = added(text);
    assert_eq!(started_by(&parse(&result).unwrap(), 3, "spin-v2").unwrap(), runtime().program);
}

#[test]
fn a_handler_of_somebody_else_is_refused() {
    let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.spin]\n\
                runtime_type = \"/opt/kwasm/bin/containerd-shim-spin-v2\"\n";
    let error = add(&mut parse(text).unwrap(), &runtime()).unwrap_err();
    assert!(error.to_string().contains("/opt/kwasm/bin/containerd-shim-spin-v2"), "{error}");
}

#[test]
fn what_cannot_be_edited_is_said_in_words() {
    let problems = [
        ("version = 7\n", "`version` is 7"),
        ("version = \"two\"\n", "`version` is \"two\""),
        ("disabled_plugins = [\"cri\"]\n", "the plugin `cri` is disabled"),
        ("version 2", "not valid TOML"),
    ];
    for (text, expected) in problems {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = add(&mut parse("version = 2\nplugins = 1\n").unwrap(), &runtime()).unwrap_err();
    assert_eq!(error.to_string(), "`plugins` is not a table");
}

#[test]
fn only_a_folder_of_toml_files_takes_drop_ins() {
    let folder = |text: &str| drop_in_folder(&parse(text).unwrap());
    assert_eq!(
        folder("version = 3\nimports = [\"/x/one.toml\", \"/etc/containerd/conf.d/*.toml\"]\n"),
        Some("/etc/containerd/conf.d".into())
    );
    assert_eq!(folder("imports = [\"/x/one.toml\", \"conf.d/*.toml\"]\n"), None);
    assert_eq!(folder(""), None);
}
