//! Where an app keeps its default key-value store and its default database.

use std::path::{Path, PathBuf};

use control::{AppSource, RunSpec};
use host::StateDir;

/// The folder that Spin uses, in the folder of an app or of a container.
const FOLDER: &str = ".spin";

/// The folder that was asked for; otherwise `/.spin` of the container, or `.spin`
/// beside a manifest, if it can be written; otherwise nothing is kept beyond the
/// end of the app. Looks at nothing: a container need not have been entered.
pub fn choose(asked: Option<PathBuf>, spec: &RunSpec) -> StateDir {
    if let Some(folder) = asked {
        return StateDir::Folder(folder);
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
            choose(None, &spec(manifest(), false)),
            StateDir::IfWritable("/apps/shop/.spin".into())
        );
        assert_eq!(choose(None, &spec(manifest(), true)), StateDir::IfWritable("/.spin".into()));
    }

    #[test]
    fn an_app_without_a_folder_keeps_nothing_unless_it_is_told_where() {
        let layout = || spec(AppSource::Layout("/images/shop.tar".into()), false);
        assert_eq!(choose(None, &layout()), StateDir::Memory);
        let asked = StateDir::Folder("/state".into());
        assert_eq!(choose(Some("/state".into()), &layout()), asked);
    }
}
