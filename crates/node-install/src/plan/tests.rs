use fs_err as fs;
use tempfile::TempDir;

use super::*;
use crate::{Root, Service, Version};

const V1_7: Version = Version { major: 1, minor: 7 };
const V2_0: Version = Version { major: 2, minor: 0 };
const V2_3: Version = Version { major: 2, minor: 3 };

/// A node's files, as its distribution lays them out.
fn node(files: &[(&str, &str)]) -> (TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::new(folder.path());
    for (path, text) in files {
        let path = root.resolve(Path::new(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (folder, root)
}

fn planned(files: &[(&str, &str)], version: Version) -> Result<Plan, PlanError> {
    let (_folder, root) = node(files);
    plan(&Facts::read(&root, version, vec!["runc".to_owned()]).unwrap())
}

fn handlers(plugin: &str, program: &str) -> String {
    ["spin", "spin-v2"]
        .map(|handler| {
            format!(
                "[plugins.\"{plugin}\".containerd.runtimes.{handler}]\n\
                 runtime_type = \"io.containerd.spin.v2\"\nruntime_path = \"{program}\"\n"
            )
        })
        .join("\n")
}

const NOTE: &str = "# Written by spinlet; `spinlet uninstall` removes it.\n";
const OPT: &str = "/opt/spinlet/bin/containerd-shim-spin-v2";
const CRI_V2: &str = "io.containerd.grpc.v1.cri";
const CRI_V3: &str = "io.containerd.cri.v1.runtime";
const UNIT: (&str, &str) = ("/usr/lib/systemd/system/containerd.service", "");

#[track_caller]
fn assert_write(plan: &Plan, path: &str, text: &str) {
    let [write] = plan.writes.as_slice() else { panic!("{:?}", plan.writes) };
    assert_eq!((write.path.to_str().unwrap(), write.text.as_str()), (path, text));
}

#[test]
fn containerd_1_7_is_edited_in_place_even_where_it_imports_drop_ins() {
    let config = "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    let plan = planned(&[("/etc/containerd/config.toml", config), UNIT], V1_7).unwrap();
    let text = format!("{config}{DEFAULT}\n{}", handlers(CRI_V2, OPT));
    assert_write(&plan, "/etc/containerd/config.toml", &text);
    assert_eq!(plan.restart, Some(restart_of("containerd")));
}

/// What a list of handlers begins with where it replaces containerd's own.
const DEFAULT: &str = "\n# containerd's own default, which a list of others replaces.\n\
    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
    runtime_type = \"io.containerd.runc.v2\"\n";

fn restart_of(unit: &str) -> Restart {
    Restart::Service { service: Service::Unit(unit.to_owned()), reload: false }
}

#[test]
fn a_drop_in_has_the_version_of_the_root_file() {
    for (root_version, plugin) in [(2, CRI_V2), (3, CRI_V3), (4, CRI_V3)] {
        let config =
            format!("version = {root_version}\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n");
        let plan = planned(&[("/etc/containerd/config.toml", &config), UNIT], V2_3).unwrap();
        let text = format!("{NOTE}version = {root_version}\n\n{}", handlers(plugin, OPT));
        assert_write(&plan, "/etc/containerd/conf.d/spinlet.toml", &text);
    }
}

#[test]
fn containerd_without_a_file_gets_one() {
    let plan_2 = planned(&[UNIT], V2_0).unwrap();
    let text = format!("{NOTE}version = 3\n\n{}", handlers(CRI_V3, OPT));
    assert_write(&plan_2, "/etc/containerd/config.toml", &text);
    let plan_1 = planned(&[UNIT], V1_7).unwrap();
    let text = format!("{NOTE}version = 2\n{DEFAULT}\n{}", handlers(CRI_V2, OPT));
    assert_write(&plan_1, "/etc/containerd/config.toml", &text);
}

const K3S: &str = "/var/lib/rancher/k3s/agent/etc/containerd";
const K3S_SOCKET: (&str, &str) = ("/run/k3s/containerd/containerd.sock", "");

#[test]
fn a_shim_that_k3s_found_by_itself_is_not_registered_again() {
    let rendered = format!("{K3S}/config.toml");
    let config = format!(
        "version = 3\n[plugins.\"{CRI_V3}\".containerd.runtimes.\"spin\"]\n\
         runtime_type = \"io.containerd.spin.v2\"\n"
    );
    let files = [K3S_SOCKET, (rendered.as_str(), config.as_str())];
    let error = process_setup_chain(&planned(&files, V2_0).unwrap_err());
    assert!(error.contains("registers the handler `spin`"), "{error}");
}

/// The texts of an error and its sources.
fn process_setup_chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(process_setup_chain).unwrap_or_default();
    format!("{error}: {source}")
}

#[test]
fn k0s_with_a_file_of_the_administrator_is_edited_there() {
    let files = [
        ("/run/k0s/containerd.sock", ""),
        ("/etc/k0s/containerd.toml", "version = 2\n"),
        ("/etc/systemd/system/k0sworker.service", ""),
    ];
    let plan = planned(&files, V1_7).unwrap();
    assert_eq!(plan.writes[0].path.to_str(), Some("/etc/k0s/containerd.toml"));
    assert_eq!(plan.restart, Some(restart_of("k0sworker")));
}

#[test]
fn a_node_that_is_installed_already_is_left_alone() {
    let config = format!("version = 3\n\n{}", handlers(CRI_V3, OPT));
    let (_folder, root) = node(&[("/etc/containerd/config.toml", &config), UNIT]);
    let known = HANDLERS.map(str::to_owned).to_vec();
    let plan = plan(&Facts::read(&root, V2_0, known).unwrap()).unwrap();
    assert_eq!((plan.writes, plan.restart), (vec![], None));
}

#[test]
fn a_configuration_that_was_never_read_is_read() {
    let config = "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    let drop_in = format!("{NOTE}version = 3\n\n{}", handlers(CRI_V3, OPT));
    let files = [
        ("/etc/containerd/config.toml", config),
        ("/etc/containerd/conf.d/spinlet.toml", drop_in.as_str()),
        UNIT,
    ];
    let plan = planned(&files, V2_0).unwrap();
    assert_eq!((plan.writes, plan.restart), (vec![], Some(restart_of("containerd"))));
}

#[test]
fn a_node_without_a_service_is_refused_before_anything_is_written() {
    let error = planned(&[("/etc/containerd/config.toml", "version = 2\n")], V1_7).unwrap_err();
    assert!(matches!(error, PlanError::NoService(Distribution::Plain)), "{error}");
}

#[test]
fn a_plan_reads_as_a_list_of_steps() {
    let plan = planned(&[("/etc/containerd/config.toml", "version = 2\n"), UNIT], V1_7).unwrap();
    assert_eq!(
        plan.to_string(),
        "containerd as a service:\n  \
         put the shim at /opt/spinlet/bin/containerd-shim-spin-v2\n  \
         change /etc/containerd/config.toml (handlers spin, spin-v2)\n  \
         restart containerd with `systemctl restart containerd`; pods keep running"
    );
}

#[test]
fn a_shim_that_the_operating_system_brings_is_used() {
    let (_folder, root) = node(&[("/etc/os-release", "ID=talos\n")]);
    let known = vec!["runc".to_owned(), "spin".to_owned()];
    let plan = plan(&Facts::read(&root, V2_0, known).unwrap()).unwrap();
    assert_eq!((plan.program, plan.writes, plan.restart), (None, vec![], None));
}

#[test]
fn a_command_stands_in_for_a_service() {
    let (_folder, root) = node(&[("/etc/containerd/config.toml", "version = 3\n")]);
    let mut facts = Facts::read(&root, V2_0, vec!["runc".to_owned()]).unwrap();
    facts.service = Some(Service::Command(vec!["rc-service".to_owned(), "containerd".to_owned()]));
    let plan = plan(&facts).unwrap();
    assert!(plan.to_string().contains("restart containerd with `rc-service containerd`"), "{plan}");
}
