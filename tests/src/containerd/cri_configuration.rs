//! What a containerd with CRI is configured with: our handler beside runc's, a
//! bridge for pods, one registry for all images.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde_json::{Value, json};

use super::{RUNTIME, Version};
use crate::linux_image::PAUSE;
use crate::process::output_of;

/// The file with what containers under the handler `spin-limits` begin with.
const LIMITED: &str = "limited.json";

/// The configuration file of containerd; `shim` is our shim where `PATH` does not
/// lead to it.
pub(super) fn text(folder: &Path, version: Version, shim: Option<&Path>) -> String {
    let spin = shim.map_or_else(
        || format!("runtime_type = \"{RUNTIME}\"\n"),
        |shim| format!("runtime_type = \"{RUNTIME}\"\nruntime_path = \"{}\"\n", shim.display()),
    );
    let place = folder.display();
    let common = format!(
        "root = \"{place}/root\"\nstate = \"{place}/state\"\n\
         disabled_plugins = [\"io.containerd.nri.v1.nri\"]\n\
         [grpc]\naddress = \"{place}/containerd.sock\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{place}/opt\"\n"
    );
    match version {
        Version::V1_7 => format!("version = 2\n{common}{}", version_2(folder, &spin)),
        Version::V2_1 | Version::V2 => format!("version = 3\n{common}{}", version_3(folder, &spin)),
    }
}

/// `restrict_oom_score_adj`: the machine may not let us raise a score that was
/// lowered.
fn version_2(folder: &Path, spin: &str) -> String {
    let (cri, place) = ("plugins.\"io.containerd.grpc.v1.cri\"", folder.display());
    format!(
        "[{cri}]\nsandbox_image = \"{PAUSE}\"\nstream_server_address = \"127.0.0.1\"\n\
         stream_server_port = \"0\"\nrestrict_oom_score_adj = true\n\
         netns_mounts_under_state_dir = true\n\
         [{cri}.cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \"{place}/net.d\"\n\
         [{cri}.registry]\nconfig_path = \"{place}/certs.d\"\n{}",
        runtimes(cri, spin, folder)
    )
}

fn version_3(folder: &Path, spin: &str) -> String {
    let (cri, place) = ("plugins.\"io.containerd.cri.v1.runtime\"", folder.display());
    let images = "plugins.\"io.containerd.cri.v1.images\"";
    format!(
        "[plugins.\"io.containerd.grpc.v1.cri\"]\nstream_server_address = \"127.0.0.1\"\n\
         stream_server_port = \"0\"\n\
         [{images}.pinned_images]\nsandbox = \"{PAUSE}\"\n\
         [{images}.registry]\nconfig_path = \"{place}/certs.d\"\n\
         [{cri}]\nrestrict_oom_score_adj = true\nnetns_mounts_under_state_dir = true\n\
         [{cri}.cni]\nbin_dirs = [\"/usr/lib/cni\"]\nconf_dir = \"{place}/net.d\"\n{}\
         [{cri}.containerd.runtimes.spin-sandbox]\n{spin}\
         sandboxer = \"shim\"\ndisable_pause_image_pull = true\n",
        runtimes(cri, spin, folder)
    )
}

fn runtimes(cri: &str, spin: &str, folder: &Path) -> String {
    let limited = folder.join(LIMITED);
    format!(
        "[{cri}.containerd]\ndefault_runtime_name = \"runc\"\n\
         [{cri}.containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\
         [{cri}.containerd.runtimes.runc.options]\nSystemdCgroup = false\n\
         [{cri}.containerd.runtimes.spin]\n{spin}\
         [{cri}.containerd.runtimes.spin-limits]\n{spin}\
         base_runtime_spec = \"{}\"\n",
        limited.display()
    )
}

/// CRI has no field for limits of processes: a node's administrator gives them to all
/// containers of a handler.
pub(super) fn write_limits(folder: &Path, ctr: &Path) -> Result<()> {
    let text = output_of(Command::new(ctr).args(["oci", "spec"]), Duration::from_secs(20))?;
    let mut specification: Value = serde_json::from_str(&text)?;
    let process = specification.get_mut("process").and_then(Value::as_object_mut);
    let limit =
        |name: &str, soft: u64, hard: u64| json!({ "type": name, "soft": soft, "hard": hard });
    let limits = [
        limit("RLIMIT_NOFILE", 777, 888),
        limit("RLIMIT_CORE", 0, 0),
        limit("RLIMIT_MEMLOCK", 65_536, 131_072),
    ];
    process.context("a specification without a process")?.insert("rlimits".into(), limits.into());
    fs::write(folder.join(LIMITED), specification.to_string())?;
    Ok(())
}

/// A bridge of the test's own network, whose addresses are given out from a
/// folder of the test.
pub(super) fn write_network(folder: &Path) -> Result<()> {
    let network = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": folder.join("addresses"),
                    "ranges": [[{ "subnet": "10.88.0.0/16" }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    fs::create_dir_all(folder.join("net.d"))?;
    fs::write(folder.join("net.d/10-pods.conflist"), network.to_string())?;
    Ok(())
}

/// Every registry that an image reference may name is the private one.
pub(super) fn write_registry(folder: &Path, registry: SocketAddr) -> Result<()> {
    let hosts = folder.join("certs.d/_default");
    let text = format!(
        "server = \"http://{registry}\"\n[host.\"http://{registry}\"]\n\
         capabilities = [\"pull\", \"resolve\"]\n"
    );
    fs::create_dir_all(&hosts)?;
    fs::write(hosts.join("hosts.toml"), text)?;
    Ok(())
}
