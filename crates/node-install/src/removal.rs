//! Taking an installation back.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{self, Runtime};
use crate::content::Content;
use crate::journal::{Entry, Journal};
use crate::plan::is_of_systemd;
use crate::root::Attributes;
use crate::{Containerd, Facts, Restart, RestartError, Root, SHIM, template};

/// Where the shim keeps what can be made again.
const STATE: &str = "/var/lib/spinlet";

/// What happens to one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// It is byte for byte what it was before the installation.
    Restore(PathBuf),
    /// It was not there before, and is not any more.
    Delete(PathBuf),
    /// Somebody changed it meanwhile: only our part is taken out.
    Edit {
        /// The file.
        path: PathBuf,
        /// The whole content that it gets.
        text: String,
    },
    /// Somebody changed it meanwhile to something that cannot be edited.
    Leave(PathBuf),
}

/// What a removal does, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Every file that the installation wrote and that is still there.
    pub steps: Vec<Step>,
    /// How containerd forgets the handlers; none when it does not know them.
    pub restart: Option<Restart>,
}

/// A removal failed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// A file could not be read or written; the source names it.
    #[error("cannot change the node's files")]
    File(#[from] io::Error),
    /// Nothing that could be restarted.
    #[error(
        "containerd has to be restarted, but the node has none of the services that usually run \
         it; say how it is restarted (`spinlet uninstall --restart COMMAND`)"
    )]
    NoService,
    /// The removal could not restart containerd.
    #[error("the files are as before, but containerd could not be restarted")]
    Restart(#[source] RestartError),
}

impl Removal {
    /// Plans a removal; it is empty on a node without an installation.
    ///
    /// # Errors
    /// Fails when a file cannot be read, or containerd would have to be restarted
    /// and cannot be.
    pub fn plan(root: &Root, facts: &Facts) -> Result<Self, RemovalError> {
        let journal = Journal::read(root)?;
        let program = journal.entries.iter().find(|entry| is_program(entry));
        let program = program.map(|entry| entry.path.clone()).unwrap_or_default();
        // The configuration first: a handler must not point at nothing.
        let configuration = journal.entries.iter().filter(|entry| !is_program(entry));
        let ordered = configuration.chain(journal.entries.iter().filter(|entry| is_program(entry)));
        let steps = ordered.filter_map(|entry| step(root, entry, &program).transpose());
        let steps = steps.collect::<io::Result<Vec<_>>>()?;
        let restart = restart(&journal, facts)?;
        Ok(Self { steps, restart })
    }
}

fn is_program(entry: &Entry) -> bool {
    entry.path.file_name().is_some_and(|name| name == SHIM)
}

fn restart(journal: &Journal, facts: &Facts) -> Result<Option<Restart>, RemovalError> {
    let configuration = journal.entries.iter().filter(|entry| !is_program(entry));
    let paths: Vec<_> = configuration.map(|entry| entry.path.as_path()).collect();
    if paths.is_empty() {
        return Ok(None);
    }
    if paths.iter().any(|path| path.starts_with(crate::facts::K0S_DROP_INS)) {
        return Ok(Some(Restart::ByItself));
    }
    let service = facts.service.clone().ok_or(RemovalError::NoService)?;
    let reload = paths.iter().any(|path| is_of_systemd(path));
    Ok(Some(Restart::Service { service, reload }))
}

/// What happens to a file; nothing when it is gone already.
fn step(root: &Root, entry: &Entry, program: &Path) -> io::Result<Option<Step>> {
    let path = entry.path.clone();
    let Some(current) = root.digest(&path)? else { return Ok(None) };
    if current != entry.written && !is_program(entry) {
        return Ok(Some(match without_ours(root, &path, program)? {
            Some(text) => Step::Edit { path, text },
            None => Step::Leave(path),
        }));
    }
    Ok(Some(if entry.existed { Step::Restore(path) } else { Step::Delete(path) }))
}

/// A changed file without the handlers; none when it cannot be read as what it
/// was.
fn without_ours(root: &Root, path: &Path, program: &Path) -> io::Result<Option<String>> {
    let Some(text) = root.read(path)?.and_then(|text| String::from_utf8(text).ok()) else {
        return Ok(None);
    };
    if path.extension().is_some_and(|extension| extension == "tmpl") {
        return Ok(Some(template::without(&text)));
    }
    let Ok(mut document) = config::parse(&text) else { return Ok(None) };
    let program = program.display().to_string();
    config::remove(&mut document, &Runtime { program, replaces_default: false });
    Ok(Some(document.to_string()))
}

/// Takes an installation back: files that nobody changed since are then byte for
/// byte what they were, and folders that were made for them are gone, with the
/// shim's cache. Nothing may run under the handlers any more.
///
/// # Errors
/// Fails when a file cannot be written or containerd does not come back; may be
/// repeated then.
pub fn uninstall(
    root: &Root,
    removal: &Removal,
    containerd: &mut dyn Containerd,
) -> Result<(), RemovalError> {
    let journal = Journal::read(root)?;
    let is_program = |step: &&Step| step.path().file_name().is_some_and(|name| name == SHIM);
    for step in removal.steps.iter().filter(|step| !is_program(step)) {
        take(root, &journal, step)?;
    }
    if let Some(restart @ Restart::Service { .. }) = &removal.restart {
        containerd.restart(restart).map_err(RemovalError::Restart)?;
    }
    for step in removal.steps.iter().filter(is_program) {
        take(root, &journal, step)?;
    }
    let made_state = journal.folders.iter().any(|folder| folder == Path::new(STATE));
    journal.discard(root)?;
    if made_state {
        root.remove_all(Path::new(STATE))?;
    }
    Ok(())
}

fn take(root: &Root, journal: &Journal, step: &Step) -> io::Result<()> {
    match step {
        Step::Restore(path) | Step::Delete(path) => {
            journal.entry(path).map_or(Ok(()), |entry| Journal::restore(root, entry))
        }
        Step::Edit { path, text } => {
            let attributes = root.attributes(path)?.unwrap_or(Attributes::CONFIGURATION);
            root.replace(path, &mut Content::Text(text).open()?, attributes)
        }
        Step::Leave(_) => Ok(()),
    }
}

impl Step {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Restore(path)
            | Self::Delete(path)
            | Self::Leave(path)
            | Self::Edit { path, .. } => path,
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() && self.restart.is_none() {
            return write!(f, "  nothing: Spinlet is not installed on this node");
        }
        for step in &self.steps {
            let path = step.path().display();
            match step {
                Step::Restore(_) => writeln!(f, "  restore {path}, byte for byte")?,
                Step::Delete(_) => writeln!(f, "  delete {path}")?,
                Step::Edit { .. } => {
                    writeln!(f, "  take our part out of {path}, which was changed since")?;
                }
                Step::Leave(_) => {
                    writeln!(f, "  leave {path}: it was changed since and cannot be read")?;
                }
            }
        }
        match &self.restart {
            Some(Restart::Service { service, .. }) => {
                write!(f, "  restart containerd with {service}; pods keep running")
            }
            Some(Restart::ByItself) => write!(f, "  containerd is restarted by the distribution"),
            None => write!(f, "  leave containerd running"),
        }
    }
}
