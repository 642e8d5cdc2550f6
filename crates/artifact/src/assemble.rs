//! From an OCI image to an artifact: all three generations.

use std::collections::BTreeMap;

use app::manifest::Manifest;
use app::{ContentRef, Digest, LockedApp, LockedComponent, LockedFile, LockedSource, Problems};

use crate::artifact::{Artifact, ComponentContent, FileContent, FileEntry};
use crate::blob::Blob;
use crate::error::{ArtifactError, within};
use crate::oci::{Descriptor, ImageManifest, ManifestError};
use crate::wasm::{self, NotWasm, WasmKind};
use crate::{limits, media_type};

/// Any error, as the sources of blobs raise them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where the blobs of an image come from.
pub trait BlobSource {
    /// The blob that `descriptor` refers to, with its digest and size as the
    /// promise. It need not be verified yet.
    ///
    /// # Errors
    ///
    /// When the source does not have the blob or cannot be reached.
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, BoxError>;
}

impl<T: BlobSource + ?Sized> BlobSource for &T {
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, BoxError> {
        (**self).blob(descriptor)
    }
}

/// An image as its manifest tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The reference it was asked for by.
    pub reference: Option<String>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: ImageManifest,
}

impl Image {
    /// The image whose manifest is `json`.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] when the manifest is broken or beyond a limit.
    pub fn parse(reference: Option<&str>, json: &[u8]) -> Result<Self, ManifestError> {
        let manifest = ImageManifest::parse(json)?;
        Ok(Self { reference: reference.map(str::to_owned), digest: Digest::of(json), manifest })
    }
}

/// What an image is, by its manifest.
enum Generation<'a> {
    /// A Spin app; the descriptor is that of its locked app.
    App(&'a Descriptor),
    /// A package: one component without an app around it.
    Package(&'a Descriptor),
}

/// Turns an image into an artifact. Of the blobs, only Wasm, archives and what the
/// app's components need are asked for; only the locked app is read, and of Wasm
/// its first bytes: native code in any Wasm layer is refused.
///
/// `Ok(None)` means that the image is not a Spin app and not a Wasm package: an
/// ordinary image, whose root filesystem may still have a `/spin.toml`.
///
/// # Errors
///
/// [`ArtifactError`]; everything that does not fit is listed at once.
pub fn assemble(image: &Image, source: &dyn BlobSource) -> Result<Option<Artifact>, ArtifactError> {
    let generation = generation(&image.manifest, source)?;
    let assembly = Assembly::new(&image.manifest, source)?;
    let (app, components) = match generation {
        None => return Ok(None),
        Some(Generation::App(descriptor)) => {
            let app = locked_app(descriptor, source)?;
            let components = assembly.components(&app)?;
            (app, components)
        }
        Some(Generation::Package(layer)) => assembly.package(image, layer)?,
    };
    Ok(Some(with_origin(image, app, components, assembly.archives)))
}

/// The app of an image by itself: only its configuration and its locked app are
/// asked for, and nothing tells whether the rest of the image is usable.
///
/// # Errors
///
/// [`ArtifactError`], and `Ok(None)` as for [`assemble`].
pub fn read_app(
    image: &Image,
    source: &dyn BlobSource,
) -> Result<Option<LockedApp>, ArtifactError> {
    match generation(&image.manifest, source)? {
        None => Ok(None),
        Some(Generation::App(descriptor)) => locked_app(descriptor, source).map(Some),
        Some(Generation::Package(layer)) => Ok(Some(package_app(image, layer))),
    }
}

/// Tells what an image is; none for ordinary images.
fn generation<'a>(
    manifest: &'a ImageManifest,
    source: &dyn BlobSource,
) -> Result<Option<Generation<'a>>, ArtifactError> {
    if let Some(layer) =
        manifest.layers.iter().rev().find(|layer| layer.media_type == media_type::SPIN_APP)
    {
        return Ok(Some(Generation::App(layer)));
    }
    let config = &manifest.config;
    if config.media_type == media_type::SPIN_APP {
        return Ok(Some(Generation::App(config)));
    }
    let is_package = config.media_type == media_type::WASM_PACKAGE_CONFIG
        || manifest.layers.iter().any(|layer| media_type::is_wasm(&layer.media_type));
    if !is_package {
        return Ok(None);
    }
    // What counts is not the type of the document but what it says.
    if config.size <= limits::CONFIG_BYTES {
        let json = fetch(config, source)?.read_verified(limits::CONFIG_BYTES)?;
        if LockedApp::is_locked_app(&json) {
            return Ok(Some(Generation::App(config)));
        }
    }
    match manifest.layers.as_slice() {
        [layer] => Ok(Some(Generation::Package(layer))),
        layers => Err(ArtifactError::LayerCount { found: layers.len() }),
    }
}

