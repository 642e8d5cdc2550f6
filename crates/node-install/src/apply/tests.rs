use std::collections::BTreeMap;
use std::path::PathBuf;

use fs_err as fs;
use tempfile::TempDir;

use super::*;
use crate::{CriError, Facts, Removal, RemovalError, Step, Version, plan, uninstall};

const CONFIG: &str = "/etc/containerd/config.toml";
const SHIM_PATH: &str = "/opt/spinlet/bin/containerd-shim-spin-v2";
const BEFORE: &str = "# mine\nversion = 2\n";

/// A containerd that answers as it is told, restart by restart.
struct Scripted {
    answers: Vec<Option<Vec<&'static str>>>,
    restarts: usize,
    runs_programs: bool,
}

impl Scripted {
    fn new(answers: &[Option<&[&'static str]>]) -> Self {
        let answers = answers.iter().map(|answer| answer.map(<[_]>::to_vec)).collect();
        Self { answers, restarts: 0, runs_programs: true }
    }
}

impl Containerd for Scripted {
    fn try_program(&mut self, program: &Path) -> Result<(), RestartError> {
        let command = program.display().to_string();
        let output = "exec format error".to_owned();
        if self.runs_programs { Ok(()) } else { Err(RestartError::Failed { command, output }) }
    }

    fn restart(&mut self, _: &Restart) -> Result<Vec<String>, RestartError> {
        let answer = self.answers.get(self.restarts).cloned().flatten();
        self.restarts += 1;
        let silent = || {
            RestartError::Silent(CriError::NotContainerd {
                name: "nothing".to_owned(),
                version: String::new(),
            })
        };
        let handlers = answer.ok_or_else(silent)?;
        Ok(handlers.into_iter().map(str::to_owned).collect())
    }
}

const WELL: Option<&[&str]> = Some(&["runc", "spin", "spin-v2"]);

struct Node {
    folder: TempDir,
    root: Root,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let node = Self { folder, root };
        node.write(CONFIG, BEFORE);
        node.write("/usr/lib/systemd/system/containerd.service", "");
        node
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.resolve(Path::new(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> Option<String> {
        self.root.read(Path::new(path)).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn facts(&self, handlers: &[&str]) -> Facts {
        let handlers = handlers.iter().map(|name| (*name).to_owned()).collect();
        Facts::read(&self.root, Version { major: 1, minor: 7 }, handlers).unwrap()
    }

    /// A shim to install, outside of the node.
    fn shim(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        file
    }

    fn install(&self, containerd: &mut Scripted) -> Result<Installed, InstallError> {
        let plan = plan(&self.facts(&["runc"])).unwrap();
        install(&self.root, &plan, Self::shim("shim").path(), containerd)
    }

    fn uninstall(&self, containerd: &mut Scripted) -> Result<Vec<Step>, RemovalError> {
        let removal = Removal::plan(&self.root, &self.facts(&[]))?;
        uninstall(&self.root, &removal, containerd)?;
        Ok(removal.steps)
    }

    /// Every file of the node with its content.
    fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

#[test]
fn an_installation_puts_everything_in_place_and_asks_containerd() {
    let node = Node::new();
    let mut containerd = Scripted::new(&[WELL]);
    let installed = node.install(&mut containerd).unwrap();
    assert_eq!(installed, Installed { program_changed: true, restarted: true });
    assert_eq!(node.read(SHIM_PATH).unwrap(), "shim");
    assert_eq!(node.root.attributes(Path::new(SHIM_PATH)).unwrap().unwrap().mode, 0o755);
    assert!(node.read(CONFIG).unwrap().contains("runtimes.spin-v2]"));
}

#[test]
fn an_uninstallation_leaves_every_file_as_it_was() {
    let node = Node::new();
    let before = node.snapshot();
    node.install(&mut Scripted::new(&[WELL])).unwrap();
    let steps = node.uninstall(&mut Scripted::new(&[WELL])).unwrap();
    assert_eq!(steps, [Step::Restore(CONFIG.into()), Step::Delete(SHIM_PATH.into())]);
    assert_eq!(node.snapshot(), before);
}

#[test]
fn a_containerd_that_does_not_come_back_gets_its_old_configuration() {
    let node = Node::new();
    let mut containerd = Scripted::new(&[None, Some(&["runc"])]);
    let error = node.install(&mut containerd).unwrap_err();
    assert!(matches!(error, InstallError::RolledBack(_)), "{error}");
    assert_eq!(node.read(CONFIG).unwrap(), BEFORE);
    assert_eq!(containerd.restarts, 2);
    assert_eq!(node.read(SHIM_PATH), None);
}

#[test]
fn handlers_that_containerd_does_not_know_are_a_failure() {
    let node = Node::new();
    let mut containerd = Scripted::new(&[Some(&["runc", "spin"]), Some(&["runc"])]);
    let error = node.install(&mut containerd).unwrap_err();
    assert!(matches!(error, InstallError::HandlerMissing("spin-v2")), "{error}");
    assert_eq!(node.read(CONFIG).unwrap(), BEFORE);
}

#[test]
fn a_containerd_that_is_down_for_good_is_said_to_be() {
    let node = Node::new();
    let error = node.install(&mut Scripted::new(&[None, None])).unwrap_err();
    assert!(matches!(error, InstallError::Down { .. }), "{error}");
    assert_eq!(node.read(CONFIG).unwrap(), BEFORE);
}

#[test]
fn a_new_shim_alone_restarts_nothing() {
    let node = Node::new();
    node.install(&mut Scripted::new(&[WELL])).unwrap();
    let plan = plan(&node.facts(&["runc", "spin", "spin-v2"])).unwrap();
    let mut containerd = Scripted::new(&[]);
    let newer = Node::shim("newer");
    let installed = install(&node.root, &plan, newer.path(), &mut containerd).unwrap();
    assert_eq!(installed, Installed { program_changed: true, restarted: false });
    assert_eq!((node.read(SHIM_PATH).unwrap().as_str(), containerd.restarts), ("newer", 0));
    let again = install(&node.root, &plan, newer.path(), &mut containerd).unwrap();
    assert!(!again.program_changed);
}

#[test]
fn a_node_whose_configuration_was_made_anew_is_repaired_and_still_restored() {
    let node = Node::new();
    node.install(&mut Scripted::new(&[WELL])).unwrap();
    node.write(CONFIG, BEFORE);
    node.install(&mut Scripted::new(&[WELL])).unwrap();
    assert!(node.read(CONFIG).unwrap().contains("runtimes.spin]"));
    node.uninstall(&mut Scripted::new(&[WELL])).unwrap();
    assert_eq!(node.read(CONFIG).unwrap(), BEFORE);
}

#[test]
fn changes_of_others_survive_an_uninstallation() {
    let node = Node::new();
    node.install(&mut Scripted::new(&[WELL])).unwrap();
    let edited = format!("{}\n[debug]\nlevel = \"info\"\n", node.read(CONFIG).unwrap());
    node.write(CONFIG, &edited);
    let steps = node.uninstall(&mut Scripted::new(&[WELL])).unwrap();
    assert!(matches!(&steps[0], Step::Edit { path, .. } if path == Path::new(CONFIG)), "{steps:?}");
    let left = node.read(CONFIG).unwrap();
    assert!(left.contains("[debug]") && !left.contains("spin"), "{left}");
}

#[test]
fn a_shim_of_somebody_else_comes_back() {
    let node = Node::new();
    node.write(SHIM_PATH, "theirs");
    node.install(&mut Scripted::new(&[WELL])).unwrap();
    node.uninstall(&mut Scripted::new(&[WELL])).unwrap();
    assert_eq!(node.read(SHIM_PATH).unwrap(), "theirs");
}

#[test]
fn a_node_without_an_installation_is_left_alone() {
    let node = Node::new();
    let before = node.snapshot();
    let mut containerd = Scripted::new(&[]);
    node.uninstall(&mut containerd).unwrap();
    assert_eq!((node.snapshot(), containerd.restarts), (before, 0));
}

#[test]
fn a_shim_that_the_node_cannot_run_is_not_left_there() {
    let node = Node::new();
    let before = node.snapshot();
    let mut containerd = Scripted { runs_programs: false, ..Scripted::new(&[]) };
    let error = node.install(&mut containerd).unwrap_err();
    assert!(matches!(error, InstallError::Program(_)), "{error}");
    assert_eq!((node.snapshot(), containerd.restarts), (before, 0));
}

#[test]
fn a_failed_upgrade_leaves_the_installation_and_its_way_back() {
    let node = Node::new();
    let before = node.snapshot();
    node.install(&mut Scripted::new(&[WELL])).unwrap();
    node.write(CONFIG, BEFORE);
    let error = node.install(&mut Scripted::new(&[None, Some(&["runc"])])).unwrap_err();
    assert!(matches!(error, InstallError::RolledBack(_)), "{error}");
    assert_eq!(
        (node.read(CONFIG).unwrap().as_str(), node.read(SHIM_PATH).is_some()),
        (BEFORE, true)
    );
    node.uninstall(&mut Scripted::new(&[WELL])).unwrap();
    assert_eq!(node.snapshot(), before);
}

#[test]
fn a_file_that_somebody_made_unreadable_is_left_and_said_to_be() {
    let node = Node::new();
    node.install(&mut Scripted::new(&[WELL])).unwrap();
    node.write(CONFIG, "not = [toml");
    let steps = node.uninstall(&mut Scripted::new(&[WELL])).unwrap();
    assert_eq!(steps[0], Step::Leave(CONFIG.into()));
    assert_eq!(node.read(CONFIG).unwrap(), "not = [toml");
}

#[test]
fn the_caches_of_the_shim_go_only_if_their_folder_came_with_it() {
    for (there, kept) in [(false, None), (true, Some("code".to_owned()))] {
        let node = Node::new();
        let state = node.root.resolve(Path::new("/var/lib/spinlet"));
        if there {
            fs::create_dir_all(&state).unwrap();
        }
        node.install(&mut Scripted::new(&[WELL])).unwrap();
        node.write("/var/lib/spinlet/cache/x", "code");
        node.uninstall(&mut Scripted::new(&[WELL])).unwrap();
        assert_eq!((node.read("/var/lib/spinlet/cache/x"), state.exists()), (kept, there));
    }
}
