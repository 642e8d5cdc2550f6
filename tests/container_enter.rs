//! Entering a container, asserted against the kernel. Needs root.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a step of the set-up that fails is a test that fails"
)]

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use container::cgroup::{Cgroup, Layout};
use container::spawn::{PidNamespace, Program, spawn};
use serde_json::{Value, json};

/// A bundle with an empty root filesystem and a spec like one of Kubernetes.
struct Fixture {
    folder: tempfile::TempDir,
    spec: Value,
}

/// What the process inside answered, question by question.
struct Answers(Vec<String>);

impl Fixture {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests enter containers and must run as root"
        );
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(folder.path().join("rootfs")).unwrap();
        Self { folder, spec: kubernetes_spec() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn rootfs(&self, mounts: &Value) -> &Self {
        fs_err::write(self.path("rootfs.json"), mounts.to_string()).unwrap();
        self
    }

    fn mount(&mut self, mount: Value) {
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// Enters the container in a process of its own and asks there.
    fn ask(&self, questions: &[&str]) -> Result<Answers, String> {
        fs_err::write(self.path("config.json"), self.spec.to_string()).unwrap();
        let mut arguments =
            vec!["container-probe".to_owned(), self.folder.path().display().to_string()];
        arguments.extend(questions.iter().map(|question| (*question).to_owned()));
        let output =
            |name: &str| OwnedFd::from(fs_err::File::create(self.path(name)).unwrap().into_file());
        let child = spawn(Program {
            path: env!("CARGO_BIN_EXE_container-probe").into(),
            arguments,
            environment: Vec::new(),
            descriptors: vec![(output("stdout"), 1), (output("stderr"), 2)],
            entrance: None,
            pid_namespace: PidNamespace::New,
        })
        .unwrap();
        let exit = child.wait().unwrap();
        let stderr = fs_err::read_to_string(self.path("stderr")).unwrap();
        if exit.code() != 0 {
            return Err(format!("{exit:?}: {stderr}"));
        }
        let stdout = fs_err::read(self.path("stdout")).unwrap();
        Ok(Answers(serde_json::from_slice(&stdout).unwrap()))
    }
}

impl Answers {
    /// The value of a `Key:\tvalue` line of the first answer.
    fn status(&self, key: &str) -> &str {
        let line = self.0[0].lines().find(|line| line.starts_with(&format!("{key}:")));
        line.unwrap().split_once(':').unwrap().1.trim()
    }
}

fn kubernetes_spec() -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_SETUID"]);
    json!({
        "ociVersion": "1.1.0",
        "root": {"path": "rootfs"},
        "hostname": "inside",
        "process": {
            "cwd": "/", "args": ["/"], "env": [],
            "user": {"uid": 0, "gid": 0, "additionalGids": [10]},
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
            "oomScoreAdj": 321, "noNewPrivileges": false,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "network"}, {"type": "cgroup"},
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list",
                "/proc/scsi", "/sys/firmware", "/proc/absent"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                "/proc/sysrq-trigger"],
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "1000"},
        },
    })
}

/// How many mounts this process sees: the host's.
fn host_mounts() -> usize {
    fs_err::read_to_string("/proc/self/mountinfo").unwrap().lines().count()
}

const STATUS: &str = "read /proc/self/status";

