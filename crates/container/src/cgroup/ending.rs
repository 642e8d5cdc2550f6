//! The end of a cgroup: of its processes, then of its folders.

use std::io::ErrorKind;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::{Cgroup, CgroupError, Folders, is_gone, wait_until, write};

impl Cgroup {
    /// Kills every process in it, frozen or not, and waits, for at most 2 s,
    /// until none is left. One that does not exist has none. Blocks the thread.
    ///
    /// # Errors
    /// [`CgroupError::NotKilled`] when some are left.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        let at_once = match &self.folders {
            Folders::V2(folder) => write(&folder.path, "cgroup.kill", "1").is_ok(),
            Folders::V1(_) => false,
        };
        let mut failure = None;
        let empty = wait_until(|| match self.pids() {
            Ok(pids) if pids.is_empty() => true,
            Ok(pids) => {
                if !at_once {
                    pids.iter().filter_map(|pid| Pid::from_raw(*pid)).for_each(|pid| {
                        // One that has ended meanwhile is what is wanted.
                        let _ = kill_process(pid, Signal::KILL);
                    });
                    // The frozen do not die.
                    let _ = self.thaw();
                }
                false
            }
            Err(error) => {
                failure = Some(error);
                true
            }
        });
        match failure {
            Some(error) => Err(error),
            None if empty => Ok(()),
            None => Err(CgroupError::NotKilled {
                path: self.process_folder().to_owned(),
                left: self.pids()?.len(),
            }),
        }
    }

    /// Removes it, with empty cgroups below it. Waits, for at most 2 s, while the
    /// kernel still finds it busy. One that does not exist is removed already.
    /// Blocks the thread.
    ///
    /// # Errors
    /// Fails when processes are left in it.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut result = Ok(());
        for folder in self.all() {
            let mut last = None;
            let removed = wait_until(|| match remove_tree(&folder.path) {
                Ok(()) => true,
                Err(error) => {
                    // EBUSY: a process that is about to be gone.
                    let over = error.kind() != ErrorKind::ResourceBusy;
                    last = Some(error);
                    over
                }
            });
            if let Some(source) = last.filter(|_| !removed || folder.path.exists()) {
                result = Err(CgroupError::Remove { path: folder.path.clone(), source });
            }
        }
        result
    }
}

fn remove_tree(folder: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(folder) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}
