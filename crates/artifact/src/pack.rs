//! From an artifact to an OCI image, in the format of `spin registry push`.
//!
//! Layers are, per component, its Wasm, the Wasm of what it is to be composed with,
//! and its files (or one archive of them), without duplicates, and last the locked
//! app. Files of at most
//! [`INLINE_BYTES`] are written into the locked app instead of a layer.

mod annotations;
mod archive;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::SystemTime;

use app::{ContentRef, LockedApp, LockedComponent, LockedFile, LockedSource, Problems};

use crate::artifact::{Artifact, ComponentContent, FileContent};
use crate::blob::{Blob, BlobError};
use crate::media_type;
use crate::oci::{ContainerConfig, Descriptor, ImageConfig, ImageManifest, RootFilesystem};

/// Content up to this size is written into the locked app.
pub const INLINE_BYTES: u64 = 128;
/// The most layers that registries accept.
pub const MAX_LAYERS: usize = 500;
/// The label that carries the digest of the locked app, which makes the
/// configurations, and with them the image ids, of different apps differ.
const LOCKED_APP_LABEL: &str = "com.fermyon.spin.lockedAppDigest";

/// How an image is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the files of each component become one archive layer; they do
    /// anyway when the image would have more than [`MAX_LAYERS`] layers.
    pub archive: bool,
    /// Whether authors, title, description, version and time become annotations.
    pub infer_annotations: bool,
    /// Further annotations, which win over inferred ones.
    pub annotations: BTreeMap<String, String>,
    /// The time that the image says it was made at.
    pub created: SystemTime,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            archive: false,
            infer_annotations: true,
            annotations: BTreeMap::new(),
            created: SystemTime::now(),
        }
    }
}

/// An image, ready to be pushed or written.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Its manifest.
    pub manifest: ImageManifest,
    /// The manifest's bytes, which must be pushed exactly as they are.
    pub manifest_json: Blob,
    /// The configuration and the layers, in the manifest's order, each once.
    pub blobs: Vec<(Descriptor, Blob)>,
}

impl Packed {
    /// The digest that the image is pulled by.
    pub fn digest(&self) -> app::Digest {
        self.manifest_json.digest()
    }
}