#[test]
fn a_container_has_the_file_system_the_spec_describes_and_the_host_gets_no_mount() {
    let fixture = Fixture::new();
    let before = host_mounts();
    let answers = fixture
        .ask(&[
            "list /",
            "list /dev",
            "read /proc/sys/kernel/hostname",
            "read /proc/self/oom_score_adj",
            "read /proc/sys/net/ipv4/ip_unprivileged_port_start",
            "pid",
            "limit",
            "umask",
            "connect",
        ])
        .unwrap();
    let expected = [
        "dev proc sys",
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
        "inside\n",
        "321\n",
        "1000\n",
        "1",
        "Rlimit { current: Some(100), maximum: Some(200) }",
        "022",
        "connected",
    ];
    assert_eq!(answers.0, expected);
    assert_eq!(host_mounts(), before);
    let left: Vec<_> = fs_err::read_dir(fixture.path("rootfs/dev")).unwrap().collect();
    assert!(left.is_empty(), "mounts end with the process: {left:?}");
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_and_roots_cannot_be_written() {
    let mut fixture = Fixture::new();
    fixture.spec["root"]["readonly"] = json!(true);
    for folder in ["proc", "dev", "sys"] {
        fs_err::create_dir_all(fixture.path("rootfs").join(folder)).unwrap();
    }
    let answers = fixture
        .ask(&[
            "length /proc/keys",
            "length /proc/timer_list",
            "list /sys/firmware",
            "write /proc/sys/kernel/hostname",
            "write /sys/kernel/profiling",
            "write /new",
            "mkdir /sys/fs/cgroup/new",
            "write /dev/shm/new",
            "list /sys/fs/cgroup/memory",
        ])
        .unwrap();
    assert_eq!(&answers.0[..3], ["0", "0", ""]);
    for denied in &answers.0[3..7] {
        assert_eq!(denied, "error ReadOnlyFilesystem");
    }
    assert_eq!(answers.0[7], "written");
    if Path::new("/sys/fs/cgroup/memory").exists() {
        assert!(answers.0[8].contains("cgroup.procs"), "{}", answers.0[8]);
    }
}

#[test]
fn another_user_has_no_capabilities_no_root_group_and_cannot_gain_any() {
    let mut fixture = Fixture::new();
    fixture.spec["process"]["user"] = json!({"uid": 65532, "gid": 65533, "additionalGids": [7, 8]});
    let answers = fixture.ask(&[STATUS, "bind 0.0.0.0:80", "write /new"]).unwrap();
    // Asked before privileges were dropped, as a runtime binds its port.
    assert_eq!(answers.0[0], "bound");
    let answers = Answers(answers.0[1..].to_vec());
    assert_eq!(answers.status("Uid"), "65532\t65532\t65532\t65532");
    assert_eq!(answers.status("Gid"), "65533\t65533\t65533\t65533");
    assert_eq!(answers.status("Groups"), "7 8");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(answers.status(set), "0000000000000000", "{set}");
    }
    assert_eq!(answers.status("NoNewPrivs"), "1");
    assert_eq!(answers.0[1], "error PermissionDenied");
}

#[test]
fn a_hostile_program_in_the_guests_place_gets_nowhere() {
    let questions = [
        "mount /dev/shm",
        "unmount /proc/sys",
        "chroot /dev",
        "rename-host elsewhere",
        "device /dev/disk",
        "execute /bin/sh",
        "write /proc/sys/kernel/hostname",
        "write /proc/sys/kernel/core_pattern",
        "mkdir /sys/fs/cgroup/more",
        "read /proc/1/root/etc/passwd",
        "list /proc/1/root",
        "list /proc/1/cwd",
        "descriptors",
    ];
    let root = Fixture::new();
    let mut other = Fixture::new();
    other.spec["process"]["user"] = json!({"uid": 65532, "gid": 65532});
    for (who, fixture) in [("root", root), ("another user", other)] {
        let answers = fixture.ask(&questions).unwrap().0;
        for (question, answer) in questions.iter().zip(&answers).take(5) {
            assert_eq!(answer, "error PermissionDenied", "{who}: {question}");
        }
        assert_eq!(answers[5], "error NotFound", "{who}: there is no program");
        for (question, answer) in questions.iter().zip(&answers).skip(6).take(3) {
            let refused = ["error ReadOnlyFilesystem", "error PermissionDenied"];
            assert!(refused.contains(&answer.as_str()), "{who}: {question}: {answer}");
        }
        // Its root is all it finds behind the links of the first process, which it is.
        assert_eq!(answers[9], "error NotFound", "{who}");
        assert_eq!((answers[10].as_str(), answers[11].as_str()), ("dev proc sys", "dev proc sys"));
        assert_eq!(answers[12], "", "{who} inherits descriptors");
    }
    let mut other = Fixture::new();
    other.spec["process"]["user"] = json!({"uid": 65532, "gid": 65532});
    let answers = other.ask(&["become-root", "list /proc"]).unwrap().0;
    assert_eq!(answers[0], "error PermissionDenied");
    let processes = answers[1].split(' ').filter(|name| name.parse::<u32>().is_ok());
    assert_eq!(processes.collect::<Vec<_>>(), ["1"], "it sees nobody else");
}

#[test]
fn root_keeps_exactly_the_capabilities_of_the_spec() {
    let answers = Fixture::new().ask(&[STATUS]).unwrap();
    // CHOWN is bit 0, SETUID 7, NET_BIND_SERVICE 10.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(answers.status(set), "0000000000000481", "{set}");
    }
    assert_eq!(answers.status("Groups"), "10");
    assert_eq!(answers.status("Threads"), "1");
}

