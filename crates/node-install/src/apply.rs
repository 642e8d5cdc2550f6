//! Carrying out a plan, taking it back when it goes wrong, and removal.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::{self, Runtime};
use crate::journal::{self, Entry, Journal};
use crate::{Containerd, Facts, HANDLERS, Plan, RestartError, Root, template};

const EXECUTABLE: u32 = 0o755;
const CONFIGURATION: u32 = 0o644;

/// What an installation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Whether the shim is another one than before.
    pub program_changed: bool,
    /// Whether containerd was restarted.
    pub restarted: bool,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Files that are as they were before the installation.
    pub restored: Vec<PathBuf>,
    /// Files that somebody changed meanwhile: only our part was taken out.
    pub edited: Vec<PathBuf>,
}

/// An installation or removal failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file could not be read or written; the source names it.
    #[error("cannot change the node's files")]
    File(#[from] io::Error),
    /// containerd did not come back, and runs again as before.
    #[error("containerd did not accept the new configuration; everything is as it was before")]
    RolledBack(#[source] RestartError),
    /// containerd runs again but does not know the handlers.
    #[error(
        "containerd runs but does not know the handler {0}; everything is as it was before. Does \
         it read another configuration?"
    )]
    HandlerMissing(&'static str),
    /// containerd came back neither with the new nor with the old configuration.
    #[error(
        "containerd does not run, also not with its former configuration, which is in place \
         again; see `journalctl -u {unit}`"
    )]
    Down {
        /// Its service.
        unit: String,
        /// Why it could not be restarted.
        #[source]
        source: RestartError,
    },
    /// The removal could not restart containerd.
    #[error("the files are as before, but containerd could not be restarted")]
    Restart(#[source] RestartError),
}

/// Carries out a plan: the program first, so that a handler never points at
/// nothing; then the configuration; then containerd is restarted and asked.
///
/// May be repeated: what is right already is left alone.
///
/// # Errors
/// Fails when a file cannot be written or containerd does not come back with the
/// handlers; the configuration is then as it was before.
pub fn install(
    root: &Root,
    plan: &Plan,
    program: &[u8],
    containerd: &mut dyn Containerd,
) -> Result<Installed, InstallError> {
    let mut journal = Journal::read(root)?;
    let program_changed = root.read(&plan.program)?.as_deref() != Some(program);
    if program_changed {
        journal.note(root, &plan.program, program, EXECUTABLE)?;
        root.replace(&plan.program, program, EXECUTABLE)?;
    }
    let before = plan.write.as_ref().map(|write| root.read(&write.path)).transpose()?.flatten();
    if let Some(write) = &plan.write {
        let mode = before.as_ref().map_or(Ok(CONFIGURATION), |_| root.mode(&write.path))?;
        journal.note(root, &write.path, write.text.as_bytes(), mode)?;
        root.replace(&write.path, write.text.as_bytes(), mode)?;
    }
    let Some(unit) = &plan.restart else {
        return Ok(Installed { program_changed, restarted: false });
    };
    let failure = match containerd.restart(unit) {
        Ok(handlers) => match missing(&handlers) {
            None => return Ok(Installed { program_changed, restarted: true }),
            Some(handler) => InstallError::HandlerMissing(handler),
        },
        Err(error) => InstallError::RolledBack(error),
    };
    roll_back(root, plan, before, containerd, unit)?;
    Err(failure)
}

fn missing(handlers: &[String]) -> Option<&'static str> {
    HANDLERS.into_iter().find(|name| !handlers.iter().any(|handler| handler == name))
}

fn roll_back(
    root: &Root,
    plan: &Plan,
    before: Option<Vec<u8>>,
    containerd: &mut dyn Containerd,
    unit: &str,
) -> Result<(), InstallError> {
    if let Some(write) = &plan.write {
        match before {
            Some(content) => {
                let mode = root.mode(&write.path)?;
                root.replace(&write.path, &content, mode)?;
            }
            None => {
                root.remove(&write.path)?;
            }
        }
        let mut journal = Journal::read(root)?;
        if journal.entry(&write.path).is_some_and(|entry| {
            // An older installation's file stays in the journal.
            entry.written == journal::digest(write.text.as_bytes())
        }) {
            journal.entries.retain(|entry| entry.path != write.path);
            journal.write(root)?;
        }
    }
    let restarted = containerd.restart(unit);
    restarted.map(|_| ()).map_err(|source| InstallError::Down { unit: unit.to_owned(), source })
}

/// Takes an installation back. Files that nobody changed since are then byte for
/// byte what they were; from others only our part is removed. A node without an
/// installation is left alone.
///
/// # Errors
/// Fails when a file cannot be written or containerd does not come back.
pub fn uninstall(
    root: &Root,
    facts: &Facts,
    containerd: &mut dyn Containerd,
) -> Result<Removed, InstallError> {
    let journal = Journal::read(root)?;
    let mut removed = Removed { restored: Vec::new(), edited: Vec::new() };
    let program = Path::new(facts.distribution.program_folder()).join(crate::SHIM);
    // The configuration first: a handler must not point at nothing.
    let configuration = journal.entries.iter().filter(|entry| entry.path != program);
    let mut configured = false;
    for entry in configuration {
        configured = true;
        take_back(root, entry, &program, &mut removed)?;
    }
    if configured && let Some(unit) = facts.units.first() {
        containerd.restart(unit).map_err(InstallError::Restart)?;
    }
    if let Some(entry) = journal.entry(&program) {
        take_back(root, entry, &program, &mut removed)?;
    }
    if let Some(folder) = program.parent().filter(|folder| folder.starts_with("/opt/spinlet")) {
        root.remove_empty(folder);
        root.remove_empty(Path::new("/opt/spinlet"));
    }
    journal.discard(root)?;
    Ok(removed)
}

fn take_back(
    root: &Root,
    entry: &Entry,
    program: &Path,
    removed: &mut Removed,
) -> Result<(), InstallError> {
    let Some(current) = root.read(&entry.path)? else { return Ok(()) };
    let path = entry.path.clone();
    if journal::digest(&current) != entry.written && path != program {
        if let Some(edited) = without_ours(&path, &current, program) {
            root.replace(&path, edited.as_bytes(), root.mode(&path)?)?;
            removed.edited.push(path);
        }
        return Ok(());
    }
    match Journal::original(root, entry)? {
        Some(original) => root.replace(&path, &original, entry.mode)?,
        None => {
            root.remove(&path)?;
        }
    }
    removed.restored.push(path);
    Ok(())
}

/// A changed file without the handlers; none when it cannot be read as what it
/// was.
fn without_ours(path: &Path, current: &[u8], program: &Path) -> Option<String> {
    let text = std::str::from_utf8(current).ok()?;
    if path.extension().is_some_and(|extension| extension == "tmpl") {
        return Some(template::without(text));
    }
    let mut document = config::parse(text).ok()?;
    config::remove(&mut document, &Runtime { program: program.display().to_string() });
    Some(document.to_string())
}

#[cfg(test)]
mod tests;
