use fs_err as fs;
use tempfile::TempDir;

use super::*;
use crate::{Root, Version};

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
    let write = plan.write.as_ref().expect("nothing is written");
    assert_eq!((write.path.to_str().unwrap(), write.text.as_str()), (path, text));
}

#[test]
fn containerd_1_7_is_edited_in_place_even_where_it_imports_drop_ins() {
    let config = "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    let plan = planned(&[("/etc/containerd/config.toml", config), UNIT], V1_7).unwrap();
    let text = format!("{config}\n{}", handlers(CRI_V2, OPT));
    assert_write(&plan, "/etc/containerd/config.toml", &text);
    assert_eq!(plan.restart.as_deref(), Some("containerd"));
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
fn a_root_file_without_imports_is_edited_in_place() {
    // kind, minikube, AKS, EKS with Amazon Linux 2023, GKE with Ubuntu.
    let config =
        "version = 3\n\n[plugins.\"io.containerd.cri.v1.images\"]\nsnapshotter = \"overlayfs\"\n";
    let plan = planned(&[("/etc/containerd/config.toml", config), UNIT], V2_3).unwrap();
    let text = format!("{config}\n{}", handlers(CRI_V3, OPT));
    assert_write(&plan, "/etc/containerd/config.toml", &text);
}

#[test]
fn containerd_without_a_file_gets_one() {
    let plan_2 = planned(&[UNIT], V2_0).unwrap();
    let text = format!("{NOTE}version = 3\n\n{}", handlers(CRI_V3, OPT));
    assert_write(&plan_2, "/etc/containerd/config.toml", &text);
    let plan_1 = planned(&[UNIT], V1_7).unwrap();
    let text = format!("{NOTE}version = 2\n\n{}", handlers(CRI_V2, OPT));
    assert_write(&plan_1, "/etc/containerd/config.toml", &text);
}

#[test]
fn gardener_gets_a_drop_in_and_the_shim_where_its_path_leads() {
    let program = "/var/bin/containerruntimes/containerd-shim-spin-v2";
    let files = [
        ("/etc/os-release", "NAME=\"Garden Linux\"\nID=gardenlinux\n"),
        ("/var/bin/containerruntimes/.keep", ""),
        (
            "/etc/containerd/config.toml",
            "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n",
        ),
        UNIT,
    ];
    let plan = planned(&files, V2_0).unwrap();
    assert_eq!(plan.program.to_str(), Some(program));
    let text = format!("{NOTE}version = 3\n\n{}", handlers(CRI_V3, program));
    assert_write(&plan, "/etc/containerd/conf.d/spinlet.toml", &text);
}

const K3S: &str = "/var/lib/rancher/k3s/agent/etc/containerd";
const K3S_SOCKET: (&str, &str) = ("/run/k3s/containerd/containerd.sock", "");

#[test]
fn k3s_gets_a_template_on_top_of_its_own() {
    for (version, file, config, plugin) in [
        (V2_0, "config-v3.toml.tmpl", "version = 3\n", CRI_V3),
        (V1_7, "config.toml.tmpl", "version = 2\n", CRI_V2),
    ] {
        let rendered = format!("{K3S}/config.toml");
        let files =
            [K3S_SOCKET, (&rendered, config), ("/etc/systemd/system/k3s-agent.service", "")];
        let plan = planned(&files, version).unwrap();
        let text = format!(
            "{{{{ template \"base\" . }}}}\n# spinlet: begin; `spinlet uninstall` removes this \
             part\n{}# spinlet: end\n",
            handlers(plugin, OPT)
        );
        assert_write(&plan, &format!("{K3S}/{file}"), &text);
        assert_eq!(plan.restart.as_deref(), Some("k3s-agent"));
    }
}

#[test]
fn a_template_that_is_there_is_kept() {
    let own = "{{ template \"base\" . }}\n[plugins.mine]\nx = 1\n";
    let (rendered, template) = (format!("{K3S}/config.toml"), format!("{K3S}/config-v3.toml.tmpl"));
    let files = [
        K3S_SOCKET,
        (rendered.as_str(), "version = 3\n"),
        (template.as_str(), own),
        ("/etc/systemd/system/k3s.service", ""),
    ];
    let plan = planned(&files, V2_0).unwrap();
    assert!(plan.write.unwrap().text.starts_with(own));
}

#[test]
fn a_k3s_that_reads_drop_ins_gets_one() {
    let folder = format!("{K3S}/config-v3.toml.d");
    let (path, config) =
        (format!("{K3S}/config.toml"), format!("version = 3\nimports = [\"{folder}/*.toml\"]\n"));
    let files =
        [K3S_SOCKET, (path.as_str(), config.as_str()), ("/etc/systemd/system/k3s.service", "")];
    let plan = planned(&files, V2_0).unwrap();
    let text = format!("{NOTE}version = 3\n\n{}", handlers(CRI_V3, OPT));
    assert_write(&plan, &format!("{folder}/spinlet.toml"), &text);
}

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
fn rke2_is_told_from_k3s() {
    let rendered = "/var/lib/rancher/rke2/agent/etc/containerd/config.toml";
    let files = [
        K3S_SOCKET,
        (rendered, "version = 3\n"),
        ("/usr/lib/systemd/system/rke2-agent.service", ""),
    ];
    let plan = planned(&files, V2_0).unwrap();
    assert_eq!(
        (plan.distribution, plan.restart.as_deref()),
        (Distribution::Rke2, Some("rke2-agent"))
    );
    let path = plan.write.unwrap().path;
    assert!(path.ends_with("rke2/agent/etc/containerd/config-v3.toml.tmpl"), "{path:?}");
}

#[test]
fn k0s_gets_a_drop_in_and_restarts_by_itself() {
    let files = [
        ("/run/k0s/containerd.sock", ""),
        ("/etc/k0s/containerd.toml", "# k0s_managed=true\nversion = 2\n"),
        ("/run/k0s/containerd-cri.toml", "version = 2\n"),
        ("/etc/systemd/system/k0sworker.service", ""),
    ];
    let plan = planned(&files, V1_7).unwrap();
    let text = format!("{NOTE}version = 2\n\n{}", handlers(CRI_V2, OPT));
    assert_write(&plan, "/etc/k0s/containerd.d/spinlet.toml", &text);
    assert_eq!(plan.restart, None);
}

#[test]
fn k0s_with_a_file_of_the_administrator_is_edited_there() {
    let files = [
        ("/run/k0s/containerd.sock", ""),
        ("/etc/k0s/containerd.toml", "version = 2\n"),
        ("/etc/systemd/system/k0sworker.service", ""),
    ];
    let plan = planned(&files, V1_7).unwrap();
    assert_eq!(plan.write.unwrap().path.to_str(), Some("/etc/k0s/containerd.toml"));
    assert_eq!(plan.restart.as_deref(), Some("k0sworker"));
}

#[test]
fn microk8s_has_its_template_edited() {
    let template = "/var/snap/microk8s/current/args/containerd-template.toml";
    let config = "version = 2\noom_score = 0\n\n[grpc]\nuid = 0\n";
    let files = [
        ("/var/snap/microk8s/common/run/containerd.sock", ""),
        (template, config),
        ("/etc/systemd/system/snap.microk8s.daemon-containerd.service", ""),
    ];
    let plan = planned(&files, V1_7).unwrap();
    let program = "/var/snap/microk8s/common/spinlet/containerd-shim-spin-v2";
    assert_write(&plan, template, &format!("{config}\n{}", handlers(CRI_V2, program)));
    assert_eq!(plan.restart.as_deref(), Some("snap.microk8s.daemon-containerd"));
}

#[test]
fn container_optimized_os_gets_the_shim_where_programs_may_run() {
    let files =
        [("/etc/os-release", "ID=cos\n"), ("/etc/containerd/config.toml", "version = 2\n"), UNIT];
    let plan = planned(&files, V1_7).unwrap();
    assert!(plan.program.starts_with("/home/kubernetes/bin"), "{:?}", plan.program);
}

#[test]
fn systems_that_take_no_runtime_say_so() {
    for (id, expected) in [("bottlerocket", "other nodes"), ("talos", "system extension")] {
        let release = format!("ID={id}\n");
        let error = planned(&[("/etc/os-release", &release)], V2_0).unwrap_err().to_string();
        let expected = if id == "bottlerocket" { "another operating system" } else { expected };
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_node_that_is_installed_already_is_left_alone() {
    let config = format!("version = 3\n\n{}", handlers(CRI_V3, OPT));
    let (_folder, root) = node(&[("/etc/containerd/config.toml", &config), UNIT]);
    let known = HANDLERS.map(str::to_owned).to_vec();
    let plan = plan(&Facts::read(&root, V2_0, known).unwrap()).unwrap();
    assert_eq!((plan.write, plan.restart), (None, None));
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
    assert_eq!((plan.write, plan.restart.as_deref()), (None, Some("containerd")));
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
         restart the service containerd; pods keep running"
    );
}
