//! Where the app comes from.

use std::path::Path;

use artifact::layout::Layout;
use artifact::{Artifact, assemble, local};
use content_store::{Location, artifact_of};
use control::AppSource;
use wasm_download::fetch;

use crate::RuntimeError;

/// The app of a source that can be read from outside the container; none for an
/// ordinary image, whose root filesystem may still have one.
///
/// # Errors
/// The source cannot be read, or what it holds cannot be used.
pub async fn resolve(source: &AppSource) -> Result<Option<Artifact>, RuntimeError> {
    match source {
        AppSource::Containerd { address, namespace, container, root } => {
            let location = Location { address, namespace, container, root: root.as_deref() };
            Ok(artifact_of(location).await?)
        }
        AppSource::Layout(path) => {
            let layout = Layout::open(path)?;
            let image = layout.image(None)?;
            assemble(&image, &layout)
                .map_err(|source| RuntimeError::Image { layout: path.clone(), source })
        }
        AppSource::Manifest(path) => Ok(Some(local::load(path, Some(&fetch))?)),
        AppSource::Wasm(path) => Ok(Some(local::load_wasm(path)?)),
    }
}

/// The app of `/spin.toml`, once the container's root filesystem is `/`.
///
/// # Errors
/// The manifest cannot be used.
pub fn of_root_filesystem() -> Result<Option<Artifact>, RuntimeError> {
    Ok(local::load_rootfs(Path::new("/"), Some(&fetch))?)
}
