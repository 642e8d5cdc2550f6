//! What the kernel grants a Spin container that a pod's security context
//! describes, and what of its volumes the app's runtime sees. Everything is read
//! from `/proc` of the process that serves.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::Version;
use integration_tests::cri::{Container, Cri, SPIN, SPIN_LIMITS};
use integration_tests::http;
use rustix::fs::OFlags;
use serde_json::{Value, json};

/// `CAP_NET_BIND_SERVICE` and `CAP_KILL` as bits of a capability set.
const NET_BIND_SERVICE: u64 = 1 << 10;
const KILL: u64 = 1 << 5;

fn set_of(container: &Container<'_>, name: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&container.process_status(name)?, 16)?)
}

/// The mount at a place in the container: its options.
fn mount_options(container: &Container<'_>, place: &str) -> Result<String> {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid()?))?;
    let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = fields.rev().find(|fields| fields.get(4) == Some(&place));
    found
        .and_then(|fields| fields.get(5).map(|options| (*options).to_owned()))
        .with_context(|| format!("nothing is mounted at {place}\n{table}"))
}

fn in_root(container: &Container<'_>, path: &str) -> Result<String> {
    Ok(format!("/proc/{}/root{path}", container.pid()?))
}

#[test]
fn a_restricted_pod_gets_exactly_what_its_security_context_says() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("hello-rust")?;
        let pod = cri.pod("restricted", SPIN, Value::Null)?;
        let security = json!({
            "run_as_user": { "value": 1000 },
            "run_as_group": { "value": 2000 },
            "supplemental_groups": [3000, 4000],
            "readonly_rootfs": true,
            "no_new_privs": true,
            "capabilities": { "drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"] },
            "seccomp": { "profile_type": 0 },
            "masked_paths": ["/proc/keys"],
            "readonly_paths": ["/proc/sys"],
        });
        let resources = json!({ "oom_score_adj": 900 });
        let linux = json!({ "security_context": security, "resources": resources });
        let app = pod.start("app", &image, json!({ "command": ["/"], "linux": linux }))?;

        let status = |key: &str| app.process_status(key);
        assert_eq!(status("Uid")?, "1000 1000 1000 1000");
        assert_eq!(status("Gid")?, "2000 2000 2000 2000");
        let groups = status("Groups")?;
        assert!(
            ["3000", "4000"].iter().all(|group| groups.split(' ').any(|g| g == *group)),
            "{groups}"
        );
        assert_eq!(status("NoNewPrivs")?, "1");
        assert_eq!(status("Seccomp")?, "2");
        assert_eq!(set_of(&app, "CapBnd")? & !NET_BIND_SERVICE, 0);
        assert_eq!(set_of(&app, "CapEff")? & !NET_BIND_SERVICE, 0);
        let pid = app.pid()?;
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?.trim(), "900");
        assert!(mount_options(&app, "/")?.starts_with("ro"), "the root is read-only");
        assert!(mount_options(&app, "/proc/sys")?.starts_with("ro"));
        mount_options(&app, "/proc/keys")?;
        // Port 80, although it has no right to it any more.
        assert_eq!(http::get(pod.address(80)?, "/")?.text(), "Hello from Rust!\n", "{version:?}");
        pod.remove()?;
    }
    Ok(())
}

#[test]
fn capabilities_and_filters_follow_the_pod() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("hello-rust")?;
    let profile = cri.containerd().folder().join("profile.json");
    let refuses = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ERRNO" }],
    });
    fs::write(&profile, refuses.to_string())?;
    let pod = cri.pod("filters", SPIN, Value::Null)?;
    let cases = [
        ("unconfined", json!({ "seccomp": { "profile_type": 1 } }), "0"),
        ("localhost", json!({ "seccomp": { "profile_type": 2, "localhost_ref": profile } }), "2"),
    ];
    for (name, security, filters) in cases {
        let mut container = json!({ "command": ["/"], "linux": { "security_context": security } });
        container["envs"] = json!([{ "key": "SPIN_HTTP_LISTEN_ADDR", "value": "127.0.0.1:0" }]);
        let app = pod.start(name, &image, container)?;
        assert_eq!(app.process_status("Seccomp")?, filters, "{name}");
        app.stop(Duration::from_secs(10))?;
        app.remove()?;
    }
    let drop = json!({ "capabilities": { "drop_capabilities": ["KILL"] } });
    let app = pod.start(
        "app",
        &image,
        json!({ "command": ["/"], "linux": { "security_context": drop } }),
    )?;
    assert_eq!(set_of(&app, "CapBnd")? & KILL, 0);
    assert_ne!(set_of(&app, "CapBnd")? & NET_BIND_SERVICE, 0);
    pod.remove()
}