fn fetch(descriptor: &Descriptor, source: &dyn BlobSource) -> Result<Blob, ArtifactError> {
    source.blob(descriptor).map_err(|source| ArtifactError::Fetch {
        digest: descriptor.digest,
        media_type: descriptor.media_type.clone(),
        source,
    })
}

fn locked_app(
    descriptor: &Descriptor,
    source: &dyn BlobSource,
) -> Result<LockedApp, ArtifactError> {
    let json = fetch(descriptor, source)?.read_verified(limits::LOCKED_APP_BYTES)?;
    let app = LockedApp::from_json(&json)
        .map_err(|source| ArtifactError::LockedApp { digest: descriptor.digest, source })?;
    within("components of the app", app.components.len() as u64, limits::COMPONENTS as u64)?;
    within("triggers of the app", app.triggers.len() as u64, limits::TRIGGERS as u64)?;
    for component in &app.components {
        let what = format!("files of component {:?}", component.id);
        within(what, component.files.len() as u64, limits::FILES as u64)?;
    }
    Ok(app)
}

fn with_origin(
    image: &Image,
    mut app: LockedApp,
    components: BTreeMap<String, ComponentContent>,
    archives: Vec<Blob>,
) -> Artifact {
    app.metadata.origin = image
        .reference
        .as_ref()
        .map(|reference| format!("vnd.fermyon.origin-oci:{reference}"))
        .or(app.metadata.origin);
    Artifact {
        app,
        reference: image.reference.clone(),
        image: Some(image.digest),
        components,
        archives,
    }
}

/// The layers of an image, ready to be looked up.
struct Assembly<'a> {
    source: &'a dyn BlobSource,
    layers: BTreeMap<Digest, &'a Descriptor>,
    /// Those of a Wasm type; none of them is native code.
    wasm: BTreeMap<Digest, Blob>,
    archives: Vec<Blob>,
}

impl<'a> Assembly<'a> {
    fn new(manifest: &'a ImageManifest, source: &'a dyn BlobSource) -> Result<Self, ArtifactError> {
        let mut layers = BTreeMap::new();
        let mut wasm = BTreeMap::new();
        let mut archives = Vec::new();
        let mut problems = Problems::default();
        for layer in &manifest.layers {
            if layer.media_type == media_type::ARCHIVE_LAYER {
                within(
                    format!("bytes of archive layer {}", layer.digest),
                    layer.size,
                    limits::ARCHIVE_BYTES,
                )?;
                archives.push(fetch(layer, source)?);
                continue;
            }
            layers.insert(layer.digest, layer);
            if media_type::is_wasm(&layer.media_type) {
                within(format!("bytes of layer {}", layer.digest), layer.size, limits::WASM_BYTES)?;
                let blob = fetch(layer, source)?;
                if let Err(refusal @ NotWasm::NativeCode) = wasm::kind_of(&blob)? {
                    problems.push(format!("layer {} is refused: {refusal}", layer.digest));
                }
                wasm.insert(layer.digest, blob);
            }
        }
        let assembly = Self { source, layers, wasm, archives };
        problems.into_result(assembly).map_err(ArtifactError::Invalid)
    }

    /// The content of every component, or everything that is wrong with it.
    fn components(
        &self,
        app: &LockedApp,
    ) -> Result<BTreeMap<String, ComponentContent>, ArtifactError> {
        let mut problems = Problems::default();
        let mut components = BTreeMap::new();
        for component in &app.components {
            if let Some(content) = self.component(component, &mut problems)? {
                components.insert(component.id.clone(), content);
            }
        }
        problems.into_result(components).map_err(ArtifactError::Invalid)
    }

    fn component(
        &self,
        component: &LockedComponent,
        problems: &mut Problems,
    ) -> Result<Option<ComponentContent>, ArtifactError> {
        let id = &component.id;
        let wasm = self.wasm(&component.source, &format!("component {id:?}"), problems)?;
        let mut dependencies = BTreeMap::new();
        for (name, dependency) in &component.dependencies {
            let what = format!("dependency {name:?} of component {id:?}");
            if let Some((blob, _)) = self.wasm(&dependency.source, &what, problems)? {
                dependencies.insert(name.clone(), blob);
            }
        }
        let mut trigger_dependencies = BTreeMap::new();
        for (role, dependencies) in &component.trigger_dependencies {
            let mut blobs = Vec::with_capacity(dependencies.len());
            for dependency in dependencies {
                let what = format!("{role} of component {id:?}");
                let blob = self.wasm(&dependency.source, &what, problems)?;
                blobs.extend(blob.map(|(blob, _)| blob));
            }
            trigger_dependencies.insert(role.clone(), blobs);
        }
        let mut files = Vec::with_capacity(component.files.len());
        for file in &component.files {
            let what = format!("file {:?} of component {id:?}", file.path);
            files.extend(self.file(file, &what, problems)?);
        }
        Ok(wasm.map(|(wasm, kind)| ComponentContent {
            wasm,
            kind,
            dependencies,
            trigger_dependencies,
            files,
            mounts: Vec::new(),
        }))
    }

