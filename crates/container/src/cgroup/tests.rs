use super::*;

/// A version 2 hierarchy made of ordinary files.
struct Fake {
    folder: tempfile::TempDir,
    cgroup: Cgroup,
}

impl Fake {
    fn v2() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounts = format!("1 1 0:1 / {} rw - cgroup2 none rw", folder.path().display());
        let layout = Layout::parse(&mounts, "0::/").unwrap();
        let cgroup = Cgroup::at(&layout, Some(Path::new("/pod/c1")), "c1").unwrap();
        fs_err::create_dir_all(folder.path().join("pod/c1")).unwrap();
        Self { folder, cgroup }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("pod/c1").join(name)
    }
}

#[test]
fn limits_are_written_to_their_files() {
    let fake = Fake::v2();
    for file in ["memory.max", "pids.max", "cgroup.procs"] {
        fs_err::write(fake.file(file), "").unwrap();
    }
    let resources = serde_json::json!({"memory": {"limit": 9}, "pids": {"limit": 3}});
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    fake.cgroup.create(Some(&resources)).unwrap();
    assert_eq!(fs_err::read_to_string(fake.file("memory.max")).unwrap(), "9");
    assert_eq!(fs_err::read_to_string(fake.file("pids.max")).unwrap(), "3");
}

#[test]
fn a_limit_without_its_controller_is_an_error_that_names_it() {
    let fake = Fake::v2();
    let resources = serde_json::json!({"pids": {"limit": 3}});
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    let error = fake.cgroup.create(Some(&resources)).unwrap_err();
    assert_eq!(error.to_string(), "cannot set pids.max: the pids controller is not available");
    assert!(!fake.folder.path().join("pod/c1").exists(), "removed again");
}

#[test]
fn a_cgroup_with_processes_in_it_is_not_taken_over() {
    let fake = Fake::v2();
    fs_err::write(fake.file("cgroup.procs"), "17\n").unwrap();
    let error = fake.cgroup.create(None).unwrap_err();
    assert!(matches!(error, CgroupError::Populated(_)));
    assert!(fake.file("cgroup.procs").exists(), "left alone");
}

#[test]
fn a_cgroup_that_does_not_exist_has_no_processes_and_is_removed_already() {
    let fake = Fake::v2();
    fs_err::remove_dir(fake.folder.path().join("pod/c1")).unwrap();
    assert_eq!(fake.cgroup.pids().unwrap(), Vec::<i32>::new());
    fake.cgroup.kill_all().unwrap();
    fake.cgroup.remove().unwrap();
}

#[test]
fn a_cgroup_that_goes_while_it_is_read_is_gone_and_one_that_is_busy_is_not() {
    assert!(is_gone(&Errno::NODEV.into()), "removed after its file was opened");
    assert!(is_gone(&Errno::NOENT.into()));
    assert!(!is_gone(&Errno::BUSY.into()));
}

#[test]
fn a_list_of_processes_that_cannot_be_read_is_named() {
    let fake = Fake::v2();
    fs_err::create_dir(fake.file("cgroup.procs")).unwrap();
    let error = fake.cgroup.pids().unwrap_err();
    assert!(error.to_string().ends_with("pod/c1/cgroup.procs"), "{error}");
}

#[test]
fn out_of_memory_kills_are_counted_once() {
    let fake = Fake::v2();
    fs_err::write(fake.file("memory.events"), "oom_kill 1\n").unwrap();
    let mut watch = fake.cgroup.watch_oom().unwrap();
    assert_eq!(watch.new_kills().unwrap(), 0, "what happened before does not count");
    fs_err::write(fake.file("memory.events"), "oom_kill 3\n").unwrap();
    assert_eq!(watch.new_kills().unwrap(), 2);
    assert_eq!(watch.new_kills().unwrap(), 0);
}