#[test]
fn a_filter_of_the_spec_is_in_force_at_the_end() {
    let mut fixture = Fixture::new();
    fixture.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    });
    let answers = fixture.ask(&[STATUS, "mkdir /new"]).unwrap();
    assert_eq!(answers.status("Seccomp"), "2");
    assert_eq!(answers.0[1], "error Unsupported");
}

#[test]
fn binds_follow_their_options_and_links_of_the_image_never_lead_out() {
    let mut fixture = Fixture::new();
    let host = fixture.path("volume");
    fs_err::create_dir_all(host.join("sub")).unwrap();
    fs_err::write(host.join("file"), "volume").unwrap();
    // The image tries to have the volume mounted over the host's own folder.
    let outside = fixture.path("outside");
    fs_err::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.path("rootfs/link")).unwrap();
    fs_err::create_dir_all(fixture.path("rootfs").join(outside.strip_prefix("/").unwrap()))
        .unwrap();
    let bind = |destination: &str, source: PathBuf, options: &[&str]| json!({"destination": destination, "type": "bind", "source": source, "options": options});
    fixture.mount(bind("/data", host.clone(), &["rbind", "rprivate", "ro"]));
    fixture.mount(bind("/etc/hosts", host.join("file"), &["rbind", "rprivate", "rw"]));
    fixture.mount(bind("/link/inner", host.clone(), &["rbind", "rslave", "rw"]));
    let inner = format!("read {}/inner/file", outside.display());
    let answers = fixture
        .ask(&["read /data/file", "write /data/new", "read /etc/hosts", "write /etc/hosts", &inner])
        .unwrap();
    let expected = ["volume", "error ReadOnlyFilesystem", "volume", "written", "volume"];
    assert_eq!(answers.0, expected);
    assert!(fs_err::read_dir(&outside).unwrap().next().is_none(), "nothing was made outside");
}

#[test]
fn an_overlay_and_a_bind_make_a_root_filesystem() {
    let fixture = Fixture::new();
    for folder in ["lower", "upper", "work"] {
        fs_err::create_dir_all(fixture.path(folder)).unwrap();
    }
    fs_err::write(fixture.path("lower/file"), "lower").unwrap();
    // An overlay cannot have its folders on an overlay, as /tmp may be.
    let lower = fixture.path("lower").display().to_string();
    fixture.rootfs(&json!([["bind", lower, ["rbind", "rw"]]]));
    assert_eq!(fixture.ask(&["read /file", "write /new"]).unwrap().0, ["lower", "written"]);
    let options = ["lower", "upper", "work"]
        .map(|name| format!("{name}dir={}", fixture.path(name).display()));
    fixture.rootfs(&json!([["overlay", "overlay", options]]));
    assert_eq!(fixture.ask(&["read /file", "write /other"]).unwrap().0, ["lower", "written"]);
    assert!(fixture.path("upper/other").exists());
    assert!(!fixture.path("lower/other").exists());
}

/// Root of the container is 100000 of the host.
fn in_user_namespace() -> Fixture {
    let mut fixture = Fixture::new();
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    fixture.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    fixture.spec["linux"]["uidMappings"] = ids.clone();
    fixture.spec["linux"]["gidMappings"] = ids;
    fixture
}