    /// The Wasm of a component, by its digest; small ones are inline as well.
    fn wasm(
        &self,
        source: &LockedSource,
        what: &str,
        problems: &mut Problems,
    ) -> Result<Option<(Blob, WasmKind)>, ArtifactError> {
        let content = &source.content;
        let layer = content.digest.and_then(|digest| self.layers.get(&digest));
        let blob = if let Some(layer) = layer {
            within(format!("bytes of {what}"), layer.size, limits::WASM_BYTES)?;
            match self.wasm.get(&layer.digest) {
                Some(blob) => blob.clone(),
                None => fetch(layer, self.source)?,
            }
        } else if let Some(blob) = inline(content, what, problems) {
            blob
        } else {
            problems.push(missing(what, content));
            return Ok(None);
        };
        match wasm::kind_of(&blob)? {
            Ok(kind) => Ok(Some((blob, kind))),
            Err(refusal) => {
                problems.push(format!("{what}: blob {} is refused: {refusal}", blob.digest()));
                Ok(None)
            }
        }
    }

    /// The content of a file: inline, a layer, or by its digest in an archive.
    fn file(
        &self,
        file: &LockedFile,
        what: &str,
        problems: &mut Problems,
    ) -> Result<Option<FileEntry>, ArtifactError> {
        let content = &file.content;
        let entry =
            |digest, content| Ok(Some(FileEntry { path: file.path.clone(), digest, content }));
        if let Some(blob) = inline(content, what, problems) {
            return entry(blob.digest(), FileContent::Blob(blob));
        }
        let layer = content.digest.and_then(|digest| self.layers.get(&digest));
        match (content.digest, layer) {
            (Some(digest), Some(layer)) => {
                within(format!("bytes of {what}"), layer.size, limits::FILE_BYTES)?;
                entry(digest, FileContent::Blob(fetch(layer, self.source)?))
            }
            (Some(digest), None) if !self.archives.is_empty() => {
                entry(digest, FileContent::Archived)
            }
            _ => {
                problems.push(missing(what, content));
                Ok(None)
            }
        }
    }

    /// The app around a package: one component that answers every HTTP request.
    fn package(
        &self,
        image: &Image,
        layer: &Descriptor,
    ) -> Result<(LockedApp, BTreeMap<String, ComponentContent>), ArtifactError> {
        let app = package_app(image, layer);
        let components = self.components(&app)?;
        Ok((app, components))
    }
}

/// The inline content of a reference, if its bytes are what its digest says.
fn inline(content: &ContentRef, what: &str, problems: &mut Problems) -> Option<Blob> {
    let blob = Blob::from_bytes(content.inline.clone()?);
    match content.digest {
        Some(digest) if digest != blob.digest() => {
            problems.push(format!(
                "{what}: its inline content has the digest {} where {digest} was promised",
                blob.digest()
            ));
        }
        _ => {}
    }
    Some(blob)
}

fn missing(what: &str, content: &ContentRef) -> String {
    match (&content.digest, &content.source) {
        (Some(digest), _) => format!("{what}: the image has no layer {digest}"),
        (None, Some(source)) => {
            format!("{what}: it refers to {source:?}, which is not part of the image")
        }
        (None, None) => format!("{what}: it has no content"),
    }
}

/// The app around a package.
fn package_app(image: &Image, layer: &Descriptor) -> LockedApp {
    let source =
        LockedSource::wasm(ContentRef { digest: Some(layer.digest), ..ContentRef::default() });
    Manifest::single_component(&package_name(image)).lock(|_, _| (source.clone(), Vec::new()))
}

/// A name for the app around a package.
fn package_name(image: &Image) -> String {
    let title = image.manifest.annotations.get("org.opencontainers.image.title");
    let reference = || {
        let path = image.reference.as_deref()?.rsplit('/').next()?;
        path.split(['@', ':']).next()
    };
    title.map(String::as_str).or_else(reference).unwrap_or("package").to_owned()
}

#[cfg(test)]
mod tests;
