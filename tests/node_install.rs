//! `spinlet install`, `uninstall` and `doctor` on a machine with a real
//! containerd of either line.

use anyhow::{Context as _, Result};
use integration_tests::containerd::Version;
use integration_tests::node_machine::NodeMachine;
use serde_json::Value;

const CONFIG: &str = "/etc/containerd/config.toml";
const SHIM: &str = "/opt/spinlet/bin/containerd-shim-spin-v2";
/// Neither has a list of handlers: containerd then has its own.
const V1_7: (Version, &str) = (
    Version::V1_7,
    "# mine\nversion = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\n",
);
const V2: (Version, &str) = (
    Version::V2,
    "# mine\nversion = 3\n\n[plugins.\"io.containerd.cri.v1.runtime\"]\nrestrict_oom_score_adj = true\n",
);

fn json(machine: &NodeMachine, arguments: &[&str]) -> Result<Value> {
    let done = machine.finish("spinlet", arguments)?;
    serde_json::from_str(&done.stdout).with_context(|| done.text())
}

fn installed_and_taken_back((version, config): (Version, &str)) -> Result<()> {
    let machine = NodeMachine::start(version, config)?;
    let before = machine.changes()?;
    assert_eq!(machine.handlers()?, ["runc"]);

    let bare = machine.finish("spinlet", &["doctor"])?;
    assert_eq!(bare.status.code(), Some(1), "{}", bare.text());
    assert!(bare.stdout.contains("containerd does not know spin nor spin-v2"), "{}", bare.stdout);

    let dry = machine.run("spinlet", &["install", "--dry-run"])?;
    for line in ["distribution   containerd as a service", "put the shim at", "+ runtime_path"] {
        assert!(dry.contains(line), "{line} is not in\n{dry}");
    }
    assert_eq!(machine.changes()?, before, "a dry run changed something");

    let said = machine.run("spinlet", &["install"])?;
    assert!(said.ends_with("Done: containerd knows the handlers spin, spin-v2.\n"), "{said}");
    assert_eq!(machine.handlers()?, ["runc", "spin", "spin-v2"]);
    assert!(machine.read(CONFIG)?.starts_with(config));
    assert!(machine.run(SHIM, &["-v"])?.contains("containerd-shim-spin-v2"));
    let well = machine.run("spinlet", &["doctor", "--node"])?;
    assert!(well.ends_with("Spin apps can run on this node.\n"), "{well}");

    // What is right already is left alone.
    let again = json(&machine, &["install", "--json"])?;
    assert_eq!(again.pointer("/installed/restarted"), Some(&Value::Bool(false)), "{again}");
    assert_eq!(again.pointer("/installed/programChanged"), Some(&Value::Bool(false)), "{again}");

    let plan = machine.run("spinlet", &["uninstall", "--dry-run"])?;
    assert!(plan.contains(&format!("restore {CONFIG}, byte for byte")), "{plan}");
    machine.run("spinlet", &["uninstall"])?;
    assert_eq!(machine.handlers()?, ["runc"]);
    assert_eq!(machine.read(CONFIG)?, config);
    assert_eq!(machine.changes()?, before, "something of the installation is left");
    Ok(())
}

#[test]
fn a_machine_with_containerd_1_7_is_installed_and_taken_back() -> Result<()> {
    installed_and_taken_back(V1_7)
}

#[test]
fn a_machine_with_containerd_2_is_installed_and_taken_back() -> Result<()> {
    installed_and_taken_back(V2)
}

#[test]
fn a_drop_in_is_used_where_containerd_2_imports_some() -> Result<()> {
    let config = "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    let machine = NodeMachine::start(Version::V2, config)?;
    let before = machine.changes()?;
    machine.run("spinlet", &["install"])?;
    assert_eq!(machine.handlers()?, ["runc", "spin", "spin-v2"]);
    assert_eq!(machine.read(CONFIG)?, config);
    machine.run("spinlet", &["uninstall"])?;
    assert_eq!((machine.handlers()?, machine.changes()?), (vec!["runc".to_owned()], before));
    Ok(())
}

#[test]
fn a_shim_that_the_machine_cannot_run_is_refused_before_anything_is_changed() -> Result<()> {
    let (version, config) = V2;
    let machine = NodeMachine::start(version, config)?;
    machine.put("/opt/wrong", "not a program")?;
    let before = machine.changes()?;
    let done = machine.finish("spinlet", &["install", "--shim", "/opt/wrong"])?;
    assert_eq!(done.status.code(), Some(1), "{}", done.text());
    assert!(
        done.stderr.contains("the node cannot run the shim; nothing was changed"),
        "{}",
        done.stderr
    );
    assert_eq!((machine.changes()?, machine.handlers()?), (before, vec!["runc".to_owned()]));
    Ok(())
}

#[test]
fn a_containerd_that_does_not_read_the_file_gets_it_back() -> Result<()> {
    let (version, config) = V2;
    let machine = NodeMachine::start(version, config)?;
    // A command that does not restart it at all.
    let before = machine.changes()?;
    let done = machine.finish("spinlet", &["install", "--restart", "true"])?;
    assert_eq!(done.status.code(), Some(1), "{}", done.text());
    assert!(done.stderr.contains("does not know the handler spin"), "{}", done.stderr);
    assert_eq!((machine.changes()?, machine.handlers()?), (before, vec!["runc".to_owned()]));
    Ok(())
}

#[test]
fn without_containerd_the_socket_is_named() -> Result<()> {
    let (version, config) = V2;
    let machine = NodeMachine::start(version, config)?;
    let done = machine.finish("spinlet", &["doctor", "--socket", "/run/nowhere.sock"])?;
    assert_eq!(done.status.code(), Some(1), "{}", done.text());
    assert!(done.stderr.contains("/run/nowhere.sock; is it running?"), "{}", done.stderr);
    Ok(())
}
