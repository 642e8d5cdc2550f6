//! Pods with user namespaces (`hostUsers: false`): what the kernel says of the process
//! that serves, and who owns what it writes.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::Version;
use integration_tests::cri::{Container, Cri, SPIN, SPIN_SANDBOX};
use integration_tests::http;
use integration_tests::linux_image::BUSYBOX;
use serde_json::{Value, json};

/// The node's number of the pod's root.
const ROOT: u32 = 100_000;

fn ids() -> Value {
    json!([{ "host_id": ROOT, "container_id": 0, "length": 65_536 }])
}

/// What a kubelet says of a pod with `hostUsers: false` and of each of its containers.
fn mapped() -> Value {
    let user = json!({ "mode": 0, "uids": ids(), "gids": ids() });
    json!({ "security_context": { "namespace_options": { "userns_options": user } } })
}

fn user_namespace(pid: u32) -> Result<String> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/user"))?.display().to_string())
}

/// Root inside, and outside nobody that the node knows.
fn is_mapped(app: &Container<'_>) -> Result<()> {
    let pid = app.pid()?;
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map"))?;
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(app.process_status("Uid")?, "100000 100000 100000 100000");
    assert_eq!(app.process_status("Gid")?, "100000 100000 100000 100000");
    ensure!(user_namespace(pid)? != user_namespace(std::process::id())?, "the node's own");
    Ok(())
}

#[test]
fn an_app_of_a_pod_with_a_user_namespace_is_root_only_there() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("stores")?;
        let volume = cri.containerd().folder().join("volume");
        fs::create_dir_all(&volume)?;
        // containerd 1.7 refuses mounts with mappings: there a volume belongs to the
        // number that is root inside.
        let mut mount = json!({ "container_path": "/state", "host_path": volume });
        let of_root = if version == Version::V1_7 {
            std::os::unix::fs::chown(&volume, Some(ROOT), Some(ROOT))?;
            ROOT
        } else {
            mount["uidMappings"] = ids();
            mount["gidMappings"] = ids();
            0
        };
        let before = cri.traces()?;
        let pod = cri.pod("mapped", SPIN, json!({ "linux": mapped() }))?;
        let app = pod.start(
            "app",
            &image,
            json!({
                "command": ["/"],
                "linux": mapped(),
                "envs": [{ "key": "SPINLET_APP_STATE_DIR", "value": "/state" }],
                "mounts": [mount],
            }),
        )?;
        is_mapped(&app).with_context(|| format!("{version:?}"))?;
        assert_eq!(http::get(pod.address(80)?, "/set?key=a&value=kept")?.status, 200);
        assert_eq!(http::get(pod.address(80)?, "/get?key=a")?.text(), "kept", "{version:?}");
        let written = fs::read_dir(&volume)?.next().context("nothing is on the volume")??;
        let owner = written.metadata()?;
        assert_eq!((owner.uid(), owner.gid()), (of_root, of_root), "{version:?}");
        app.stop(Duration::from_secs(10))?;
        assert_eq!(app.ended()?.code, 0);
        pod.remove()?;
        cri.nothing_new_since(&before)?;
    }
    Ok(())
}

#[test]
fn a_sidecar_and_an_app_share_the_user_namespace_of_their_pod() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("hello-rust")?;
    cri.pull(BUSYBOX)?;
    let before = cri.traces()?;
    let pod = cri.pod("shared", SPIN, json!({ "linux": mapped() }))?;
    let app = pod.start("app", &image, json!({ "command": ["/"], "linux": mapped() }))?;
    is_mapped(&app)?;
    let command = json!({ "command": ["sleep", "600"], "linux": mapped() });
    let sidecar = pod.start("sidecar", BUSYBOX, command)?;
    assert_eq!(user_namespace(app.pid()?)?, user_namespace(sidecar.pid()?)?);
    let answer = sidecar.exec(&["wget", "-qO-", "http://127.0.0.1/"])?;
    assert_eq!(answer.stdout.trim(), "Hello from Rust!", "{}", answer.text());
    pod.remove()?;
    cri.nothing_new_since(&before)
}

#[test]
fn a_sandbox_without_a_pause_container_refuses_a_user_namespace_and_says_what_to_use() -> Result<()>
{
    let cri = Cri::start(Version::V2)?;
    let before = cri.traces()?;
    let refused = cri.pod("refused", SPIN_SANDBOX, json!({ "linux": mapped() }));
    let refused = format!("{:#}", refused.err().context("it has a user namespace")?);
    ensure!(refused.contains("needs a sandbox with a pause container"), "{refused}");
    cri.nothing_new_since(&before)
}
