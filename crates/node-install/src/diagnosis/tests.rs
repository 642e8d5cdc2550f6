use fs_err as fs;
use tempfile::TempDir;

use super::*;
use crate::content::Content;
use crate::root::Attributes;
use crate::{Service, Version};

const CONFIG: &str = "/etc/containerd/config.toml";
const SHIM_PATH: &str = "/opt/spinlet/bin/containerd-shim-spin-v2";

/// A node whose containerd 2.0 has a file of the administrator and some handlers.
fn node(handlers: &[&str]) -> (TempDir, Root, Facts) {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::new(folder.path());
    put(&root, CONFIG, "version = 3\n");
    let handlers = handlers.iter().map(|name| (*name).to_owned()).collect();
    let mut facts = Facts::read(&root, Version { major: 2, minor: 0 }, handlers).unwrap();
    facts.service = Some(Service::Unit("containerd".to_owned()));
    (folder, root, facts)
}

fn put(root: &Root, path: &str, text: &str) {
    root.replace(Path::new(path), &mut text.as_bytes(), Attributes::EXECUTABLE).unwrap();
}

fn check(root: &Root, facts: &Facts, subject: &str) -> Option<Check> {
    diagnose(root, facts).into_iter().find(|check| check.subject == subject)
}

#[track_caller]
fn assert_check(check: Option<Check>, state: State, finding: &str) {
    let check = check.expect("it was not looked at");
    assert!(check.state == state && check.finding.contains(finding), "{check:?}");
}

#[test]
fn a_bare_node_is_told_to_be_installed() {
    let (_folder, root, facts) = node(&["runc"]);
    assert_check(check(&root, &facts, "handlers"), State::Wrong, "run `spinlet install`");
    assert_check(check(&root, &facts, "configuration"), State::Wrong, CONFIG);
    assert_check(check(&root, &facts, "shim"), State::Wrong, SHIM_PATH);
    assert_eq!(check(&root, &facts, "other shims"), None);
}

#[test]
fn an_installed_node_is_well_until_its_shim_is_replaced() {
    let (_folder, root, mut facts) = node(&["runc", "spin", "spin-v2"]);
    let mut journal = Journal::default();
    let path = Path::new(SHIM_PATH);
    journal.replace(&root, path, Content::Text("shim"), Attributes::EXECUTABLE).unwrap();
    facts.source.text = crate::plan(&facts).unwrap().writes.into_iter().next().map(|it| it.text);
    assert!(diagnose(&root, &facts).iter().all(|check| check.state == State::Well));

    put(&root, SHIM_PATH, "another");
    assert_check(check(&root, &facts, "shim"), State::Notable, "replaced since");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(root.resolve(path), mode).unwrap();
    assert_check(check(&root, &facts, "shim"), State::Wrong, "may not be executed");
}

#[test]
fn a_configuration_that_was_not_read_is_told_from_one_that_is_not_there() {
    let (_folder, root, mut facts) = node(&["runc"]);
    facts.source.text = crate::plan(&facts).unwrap().writes.into_iter().next().map(|it| it.text);
    assert_check(check(&root, &facts, "configuration"), State::Wrong, "has not read it");
}

#[test]
fn shims_of_others_and_half_registrations_are_noted() {
    let (_folder, root, facts) = node(&["runc", "spin"]);
    put(&root, "/opt/kwasm/bin/containerd-shim-spin-v2", "theirs");
    assert_check(check(&root, &facts, "other shims"), State::Notable, "/opt/kwasm");
    assert_check(check(&root, &facts, "handlers"), State::Notable, "spin only");
}
