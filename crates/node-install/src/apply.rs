//! Carrying out a plan, and taking it back when it goes wrong.

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::content::Content;
use crate::journal::Journal;
use crate::root::Attributes;
use crate::service::know_ours;
use crate::{Containerd, HANDLERS, Plan, Restart, RestartError, Root};

/// What an installation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// Whether the shim is another one than before.
    pub program_changed: bool,
    /// Whether containerd was restarted.
    pub restarted: bool,
}

/// An installation failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file could not be read or written; the source names it.
    #[error("cannot change the node's files")]
    File(#[from] io::Error),
    /// The node cannot run the shim.
    #[error(
        "the node cannot run the shim; nothing was changed. Is it built for this processor, and \
         may programs be started from that folder?"
    )]
    Program(#[source] RestartError),
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
         again; see its own log"
    )]
    Down(#[source] RestartError),
}

/// Carries out a plan: the program first, so that a handler never points at
/// nothing; then the configuration; then containerd is restarted and asked.
///
/// May be repeated: what is right already is left alone. `program` is the shim, a
/// file of this process's file system; it is read as a stream.
///
/// # Errors
/// Fails when a file cannot be written, the shim does not start, or containerd
/// does not come back with the handlers. The configuration is then as it was
/// before, and so is everything else unless an earlier installation is there.
pub fn install(
    root: &Root,
    plan: &Plan,
    program: &Path,
    containerd: &mut dyn Containerd,
) -> Result<Installed, InstallError> {
    let mut journal = Journal::read(root)?;
    let first = journal.entries.is_empty();
    let program_changed = put_program(root, plan, program, &mut journal)?;
    if let (true, Some(path)) = (program_changed, &plan.program)
        && let Err(error) = containerd.try_program(path)
    {
        if first {
            take_everything_back(root)?;
        }
        return Err(InstallError::Program(error));
    }
    let before = plan.writes.iter().map(|write| root.read(&write.path));
    let before = before.collect::<io::Result<Vec<_>>>()?;
    for write in &plan.writes {
        let content = Content::Text(&write.text);
        journal.replace(root, &write.path, content, Attributes::CONFIGURATION)?;
    }
    let Some(restart) = &plan.restart else {
        return Ok(Installed { program_changed, restarted: false });
    };
    let failure = match containerd.restart(restart) {
        Ok(handlers) if know_ours(&handlers) => {
            return Ok(Installed { program_changed, restarted: true });
        }
        Ok(handlers) => InstallError::HandlerMissing(missing(&handlers)),
        Err(error) => InstallError::RolledBack(error),
    };
    roll_back(root, plan, before, journal, restart, containerd)?;
    if first {
        take_everything_back(root)?;
    }
    Err(failure)
}

/// Puts the shim in place, and says whether it is another one than before.
fn put_program(
    root: &Root,
    plan: &Plan,
    program: &Path,
    journal: &mut Journal,
) -> io::Result<bool> {
    let Some(path) = &plan.program else { return Ok(false) };
    let content = Content::File(program);
    if root.digest(path)? == Some(content.digest()?) {
        return Ok(false);
    }
    journal.replace(root, path, content, Attributes::EXECUTABLE)?;
    Ok(true)
}

fn missing(handlers: &[String]) -> &'static str {
    let mut missing = HANDLERS.into_iter().filter(|name| !handlers.iter().any(|it| it == name));
    missing.next().unwrap_or_default()
}

/// The configuration as it was before this run, and containerd with it.
fn roll_back(
    root: &Root,
    plan: &Plan,
    before: Vec<Option<Vec<u8>>>,
    mut journal: Journal,
    restart: &Restart,
    containerd: &mut dyn Containerd,
) -> Result<(), InstallError> {
    for (write, before) in plan.writes.iter().zip(before) {
        let attributes = root.attributes(&write.path)?.unwrap_or(Attributes::CONFIGURATION);
        match before {
            Some(content) => root.replace(&write.path, &mut content.as_slice(), attributes)?,
            None => {
                root.remove(&write.path)?;
            }
        }
        let now = root.digest(&write.path)?;
        if let Some(entry) = journal.entries.iter_mut().find(|entry| entry.path == write.path) {
            entry.written = now.unwrap_or_default();
        }
    }
    journal.write(root)?;
    // Whoever notices changes by itself notices this one, too.
    if matches!(restart, Restart::ByItself) {
        return Ok(());
    }
    containerd.restart(restart).map(|_| ()).map_err(InstallError::Down)
}

/// A first installation that failed leaves nothing.
fn take_everything_back(root: &Root) -> Result<(), InstallError> {
    let journal = Journal::read(root)?;
    for entry in &journal.entries {
        Journal::restore(root, entry)?;
    }
    Ok(journal.discard(root)?)
}

#[cfg(test)]
mod tests;