/// Why an artifact cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The app has parts that cannot be packed; all of them are listed.
    #[error("the app cannot be packed: {0}")]
    Unsupported(Problems),
    /// Content cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// An archive cannot be written.
    #[error("cannot write the archive of the files of component {component:?}")]
    Archive {
        /// The component.
        component: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The image would have too many layers even with archives.
    #[error("the image would have {found} layers; registries accept {MAX_LAYERS}")]
    TooManyLayers {
        /// How many.
        found: usize,
    },
    /// A document cannot be written.
    #[error("cannot write the image's documents")]
    Json(#[from] serde_json::Error),
}

/// Packs an artifact that was loaded from local files.
///
/// # Errors
///
/// [`PackError`].
pub fn pack(artifact: &Artifact, options: &Options) -> Result<Packed, PackError> {
    check(artifact)?;
    let mut layers = Layers::collect(artifact, options.archive)?;
    if !options.archive && layers.blobs.len() >= MAX_LAYERS {
        layers = Layers::collect(artifact, true)?;
    }
    if layers.blobs.len() >= MAX_LAYERS {
        return Err(PackError::TooManyLayers { found: layers.blobs.len() + 1 });
    }
    finish(layers, options)
}

/// Refuses what cannot be packed.
fn check(artifact: &Artifact) -> Result<(), PackError> {
    let mut problems = Problems::default();
    for component in &artifact.app.components {
        let id = &component.id;
        let Some(content) = artifact.components.get(id) else {
            problems.push(format!("component {id:?} has no content"));
            continue;
        };
        if !content.mounts.is_empty() {
            problems.push(format!(
                "component {id:?} mounts folders directly; load the app with its files copied"
            ));
        }
        if content.files.iter().any(|file| matches!(file.content, FileContent::Archived)) {
            problems.push(format!(
                "component {id:?} has its files in an archive layer; copy the image as it is \
                 instead of packing it again"
            ));
        }
    }
    problems.into_result(()).map_err(PackError::Unsupported)
}

/// The layers of an image without the last one, and the app they belong to.
struct Layers {
    app: LockedApp,
    blobs: Vec<(Descriptor, Blob)>,
    seen: BTreeSet<app::Digest>,
}

impl Layers {
    fn collect(artifact: &Artifact, archive: bool) -> Result<Self, PackError> {
        let mut app = artifact.app.clone();
        app.metadata.origin = None;
        let mut layers = Self { app, blobs: Vec::new(), seen: BTreeSet::new() };
        let mut components = std::mem::take(&mut layers.app.components);
        for component in &mut components {
            let Some(content) = artifact.components.get(&component.id) else { continue };
            layers.push(media_type::WASM_LAYER, &content.wasm);
            component.source = LockedSource::wasm(content_ref(&content.wasm)?);
            layers.dependencies(component, content)?;
            component.files = layers.files(&component.id, content, archive)?;
        }
        layers.app.components = components;
        Ok(layers)
    }

    /// Adds a layer unless the image has its content already.
    fn push(&mut self, media_type: &str, blob: &Blob) {
        if self.seen.insert(blob.digest()) {
            let descriptor = Descriptor::new(media_type, blob.digest(), blob.size());
            self.blobs.push((descriptor, blob.clone()));
        }
    }

    /// Adds what a component is to be composed with.
    fn dependencies(
        &mut self,
        component: &mut LockedComponent,
        content: &ComponentContent,
    ) -> Result<(), PackError> {
        let named = component.dependencies.iter_mut();
        let named = named
            .filter_map(|(name, dependency)| Some((dependency, content.dependencies.get(name)?)));
        let of_trigger = component.trigger_dependencies.iter_mut();
        let of_trigger = of_trigger.flat_map(|(role, dependencies)| {
            let blobs = content.trigger_dependencies.get(role).into_iter().flatten();
            dependencies.iter_mut().zip(blobs)
        });
        for (dependency, blob) in named.chain(of_trigger) {
            self.push(media_type::WASM_LAYER, blob);
            dependency.source = LockedSource::wasm(content_ref(blob)?);
        }
        Ok(())
    }

    /// Adds the files of a component; gives back what the locked app says of them.
    fn files(
        &mut self,
        id: &str,
        content: &ComponentContent,
        archive: bool,
    ) -> Result<Vec<LockedFile>, PackError> {
        let files: BTreeMap<&str, &Blob> = content
            .files
            .iter()
            .filter_map(|file| match &file.content {
                FileContent::Blob(blob) => Some((file.path.as_str(), blob)),
                FileContent::Archived => None,
            })
            .collect();
        if archive && !files.is_empty() {
            let blob = archive::write(id, &files)?;
            self.push(media_type::ARCHIVE_LAYER, &blob);
        }
        let mut locked = Vec::with_capacity(files.len());
        for (path, blob) in files {
            let content = content_ref(blob)?;
            if !archive && content.inline.is_none() {
                self.push(media_type::DATA_LAYER, blob);
            }
            locked.push(LockedFile { content, path: path.to_owned() });
        }
        Ok(locked)
    }
}

/// A reference by digest, with the content itself where that is small.
fn content_ref(blob: &Blob) -> Result<ContentRef, BlobError> {
    let inline =
        if blob.size() <= INLINE_BYTES { Some(blob.read_verified(INLINE_BYTES)?) } else { None };
    Ok(ContentRef { source: None, inline, digest: Some(blob.digest()) })
}

/// Adds the locked app, the configuration and the manifest.
fn finish(mut layers: Layers, options: &Options) -> Result<Packed, PackError> {
    let locked = Blob::from_bytes(layers.app.to_json()?);
    layers.push(media_type::SPIN_APP, &locked);
    let config = ImageConfig {
        architecture: "wasm".to_owned(),
        os: "wasip1".to_owned(),
        config: ContainerConfig {
            labels: BTreeMap::from([(LOCKED_APP_LABEL.to_owned(), locked.digest().to_string())]),
            ..ContainerConfig::default()
        },
        rootfs: RootFilesystem::default(),
        history: Vec::new(),
    };
    let config = Blob::from_bytes(serde_json::to_vec(&config)?);
    let config_descriptor =
        Descriptor::new(media_type::IMAGE_CONFIG, config.digest(), config.size());
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: None,
        config: config_descriptor.clone(),
        layers: layers.blobs.iter().map(|(descriptor, _)| descriptor.clone()).collect(),
        annotations: annotations::of(&layers.app, options),
    };
    let manifest_json = Blob::from_bytes(serde_json::to_vec(&manifest)?);
    let mut blobs = vec![(config_descriptor, config)];
    blobs.extend(layers.blobs);
    Ok(Packed { manifest, manifest_json, blobs })
}

#[cfg(test)]
mod tests;
