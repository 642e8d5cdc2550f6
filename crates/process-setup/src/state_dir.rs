//! Where a process keeps what outlives it: unpacked programs and the cache of
//! compiled code.

use std::path::{Path, PathBuf};

use crate::Environment;

/// The variable that names the state directory.
const VARIABLE: &str = "SPINLET_STATE_DIR";
/// The state directory of processes that run as root.
const OF_ROOT: &str = "/var/lib/spinlet";

/// No usable state directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateDirError {
    /// `SPINLET_STATE_DIR` is not an absolute path.
    #[error("SPINLET_STATE_DIR is {0:?}, expected an absolute path")]
    NotAbsolute(PathBuf),
    /// Not root, and no home to fall back to.
    #[error(
        "no state directory: set SPINLET_STATE_DIR, XDG_CACHE_HOME or HOME to an absolute path"
    )]
    NoHome,
}

/// The state directory: `SPINLET_STATE_DIR`; else `/var/lib/spinlet` for root;
/// else `$XDG_CACHE_HOME/spinlet` or `$HOME/.cache/spinlet`. Always absolute;
/// nothing is created.
///
/// # Errors
/// Fails when `SPINLET_STATE_DIR` is not absolute, and when a user other than
/// root has neither `XDG_CACHE_HOME` nor `HOME`.
pub fn state_dir(environment: &Environment) -> Result<PathBuf, StateDirError> {
    state_dir_of(environment, rustix::process::geteuid().is_root())
}

fn state_dir_of(environment: &Environment, root: bool) -> Result<PathBuf, StateDirError> {
    if let Some(path) = environment.raw(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if path.is_absolute() { Ok(path) } else { Err(StateDirError::NotAbsolute(path)) };
    }
    if root {
        return Ok(OF_ROOT.into());
    }
    // The XDG specification: a relative value is to be ignored.
    let absolute = |name| environment.raw(name).map(Path::new).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .map(Path::to_path_buf)
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("spinlet"))
        .ok_or(StateDirError::NoHome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(pairs: &[(&str, &str)], root: bool) -> Result<PathBuf, StateDirError> {
        state_dir_of(&pairs.iter().copied().collect(), root)
    }

    #[test]
    fn the_variable_comes_first() {
        let pairs = [("SPINLET_STATE_DIR", "/srv/state"), ("HOME", "/home/a")];
        assert_eq!(resolve(&pairs, true), Ok("/srv/state".into()));
        assert_eq!(resolve(&pairs, false), Ok("/srv/state".into()));
    }

    #[test]
    fn a_relative_state_directory_is_refused() {
        let pairs = [("SPINLET_STATE_DIR", "state")];
        assert_eq!(resolve(&pairs, true), Err(StateDirError::NotAbsolute("state".into())));
    }

    #[test]
    fn root_and_users_have_their_own_default() {
        let home = ("HOME", "/home/a");
        assert_eq!(resolve(&[home], true), Ok("/var/lib/spinlet".into()));
        assert_eq!(resolve(&[home], false), Ok("/home/a/.cache/spinlet".into()));
        assert_eq!(resolve(&[home, ("XDG_CACHE_HOME", "/c")], false), Ok("/c/spinlet".into()));
        assert_eq!(
            resolve(&[home, ("XDG_CACHE_HOME", "c")], false),
            Ok("/home/a/.cache/spinlet".into())
        );
    }

    #[test]
    fn a_user_without_a_home_is_told_what_to_set() {
        assert_eq!(resolve(&[], false), Err(StateDirError::NoHome));
    }
}