fn owner(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs_err::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

#[test]
fn root_of_a_user_namespace_is_nobody_outside_and_owns_what_is_mapped_to_it() {
    let mut fixture = in_user_namespace();
    let ids = fixture.spec["linux"]["uidMappings"].clone();
    for name in ["mapped", "foreign", "plain"] {
        fs_err::create_dir_all(fixture.path(name)).unwrap();
    }
    std::os::unix::fs::chown(fixture.path("plain"), Some(100_000), Some(100_000)).unwrap();
    let bind = |name: &str, more: Value| {
        let mut mount = json!({"destination": format!("/{name}"), "type": "bind",
            "source": name, "options": ["rbind", "rprivate"]});
        mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        mount
    };
    fixture.mount(bind("mapped", json!({"uidMappings": ids, "gidMappings": ids})));
    fixture.mount(bind("foreign", json!({})));
    fixture.mount(bind("plain", json!({})));
    let answers = fixture
        .ask(&[
            STATUS,
            "read /proc/self/uid_map",
            "write /mapped/file",
            "write /foreign/file",
            "write /plain/file",
            "write /dev/shm/file",
            "mount /dev/shm",
            "rename-host elsewhere",
            "chroot /dev",
            "write /proc/sys/kernel/core_pattern",
        ])
        .unwrap();
    assert_eq!(answers.status("Uid"), "0\t0\t0\t0");
    assert_eq!(answers.status("Groups"), "10");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(answers.status(set), "0000000000000481", "{set}");
    }
    let map: Vec<&str> = answers.0[1].split_whitespace().collect();
    assert_eq!(map, ["0", "100000", "65536"]);
    assert_eq!(answers.0[2], "written");
    assert_eq!(answers.0[3], "error PermissionDenied");
    assert_eq!((answers.0[4].as_str(), answers.0[5].as_str()), ("written", "written"));
    for denied in &answers.0[6..9] {
        assert_eq!(denied, "error PermissionDenied");
    }
    assert_ne!(answers.0[9], "written");
    assert_eq!(owner(&fixture.path("mapped/file")), (0, 0), "as the volume has it");
    assert_eq!(owner(&fixture.path("plain/file")), (100_000, 100_000));
}

#[test]
fn an_overlay_of_a_user_namespace_shows_its_layers_as_the_containers_own() {
    let fixture = in_user_namespace();
    for folder in ["snapshots/1/fs", "snapshots/2/fs", "snapshots/3/fs", "snapshots/3/work"] {
        fs_err::create_dir_all(fixture.path(folder)).unwrap();
    }
    std::os::unix::fs::chown(fixture.path("snapshots/3/fs"), Some(100_000), Some(100_000)).unwrap();
    for layer in ["1", "2"] {
        use std::os::unix::fs::PermissionsExt as _;
        let file = fixture.path(&format!("snapshots/{layer}/fs/of-root-{layer}"));
        fs_err::write(&file, layer).unwrap();
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let path = |folder: &str| fixture.path(folder).display().to_string();
    let options = [
        "uidmap=0:100000:65536".to_owned(),
        "gidmap=0:100000:65536".to_owned(),
        format!("workdir={}", path("snapshots/3/work")),
        format!("upperdir={}", path("snapshots/3/fs")),
        format!("lowerdir={}:{}", path("snapshots/2/fs"), path("snapshots/1/fs")),
    ];
    fixture.rootfs(&json!([["overlay", "overlay", options]]));
    let before = host_mounts();
    let answers = fixture.ask(&["read /of-root-1", "read /of-root-2", "write /new"]).unwrap().0;
    assert_eq!(answers, ["1", "2", "written"]);
    assert_eq!(owner(&fixture.path("snapshots/3/fs/new")), (100_000, 100_000));
    assert_eq!(owner(&fixture.path("snapshots/1/fs/of-root-1")), (0, 0));
    assert_eq!(host_mounts(), before);
    assert!(!fixture.path("layers").exists(), "what was only needed to mount is gone");
}

#[test]
fn a_process_that_is_nobody_in_its_user_namespace_is_refused() {
    let mut fixture = in_user_namespace();
    fixture.spec["process"]["user"] = json!({"uid": 70_000, "gid": 0});
    let error = fixture.ask(&[]).err().unwrap();
    assert!(error.contains("user 70000 of the process"), "{error}");
}

#[test]
fn what_the_kernel_refuses_is_said_with_the_path() {
    let mut fixture = Fixture::new();
    fixture.mount(json!({"destination": "/data", "type": "bind", "source": "/nonexistent"}));
    let error = fixture.ask(&[]).err().unwrap();
    assert!(error.contains("mount /nonexistent at /data"), "{error}");
}

#[test]
fn a_container_in_existing_namespaces_joins_them() {
    let mut fixture = Fixture::new();
    let namespaces = json!([
        {"type": "mount"}, {"type": "pid"},
        {"type": "network", "path": "/proc/self/ns/net"},
        {"type": "ipc", "path": "/proc/self/ns/ipc"},
    ]);
    fixture.spec["linux"]["namespaces"] = namespaces;
    fixture.spec["linux"]["sysctl"] = json!({});
    let error = fixture.ask(&[]).err().unwrap();
    assert!(error.contains("would be the node's"), "{error}");
    fixture.spec["hostname"] = json!("");
    let own = fs_err::read_to_string("/proc/net/route").unwrap();
    assert_eq!(fixture.ask(&["read /proc/net/route"]).unwrap().0, [own]);
}

/// A cgroup of this test, removed at its end.
struct OwnCgroup(Cgroup);

impl OwnCgroup {
    fn new(name: &str, resources: &Value) -> Self {
        Self::of(&Layout::detect().unwrap(), name, resources)
    }

    fn of(layout: &Layout, name: &str, resources: &Value) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests make cgroups: run them as root");
        let path = format!("/spinlet-test-{}-{name}", std::process::id());
        let cgroup = Self(Cgroup::at(layout, Some(Path::new(&path)), "unused").unwrap());
        cgroup.0.create(Some(&serde_json::from_value(resources.clone()).unwrap())).unwrap();
        cgroup
    }

    fn run(&self, script: &str) -> container::spawn::Child {
        let null = || {
            OwnedFd::from(
                std::fs::File::options().read(true).write(true).open("/dev/null").unwrap(),
            )
        };
        spawn(Program {
            path: "/bin/sh".into(),
            arguments: ["sh", "-c", script].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            descriptors: vec![(null(), 0), (null(), 1), (null(), 2)],
            entrance: Some(self.0.entrance().unwrap()),
            pid_namespace: PidNamespace::Inherit,
        })
        .unwrap()
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let _ = self.0.kill_all();
        let _ = self.0.remove();
    }
}

