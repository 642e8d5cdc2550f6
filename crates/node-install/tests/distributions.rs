//! Nodes of every distribution, as recorded file trees: what an installation
//! makes of them, byte for byte, and that nothing is left of it when it is taken
//! back or containerd refuses it.
//!
//! A record in `distributions/` names containerd's version, where the shim goes
//! and how containerd is restarted; then the files of the node before, those that
//! are written, or the reason for which nothing is.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on ends where it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;
use node_install::{
    Containerd, Facts, InstallError, Plan, Removal, Restart, RestartError, Root, Service, Version,
};
use tempfile::TempDir;

/// What a node can be; a record of its own shows each.
const KINDS: &[&str] = &[
    "aks",
    "aks-v4",
    "bottlerocket",
    "docker",
    "eks-al2",
    "eks-al2023",
    "flatcar",
    "gardener",
    "gardener-1.7",
    "gke-cos",
    "gke-ubuntu",
    "k0s",
    "k3d",
    "k3s",
    "k3s-agent-1.7",
    "k3s-drop-ins",
    "kind",
    "kubeadm",
    "kubespray",
    "microk8s",
    "minikube",
    "no-file",
    "rke2",
    "talos",
];

type Files = BTreeMap<PathBuf, String>;

#[derive(Debug, Default)]
struct Record {
    name: String,
    containerd: String,
    shim: String,
    restart: String,
    before: Files,
    after: Files,
    refused: Option<String>,
}

impl Record {
    fn parse(name: String, text: &str) -> Self {
        let mut record = Self { name, ..Self::default() };
        let mut sections = text.split_inclusive('\n').peekable();
        while let Some(line) = sections.next_if(|line| !line.starts_with("-- ")) {
            match line.trim_end().split_once(": ") {
                Some(("containerd", value)) => value.clone_into(&mut record.containerd),
                Some(("shim", value)) => value.clone_into(&mut record.shim),
                Some(("restart", value)) => value.clone_into(&mut record.restart),
                _ => assert!(line.starts_with('#'), "{}: {line}", record.name),
            }
        }
        while let Some(title) = sections.next() {
            let mut content = String::new();
            while let Some(line) = sections.next_if(|line| !line.starts_with("-- ")) {
                content += line;
            }
            let title = title.trim().trim_matches('-').trim();
            match title.split_once(' ') {
                Some(("before", path)) => record.before.insert(path.into(), content),
                Some(("after", path)) => record.after.insert(path.into(), content),
                _ => {
                    record.refused = Some(content.trim().to_owned());
                    None
                }
            };
        }
        record
    }

    fn version(&self) -> Version {
        Version::parse(&self.containerd).expect("a version of containerd")
    }
}

fn records() -> Vec<Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/distributions");
    let files = fs::read_dir(folder).expect("the records are there");
    let records = files.map(|file| {
        let path = file.expect("a folder can be read").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Record::parse(name, &fs::read_to_string(path).expect("a record is text"))
    });
    records.collect()
}

/// A node with the files of a record.
struct Node {
    folder: TempDir,
    root: Root,
    shim: PathBuf,
}

impl Node {
    fn new(record: &Record) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("node");
        for (path, text) in &record.before {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let shim = folder.path().join("shim");
        fs::write(&shim, "the shim").expect("a file");
        Self { root: Root::new(tree), folder, shim }
    }

    fn facts(&self, record: &Record, handlers: &[&str]) -> Facts {
        let handlers = handlers.iter().map(|name| (*name).to_owned()).collect();
        Facts::read(&self.root, record.version(), handlers).expect("the node can be read")
    }

    fn plan(&self, record: &Record) -> Plan {
        let plan = node_install::plan(&self.facts(record, &["runc"]));
        plan.unwrap_or_else(|error| panic!("{}: {error}", record.name))
    }

    fn install(&self, plan: &Plan, log: &mut Log) -> Result<(), InstallError> {
        node_install::install(&self.root, plan, &self.shim, log).map(|_| ())
    }

    /// Every file and folder.
    fn files(&self) -> BTreeMap<PathBuf, Option<String>> {
        let tree = self.folder.path().join("node");
        let mut found = BTreeMap::new();
        let mut folders = vec![tree.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder can be read") {
                let path = entry.expect("a folder can be read").path();
                let relative = path.strip_prefix(&tree).expect("a path in the tree").to_owned();
                if path.is_dir() {
                    folders.push(path);
                    found.insert(relative, None);
                } else {
                    found.insert(relative, Some(fs::read_to_string(path).expect("text")));
                }
            }
        }
        found
    }
}

