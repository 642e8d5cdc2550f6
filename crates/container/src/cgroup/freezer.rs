//! Letting a cgroup's processes stand still.

use std::path::Path;

use super::{Cgroup, CgroupError, Folders, stats, wait_until, write};

impl Cgroup {
    /// Stops all processes in it and waits, for at most 2 s, until they stand
    /// still. Blocks the thread.
    ///
    /// # Errors
    /// [`CgroupError::NotFrozen`] when they do not; they are let go again.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)?;
        let folder = self.freezer_folder()?;
        let frozen = || match &self.folders {
            Folders::V1(_) => fs_err::read_to_string(folder.join("freezer.state"))
                .is_ok_and(|state| state.trim() == "FROZEN"),
            Folders::V2(_) => stats::pairs(Some(folder), "cgroup.events").get("frozen") == Some(&1),
        };
        if wait_until(frozen) {
            return Ok(());
        }
        self.set_frozen(false)?;
        Err(CgroupError::NotFrozen(folder.to_owned()))
    }

    /// Lets all processes in it run on.
    ///
    /// # Errors
    /// Fails when there is no freezer controller or the cgroup does not exist.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let folder = self.freezer_folder()?;
        match (&self.folders, frozen) {
            (Folders::V1(_), true) => write(folder, "freezer.state", "FROZEN"),
            (Folders::V1(_), false) => write(folder, "freezer.state", "THAWED"),
            (Folders::V2(_), true) => write(folder, "cgroup.freeze", "1"),
            (Folders::V2(_), false) => write(folder, "cgroup.freeze", "0"),
        }
    }

    fn freezer_folder(&self) -> Result<&Path, CgroupError> {
        self.controller("freezer").ok_or_else(|| CgroupError::NoController {
            controller: "freezer".to_owned(),
            file: "freezer.state".to_owned(),
        })
    }
}
