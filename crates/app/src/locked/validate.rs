//! The rules a locked app must keep before any string of it touches a path.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use super::{LockedApp, LockedComponent};
use crate::Problems;
use crate::template::{Template, check_variable_name};

/// The longest name of one file or folder, in bytes, that file systems accept.
const MAX_NAME_BYTES: usize = 255;
/// The longest path of a file, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// How many folders deep a file may be.
const MAX_PATH_DEPTH: usize = 64;

/// A path that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?} {reason}")]
pub struct FilePathError {
    path: String,
    reason: &'static str,
}

/// Checks that `path` is relative, stays below its root, and fits a file system:
/// only normal components (no `.`, no `..`, no empty ones), at most 1024 bytes,
/// 255 bytes a name and 64 components, no NUL.
///
/// # Errors
///
/// [`FilePathError`] with the rule that is broken.
pub fn check_file_path(path: &str) -> Result<(), FilePathError> {
    let refused = |reason| {
        let path = path.chars().take(200).collect();
        Err(FilePathError { path, reason })
    };
    if path.is_empty() {
        return refused("is empty");
    }
    if path.contains('\0') {
        return refused("contains a NUL character");
    }
    if path.len() > MAX_PATH_BYTES {
        return refused("is longer than 1024 bytes");
    }
    if path.starts_with('/') {
        return refused("is absolute");
    }
    let mut depth = 0;
    for name in path.split('/') {
        depth += 1;
        if name.len() > MAX_NAME_BYTES {
            return refused("has a name longer than 255 bytes");
        }
        if name.is_empty() || name == "." || name == ".." {
            return refused("must consist of normal names only, without `.`, `..` or empty ones");
        }
    }
    if depth > MAX_PATH_DEPTH {
        return refused("is more than 64 folders deep");
    }
    // The standard library's opinion counts as well: it is what joins paths.
    if Path::new(path).components().any(|part| !matches!(part, Component::Normal(_))) {
        return refused("must consist of normal names only");
    }
    Ok(())
}

/// Notes every broken rule of `app`.
pub(super) fn validate(app: &LockedApp, problems: &mut Problems) {
    for name in app.variables.keys() {
        problems.extend(check_variable_name(name).err().map(|error| error.to_string()));
    }
    let mut ids = BTreeSet::new();
    for component in &app.components {
        let id = &component.id;
        if id.contains('/') || check_file_path(id).is_err() || id.chars().any(char::is_control) {
            problems.push(format!("component id {id:?} must be a plain name"));
        }
        if !ids.insert(id) {
            problems.push(format!("component id {id:?} is used twice"));
        }
        for name in component.config.keys() {
            if let Err(error) = check_variable_name(name) {
                problems.push(format!("component {id:?}: {error}"));
            }
        }
        for name in component.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                problems.push(format!(
                    "component {id:?}: {name:?} cannot name an environment variable"
                ));
            }
        }
        files(component, problems);
    }
    for trigger in &app.triggers {
        if let Some(component) = trigger.component()
            && app.component(component).is_none()
        {
            problems.push(format!(
                "{} trigger {:?} names component {component:?}, which does not exist",
                trigger.trigger_type, trigger.id
            ));
        }
    }
}

/// Notes bad paths, and files that would have to be folders at the same time.
fn files(component: &LockedComponent, problems: &mut Problems) {
    let id = &component.id;
    let mut paths = BTreeSet::new();
    for file in &component.files {
        match check_file_path(&file.path) {
            Ok(()) => {
                paths.insert(file.path.as_str());
            }
            Err(error) => problems.push(format!("component {id:?}: file {error}")),
        }
    }
    for path in &paths {
        let ancestor = path
            .match_indices('/')
            .filter_map(|(end, _)| path.get(..end))
            .find(|ancestor| paths.contains(ancestor));
        if let Some(ancestor) = ancestor {
            problems.push(format!("component {id:?}: {ancestor:?} is both a file and a folder"));
        }
    }
}

/// Notes the templates of `component` that cannot be resolved.
pub(super) fn templates(app: &LockedApp, component: &LockedComponent, problems: &mut Problems) {
    for (name, text) in &component.config {
        let at = || format!("variable {name:?} of component {:?}", component.id);
        match Template::parse(text) {
            Err(error) => problems.push(format!("{}: {error}", at())),
            Ok(template) => {
                for variable in template.variables() {
                    if !app.variables.contains_key(variable) {
                        problems
                            .push(format!("{}: the app declares no variable {variable:?}", at()));
                    }
                }
            }
        }
    }
}