#[test]
fn the_volumes_of_a_pod_are_where_the_app_looks_for_them() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("hello-rust")?;
    let before = cri.traces()?;
    let folder = cri.containerd().folder().join("volumes");
    for name in ["empty", "host", "config/..2026"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::write(folder.join("host/file"), "of the host")?;
    // As the kubelet lays out configMaps, secrets and projected tokens.
    fs::write(folder.join("config/..2026/key"), "configured")?;
    fs_err::os::unix::fs::symlink("..2026", folder.join("config/..data"))?;
    fs_err::os::unix::fs::symlink("..data/key", folder.join("config/key"))?;
    fs::write(folder.join("one-file"), "by subPath")?;
    let mount = |container: &str, host: &str, read_only: bool| json!({ "container_path": container, "host_path": folder.join(host), "readonly": read_only });
    let mounts = [
        mount("/empty", "empty", false),
        mount("/host", "host", true),
        mount("/etc/app", "config", true),
        mount("/etc/ssl/certs/ca-certificates.crt", "one-file", true),
    ];
    let read_only = json!({ "security_context": { "readonly_rootfs": true } });
    let pod = cri.pod("volumes", SPIN, Value::Null)?;
    let app = pod.start(
        "app",
        &image,
        json!({ "command": ["/"], "mounts": mounts, "linux": read_only }),
    )?;

    let read = |path: &str| Ok::<_, anyhow::Error>(fs::read_to_string(in_root(&app, path)?)?);
    assert_eq!(read("/host/file")?, "of the host");
    assert_eq!(read("/etc/app/key")?, "configured");
    assert_eq!(read("/etc/ssl/certs/ca-certificates.crt")?, "by subPath");
    for place in ["/host", "/etc/app", "/etc/ssl/certs/ca-certificates.crt"] {
        assert!(mount_options(&app, place)?.starts_with("ro"), "{place}");
    }
    fs::write(in_root(&app, "/empty/written")?, "through the container")?;
    assert_eq!(fs::read_to_string(folder.join("empty/written"))?, "through the container");
    // A configMap that changes is seen without a restart.
    fs::create_dir(folder.join("config/..2027"))?;
    fs::write(folder.join("config/..2027/key"), "changed")?;
    fs_err::os::unix::fs::symlink("..2027", folder.join("config/..new"))?;
    fs::rename(folder.join("config/..new"), folder.join("config/..data"))?;
    assert_eq!(read("/etc/app/key")?, "changed");
    // The node sees none of these mounts.
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    assert!(!table.contains(&folder.display().to_string()), "{table}");
    pod.remove()?;
    cri.nothing_new_since(&before)
}

#[test]
fn values_of_an_app_outlive_its_container_on_a_volume() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("stores")?;
    let volume = cri.containerd().folder().join("state-of-the-app");
    fs::create_dir(&volume)?;
    let container = json!({
        "command": ["/"],
        "envs": [{ "key": "SPINLET_APP_STATE_DIR", "value": "/state" }],
        "mounts": [{ "container_path": "/state", "host_path": volume }],
        "linux": { "security_context": { "readonly_rootfs": true } },
    });
    let pod = cri.pod("state", SPIN, Value::Null)?;
    for (name, target, answer) in
        [("first", "/set?key=a&value=kept", None), ("second", "/get?key=a", Some("kept"))]
    {
        let app = pod.start(name, &image, container.clone())?;
        let response = http::get(pod.address(80)?, target)?;
        assert_eq!(response.status, 200, "{}", response.text());
        if let Some(answer) = answer {
            assert!(response.text().contains(answer), "{}", response.text());
        }
        app.stop(Duration::from_secs(10))?;
        app.remove()?;
    }
    assert!(fs::read_dir(&volume)?.next().is_some(), "the files are on the volume");
    pod.remove()
}