/// Writes down what a node is told to do, and answers as a containerd that does,
/// or does not, take the configuration.
#[derive(Default)]
struct Log {
    refuses: bool,
    programs: Vec<PathBuf>,
    restarts: Vec<String>,
}

impl Containerd for Log {
    fn try_program(&mut self, program: &Path) -> Result<(), RestartError> {
        self.programs.push(program.to_owned());
        Ok(())
    }

    fn restart(&mut self, restart: &Restart) -> Result<Vec<String>, RestartError> {
        self.restarts.push(match restart {
            Restart::Service { service: Service::Unit(name), reload } => {
                let reload = if *reload { "systemctl daemon-reload; " } else { "" };
                format!("{reload}systemctl restart {name}")
            }
            Restart::Service { service: Service::Command(words), .. } => words.join(" "),
            Restart::ByItself => "by itself".to_owned(),
        });
        let known: &[&str] = if self.refuses { &["runc"] } else { &["runc", "spin", "spin-v2"] };
        Ok(known.iter().map(|name| (*name).to_owned()).collect())
    }
}

fn installable() -> Vec<Record> {
    records().into_iter().filter(|record| record.refused.is_none()).collect()
}

#[test]
fn every_kind_of_node_has_a_record() {
    let found: BTreeSet<_> = records().into_iter().map(|record| record.name).collect();
    assert_eq!(found, KINDS.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn an_installation_writes_what_is_recorded_and_nothing_else() {
    for record in installable() {
        let node = Node::new(&record);
        let mut log = Log::default();
        node.install(&node.plan(&record), &mut log)
            .unwrap_or_else(|error| panic!("{}: {error}", record.name));
        assert_eq!(log.restarts, [record.restart.as_str()], "{}", record.name);
        assert_eq!(log.programs, [Path::new(&record.shim)], "{}", record.name);

        let mut expected = record.before.clone();
        expected.extend(record.after.clone());
        expected.insert(record.shim.trim_start_matches('/').into(), "the shim".to_owned());
        let files = node.files().into_iter().filter_map(|(path, text)| Some((path, text?)));
        let files: Files = files.filter(|(path, _)| !path.starts_with("var/lib/spinlet")).collect();
        assert_eq!(files, expected, "{}", record.name);
    }
}

#[test]
fn a_second_installation_has_nothing_to_do() {
    for record in installable() {
        let node = Node::new(&record);
        node.install(&node.plan(&record), &mut Log::default()).expect("an installation");
        let facts = node.facts(&record, &["runc", "spin", "spin-v2"]);
        let plan = node_install::plan(&facts).expect("a plan");
        assert_eq!((plan.writes, plan.restart), (Vec::new(), None), "{}", record.name);
    }
}

#[test]
fn an_uninstallation_leaves_files_and_folders_as_they_were() {
    for record in installable() {
        let node = Node::new(&record);
        let before = node.files();
        node.install(&node.plan(&record), &mut Log::default()).expect("an installation");
        let facts = node.facts(&record, &["runc", "spin", "spin-v2"]);
        let removal = Removal::plan(&node.root, &facts).expect("a plan");
        let mut log = Log::default();
        node_install::uninstall(&node.root, &removal, &mut log).expect("an uninstallation");
        assert_eq!(node.files(), before, "{}", record.name);
        let restarts = if record.restart == "by itself" { vec![] } else { vec![record.restart] };
        assert_eq!(log.restarts, restarts, "{}", record.name);
    }
}

#[test]
fn a_containerd_that_refuses_gets_back_what_it_had() {
    for record in installable() {
        let node = Node::new(&record);
        let before = node.files();
        let mut log = Log { refuses: true, ..Log::default() };
        let error = node.install(&node.plan(&record), &mut log).expect_err("it refuses");
        assert!(matches!(error, InstallError::HandlerMissing("spin")), "{}: {error}", record.name);
        assert_eq!(node.files(), before, "{}", record.name);
    }
}

#[test]
fn a_node_that_takes_no_runtime_says_what_to_do_instead() {
    for record in records() {
        let Some(reason) = &record.refused else { continue };
        let node = Node::new(&record);
        let error = node_install::plan(&node.facts(&record, &["runc"])).expect_err("a refusal");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let said = format!("{error}: {}", source.unwrap_or_default());
        assert!(said.contains(reason.as_str()), "{}: {said}", record.name);
    }
}
