//! Where an app keeps its default key-value store and its default database.

use std::path::{Path, PathBuf};

use control::{AppSource, RunSpec};
use key_value::Location;
use runtime_config::Folder;

/// Where an app keeps its default key-value store and its default database.
///
/// Nothing is made there before a guest uses one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StateDir {
    /// Nowhere: they are in memory, and lost when the app ends.
    #[default]
    Memory,
    /// In this folder if it can be written, otherwise in memory, with a warning.
    IfWritable(PathBuf),
    /// In this folder; that it cannot be written is an error of the call that
    /// needs it.
    Folder(PathBuf),
}

impl StateDir {
    /// Where a database is whose file has this name.
    pub fn location(&self, file: &str) -> Location {
        match self {
            Self::Memory => Location::Memory,
            Self::IfWritable(folder) => Location::FileIfWritable(folder.join(file)),
            Self::Folder(folder) => Location::File(folder.join(file)),
        }
    }
}

/// The folder that Spin uses, in the folder of an app or of a container.
const FOLDER: &str = ".spin";

/// The folder that the environment asks for, otherwise the one of the runtime
/// configuration; otherwise `/.spin` of the container, or `.spin`
/// beside a manifest, if it can be written; otherwise nothing is kept beyond the
/// end of the app. Looks at nothing: a container need not have been entered.
pub fn choose(asked: Option<PathBuf>, configured: Option<&Folder>, spec: &RunSpec) -> StateDir {
    if let Some(folder) = asked {
        return StateDir::Folder(folder);
    }
    match configured {
        Some(Folder::Nowhere) => return StateDir::Memory,
        Some(Folder::At(folder)) => return StateDir::Folder(folder.clone()),
        None => {}
    }
    match (&spec.sandbox, &spec.app) {
        (Some(_), _) => StateDir::IfWritable(Path::new("/").join(FOLDER)),
        (None, AppSource::Manifest(path)) => StateDir::IfWritable(path.with_file_name(FOLDER)),
        (None, _) => StateDir::Memory,
    }
}

#[cfg(test)]
mod tests {
    use control::Sandbox;

    use super::*;

    fn spec(app: AppSource, in_container: bool) -> RunSpec {
        let sandbox = Sandbox { bundle: "/bundle".into(), rootfs: Vec::new() };
        RunSpec {
            id: "app".to_owned(),
            app,
            cache_dir: "/cache".into(),
            first_tier: false,
            environment: std::collections::BTreeMap::new(),
            args: Vec::new(),
            default_listen: "127.0.0.1:0".to_owned(),
            sandbox: in_container.then_some(sandbox),
        }
    }

    #[test]
    fn a_manifest_has_its_folder_and_a_container_its_own() {
        let manifest = || AppSource::Manifest("/apps/shop/spin.toml".into());
        assert_eq!(
            choose(None, None, &spec(manifest(), false)),
            StateDir::IfWritable("/apps/shop/.spin".into())
        );
        assert_eq!(
            choose(None, None, &spec(manifest(), true)),
            StateDir::IfWritable("/.spin".into())
        );
    }

    #[test]
    fn an_app_without_a_folder_keeps_nothing_unless_it_is_told_where() {
        let layout = || spec(AppSource::Layout("/images/shop.tar".into()), false);
        assert_eq!(choose(None, None, &layout()), StateDir::Memory);
        let asked = StateDir::Folder("/state".into());
        assert_eq!(choose(Some("/state".into()), None, &layout()), asked);
    }

    #[test]
    fn the_environment_wins_over_the_runtime_configuration() {
        let spec = spec(AppSource::Manifest("/apps/shop/spin.toml".into()), false);
        let configured = Folder::At("/configured".into());
        let chosen = choose(None, Some(&configured), &spec);
        assert_eq!(chosen, StateDir::Folder("/configured".into()));
        assert_eq!(choose(None, Some(&Folder::Nowhere), &spec), StateDir::Memory);
        let asked = Some("/asked".into());
        assert_eq!(choose(asked, Some(&configured), &spec), StateDir::Folder("/asked".into()));
    }
}