#[test]
fn limits_of_processes_are_those_of_the_handlers_specification() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("hello-rust")?;
        let pod = cri.pod("limited", SPIN_LIMITS, Value::Null)?;
        let app = pod.start("app", &image, json!({ "command": ["/"] }))?;
        let table = fs::read_to_string(format!("/proc/{}/limits", app.pid()?))?;
        for (name, soft, hard) in [
            ("Max open files", "777", "888"),
            ("Max core file size", "0", "0"),
            ("Max locked memory", "65536", "131072"),
        ] {
            let line = table.lines().find_map(|line| line.strip_prefix(name));
            let line = line.with_context(|| format!("no {name}"))?;
            let values: Vec<&str> = line.split_whitespace().take(2).collect();
            assert_eq!(values, [soft, hard], "{name}, {version:?}");
        }
        assert_eq!(http::get(pod.address(80)?, "/")?.status, 200);
        pod.remove()?;
    }
    Ok(())
}

/// As the kubelet lays out a projected token for a container that runs as `user`: a file
/// that only that user may read, behind two links.
fn write_token(folder: &Path, generation: &str, user: u32, token: &str) -> Result<()> {
    let data = folder.join(generation);
    fs::create_dir_all(&data)?;
    let file = data.join("greeting");
    fs::write(&file, token)?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o400))?;
    std::os::unix::fs::chown(&file, Some(user), Some(user))?;
    let new = folder.join("..new");
    fs_err::os::unix::fs::symlink(generation, &new)?;
    fs::rename(new, folder.join("..data"))?;
    let link = folder.join("greeting");
    if !link.is_symlink() {
        fs_err::os::unix::fs::symlink("..data/greeting", link)?;
    }
    Ok(())
}

#[test]
fn a_user_without_privileges_reads_its_projected_token_and_sees_the_next_one() -> Result<()> {
    const USER: u32 = 1000;
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("behaviours")?;
    let folder = cri.containerd().folder().join("token");
    write_token(&folder, "..first", USER, "the first token")?;
    let configuration = cri.containerd().folder().join("runtime-config.toml");
    fs::write(
        &configuration,
        "[[variables_provider]]\ntype = \"static\"\npath = \"/var/run/secrets/tokens\"\n",
    )?;
    let mount = |container: &str, host: &Path| json!({ "container_path": container, "host_path": host, "readonly": true });
    let security = json!({ "run_as_user": { "value": USER }, "readonly_rootfs": true });
    let container = json!({
        "command": ["/"],
        "mounts": [
            mount("/var/run/secrets/tokens", &folder),
            mount("/runtime-config.toml", &configuration),
        ],
        "linux": { "security_context": security },
    });
    let pod = cri.pod("token", SPIN, Value::Null)?;
    let app = pod.start("app", &image, container)?;
    let answer = http::get(pod.address(80)?, "/b/variable?name=greeting")?;
    assert_eq!(answer.text(), "the first token\n");
    // The kubelet replaces it long before it expires.
    write_token(&folder, "..second", USER, "the second token")?;
    let seen = fs::read_to_string(in_root(&app, "/var/run/secrets/tokens/greeting")?)?;
    assert_eq!(seen, "the second token");
    pod.remove()
}