#[test]
fn a_process_is_born_in_its_cgroup_counted_frozen_and_killed_there() {
    let cgroup = OwnCgroup::new(
        "life",
        &json!({"memory": {"limit": 67_108_864}, "cpu": {"shares": 512, "quota": 20000, "period": 100_000},
            "pids": {"limit": 20}}),
    );
    let child = cgroup.run("while :; do :; done");
    assert_eq!(cgroup.0.pids().unwrap(), [child.pid()]);
    let stats = cgroup.0.stats();
    assert_eq!((stats.memory.limit, stats.pids.limit, stats.pids.current), (67_108_864, 20, 1));
    assert!(stats.memory.usage > 0);

    let error = cgroup.0.create(None).unwrap_err();
    assert!(error.to_string().contains("has processes in it already"), "{error}");

    cgroup.0.freeze().unwrap();
    let used = || cgroup.0.stats().cpu.usage;
    let frozen_at = used();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(used(), frozen_at);
    cgroup.0.thaw().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(used() > frozen_at);

    let update = json!({"memory": {"limit": 33_554_432}});
    cgroup.0.update(&serde_json::from_value(update).unwrap()).unwrap();
    assert_eq!(cgroup.0.stats().memory.limit, 33_554_432);

    cgroup.0.freeze().unwrap();
    cgroup.0.kill_all().unwrap();
    assert_eq!(child.wait().unwrap().code(), 137);
    cgroup.0.remove().unwrap();
    cgroup.0.remove().unwrap();
    assert!(cgroup.0.entrance().is_err());
}

#[test]
fn a_process_is_made_inside_a_version_2_cgroup_also_beside_version_1() {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let unified: Vec<&str> = mounts.lines().filter(|line| line.contains(" - cgroup2 ")).collect();
    assert!(!unified.is_empty(), "mount a version 2 hierarchy for this test");
    let own = fs_err::read_to_string("/proc/self/cgroup").unwrap();
    let layout = Layout::parse(&unified.join("\n"), &own).unwrap();
    let cgroup = OwnCgroup::of(&layout, "unified", &json!({}));
    let child = cgroup.run("exec sleep 100");
    assert_eq!(cgroup.0.pids().unwrap(), [child.pid()]);
    cgroup.0.kill_all().unwrap();
    assert_eq!(child.wait().unwrap().code(), 137);
}

#[test]
fn a_kill_for_want_of_memory_is_seen() {
    let cgroup = OwnCgroup::new("memory", &json!({"memory": {"limit": 8_388_608}}));
    let mut watch = cgroup.0.watch_oom().unwrap();
    // `tail` keeps what it reads until a line ends.
    let child = cgroup.run("exec tail /dev/zero");
    let exit = child.wait().unwrap();
    assert_eq!(exit.code(), 137);
    let mut poll = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut poll, Some(&limit)).unwrap(), 1, "nothing was told");
    assert_eq!(watch.new_kills().unwrap(), 1);
    assert_eq!(cgroup.0.stats().memory.oom_kills, 1);
}