/// `fsGroup`: the kubelet gives the volume to the group, CRI the group to the process.
#[test]
fn a_user_without_privileges_keeps_values_on_a_volume_of_its_group() -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    const GROUP: u32 = 5000;
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("stores")?;
    let volume = cri.containerd().folder().join("of-the-group");
    fs::create_dir(&volume)?;
    std::os::unix::fs::chown(&volume, Some(0), Some(GROUP))?;
    fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o2770))?;
    let pod = cri.pod("group", SPIN, Value::Null)?;
    let start = |name: &str, groups: &[u32]| {
        let security = json!({
            "run_as_user": { "value": 1000 },
            "run_as_group": { "value": 1000 },
            "supplemental_groups": groups,
            "readonly_rootfs": true,
        });
        pod.start(
            name,
            &image,
            json!({
                "command": ["/"],
                "envs": [{ "key": "SPINLET_APP_STATE_DIR", "value": "/state" }],
                "mounts": [{ "container_path": "/state", "host_path": volume }],
                "linux": { "security_context": security },
            }),
        )
    };
    let app = start("member", &[GROUP])?;
    assert_eq!(http::get(pod.address(80)?, "/set?key=a&value=kept")?.status, 200);
    let written = fs::read_dir(&volume)?.next().context("nothing is on the volume")??;
    let owner = written.metadata()?;
    assert_eq!((owner.uid(), owner.gid()), (1000, GROUP), "{}", written.path().display());
    app.stop(Duration::from_secs(10))?;
    app.remove()?;
    // Who is not of the group has no right to it, whatever the runtime was born with.
    let app = start("stranger", &[])?;
    for target in ["/set?key=b&value=kept", "/get?key=a"] {
        assert_eq!(http::get(pod.address(80)?, target)?.status, 500, "{target}");
    }
    app.stop(Duration::from_secs(10))?;
    pod.remove()
}

#[test]
fn the_process_that_serves_holds_no_way_out_of_its_container() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("behaviours")?;
    let pod = cri.pod("descriptors", SPIN, Value::Null)?;
    let app = pod.start("app", &image, json!({ "command": ["/"] }))?;
    assert_eq!(http::get(pod.address(80)?, "/b/file?path=/data/greeting.txt")?.status, 200);
    let pid = app.pid()?;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?.path();
        let (target, kind) = (fs::read_link(&entry)?, fs::metadata(&entry)?.file_type());
        if kind.is_dir() {
            // The files of the app, which guests read through it.
            let is_of_app = target.starts_with(cri.containerd().state());
            ensure!(is_of_app, "the folder {} is open", target.display());
        } else if kind.is_file() {
            let number = entry.file_name().context("no name")?;
            let information = Path::new(&format!("/proc/{pid}/fdinfo")).join(number);
            let information = fs::read_to_string(information)?;
            let flags = information.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = u32::from_str_radix(flags.context("no flags")?.trim(), 8)?;
            // Compiled code, which it maps and cannot write.
            let is_code = target.starts_with(cri.containerd().state().join("cache"));
            let reads = OFlags::from_bits_retain(flags) & OFlags::RWMODE == OFlags::RDONLY;
            ensure!(is_code && reads, "{} is open: {information}", target.display());
        }
    }
    // It has no program to execute, and neither the cache nor containerd in its sight.
    for path in ["/bin/sh", "/var/lib/spinlet", "/run/containerd", "/var/lib/containerd"] {
        ensure!(!Path::new(&in_root(&app, path)?).exists(), "{path} is there");
    }
    pod.remove()
}

#[test]
fn nothing_is_written_into_the_root_filesystem() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("hello-rust")?;
    let pod = cri.pod("clean", SPIN, Value::Null)?;
    let app = pod.start("app", &image, json!({ "command": ["/"] }))?;
    http::get(pod.address(80)?, "/")?;
    // What is not a mount of the container is a file of its root.
    let root = in_root(&app, "")?;
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", app.pid()?))?;
    let mounted = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mounted: Vec<String> = mounted.map(|place| format!("{root}{place}")).collect();
    let mut files = Vec::new();
    collect_files(Path::new(&root), &mounted, &mut files)?;
    assert!(files.is_empty(), "{files:?}");
    pod.remove()
}

/// Regular files with content below a folder, without what is mounted there.
fn collect_files(folder: &Path, mounted: &[String], files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.display().to_string();
        let metadata = path.symlink_metadata()?;
        if mounted.contains(&name) {
            continue;
        }
        if metadata.is_dir() {
            collect_files(&path, mounted, files)?;
        } else if metadata.is_file() && metadata.len() > 0 {
            files.push(name);
        }
    }
    Ok(())
}
