//! Apps in local files: a `spin.toml`, a bare `.wasm`, or `/spin.toml` in the root
//! filesystem of an ordinary image.

mod base;
mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use app::manifest::{Component, Dependency, DependencySource, Manifest, ManifestError, Source};
use app::{ContentRef, LockedFile, LockedSource, Problems};

use self::base::Base;
use crate::artifact::{Artifact, ComponentContent};
use crate::assemble::BoxError;
use crate::blob::Blob;
use crate::limits;
use crate::wasm::{self, WasmKind};

/// The usual name of a manifest.
pub const MANIFEST_NAME: &str = "spin.toml";

/// Fetches Wasm that a manifest names by URL or package.
pub type Resolver<'a> = &'a dyn Fn(&Source) -> Result<Blob, BoxError>;

/// Why a local app cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is larger than a manifest can be.
    #[error("{} is larger than the {} bytes allowed", path.display(), limits::SPIN_TOML_BYTES)]
    TooLarge {
        /// The manifest.
        path: PathBuf,
    },
    /// The manifest is broken.
    #[error("the manifest {} is not valid", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The manifest names Wasm that would have to be fetched.
    #[error(
        "the manifest {} refers to Wasm elsewhere, which is not fetched here: {sources}; download \
         the files and name them by path",
        path.display()
    )]
    Remote {
        /// The manifest.
        path: PathBuf,
        /// What it refers to.
        sources: Problems,
    },
    /// What the manifest names cannot be used; everything that is wrong is listed.
    #[error("the app {} cannot be loaded: {problems}", path.display())]
    Invalid {
        /// The manifest or Wasm file.
        path: PathBuf,
        /// What is wrong.
        problems: Problems,
    },
}

/// Loads the app of a `spin.toml`, or of a folder with one. Files are matched and
/// hashed now; a file that changes before it is used makes its use fail.
///
/// # Errors
///
/// [`LocalError`]. Without a `resolver`, sources that are not paths are
/// [`LocalError::Remote`].
pub fn load(path: &Path, resolver: Option<Resolver<'_>>) -> Result<Artifact, LocalError> {
    let path = if path.is_dir() { path.join(MANIFEST_NAME) } else { path.to_owned() };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let base = Base::Folder(folder.to_owned());
    let text = fs_err::File::open(&path)
        .and_then(base::read_manifest)
        .map_err(|source| LocalError::Read { path: path.clone(), source })?;
    Loader { path, base, resolver, problems: Problems::default(), remote: Problems::default() }
        .load(&text)
}

/// Loads the app of `/spin.toml` in the root filesystem at `root`; none if there
/// is no such file. Nothing outside `root` is reached, whatever links the image
/// brings. Folders are mounted as they are; single files, patterns and
/// `exclude_files` are errors.
///
/// # Errors
///
/// [`LocalError`], as for [`load`].
pub fn load_rootfs(
    root: &Path,
    resolver: Option<Resolver<'_>>,
) -> Result<Option<Artifact>, LocalError> {
    let path = root.join(MANIFEST_NAME);
    let failed = |source| LocalError::Read { path: path.clone(), source };
    let base = Base::rootfs(root).map_err(failed)?;
    let file = match base.open_file(MANIFEST_NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let text = base::read_manifest(file).map_err(failed)?;
    Loader { path, base, resolver, problems: Problems::default(), remote: Problems::default() }
        .load(&text)
        .map(Some)
}

/// Makes an app of one `.wasm` file: it answers every HTTP request.
///
/// # Errors
///
/// [`LocalError`] when the file cannot be read or is not Wasm.
pub fn load_wasm(path: &Path) -> Result<Artifact, LocalError> {
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut manifest = Manifest::single_component(name.as_deref().unwrap_or("component"));
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    for component in manifest.components.values_mut() {
        component.source = Source::Path(file.clone().unwrap_or_default());
    }
    Loader {
        path: path.to_owned(),
        base: Base::Folder(folder),
        resolver: None,
        problems: Problems::default(),
        remote: Problems::default(),
    }
    .build(&manifest)
}

/// Loads one manifest, noting everything that is wrong.
struct Loader<'a> {
    path: PathBuf,
    base: Base,
    resolver: Option<Resolver<'a>>,
    problems: Problems,
    remote: Problems,
}

impl Loader<'_> {
    fn load(self, text: &[u8]) -> Result<Artifact, LocalError> {
        if text.len() as u64 > limits::SPIN_TOML_BYTES {
            return Err(LocalError::TooLarge { path: self.path });
        }
        match Manifest::parse(text) {
            Ok(manifest) => self.build(&manifest),
            Err(source) => Err(LocalError::Manifest { path: self.path, source }),
        }
    }

    fn build(mut self, manifest: &Manifest) -> Result<Artifact, LocalError> {
        let mut components = BTreeMap::new();
        for (id, component) in &manifest.components {
            if let Some(content) = self.component(manifest, id, component) {
                components.insert(id.clone(), content);
            }
        }
        let Self { path, problems, remote, .. } = self;
        if !remote.is_empty() {
            return Err(LocalError::Remote { path, sources: remote });
        }
        if !problems.is_empty() {
            return Err(LocalError::Invalid { path, problems });
        }
        let mut app = manifest.lock(|id, _| locked_content(&components, id));
        for component in &mut app.components {
            let Some(content) = components.get(&component.id) else { continue };
            for (name, dependency) in &mut component.dependencies {
                dependency.source = LockedSource::wasm(by_digest(content.dependencies.get(name)));
            }
            for (role, dependencies) in &mut component.trigger_dependencies {
                let blobs = content.trigger_dependencies.get(role).into_iter().flatten();
                for (dependency, blob) in dependencies.iter_mut().zip(blobs) {
                    dependency.source = LockedSource::wasm(by_digest(Some(blob)));
                }
            }
        }
        app.metadata.origin = Some(format!("file://{}", path.display()));
        Ok(Artifact { app, reference: None, image: None, components, archives: Vec::new() })
    }

    fn component(
        &mut self,
        manifest: &Manifest,
        id: &str,
        component: &Component,
    ) -> Option<ComponentContent> {
        let what = format!("component {id:?}");
        let wasm = self.wasm(&what, &component.source);
        let mut dependencies = BTreeMap::new();
        for (name, dependency) in &component.dependencies {
            let what = format!("{what}: dependency {name:?}");
            if let Some(blob) = self.dependency(manifest, &what, dependency) {
                dependencies.insert(name.clone(), blob);
            }
        }
        let mut trigger_dependencies: BTreeMap<String, Vec<Blob>> = BTreeMap::new();
        for (role, dependencies) in &component.trigger_dependencies.by_role {
            for (index, dependency) in dependencies.iter().enumerate() {
                let what = format!("{what}: {role} {}", index + 1);
                let blob = self.dependency(manifest, &what, dependency);
                trigger_dependencies.entry(role.clone()).or_default().extend(blob);
            }
        }
        let mut problems = Problems::default();
        let (files, mounts) = files::collect(&self.base, component, &mut problems);
        self.problems.extend(problems.iter().map(|problem| format!("{what}: {problem}")));
        let (wasm, kind) = wasm?;
        Some(ComponentContent { wasm, kind, dependencies, trigger_dependencies, files, mounts })
    }

    /// The Wasm of a dependency, if it is Wasm.
    fn dependency(
        &mut self,
        manifest: &Manifest,
        what: &str,
        dependency: &Dependency,
    ) -> Option<Blob> {
        let source = match &dependency.source {
            DependencySource::Wasm(source) => source,
            DependencySource::Component(id) => &manifest.components.get(id)?.source,
        };
        Some(self.wasm(what, source)?.0)
    }

    /// The Wasm at `source`, if it is Wasm.
    fn wasm(&mut self, what: &str, source: &Source) -> Option<(Blob, WasmKind)> {
        let blob = match (source, self.resolver) {
            (Source::Path(path), _) => match self.base.blob(path) {
                Ok(blob) => blob,
                Err(error) => {
                    self.problems.push(self.base.unreadable(what, path, &error));
                    return None;
                }
            },
            (remote, Some(resolver)) => match resolver(remote) {
                Ok(blob) => blob,
                Err(error) => {
                    self.problems.push(format!("{what}: cannot fetch {}: {error}", name(remote)));
                    return None;
                }
            },
            (remote, None) => {
                self.remote.push(format!("{what}: {}", name(remote)));
                return None;
            }
        };
        if blob.size() > limits::WASM_BYTES {
            let (size, limit) = (blob.size(), limits::WASM_BYTES);
            self.problems.push(format!("{what}: {size} bytes are more than the {limit} allowed"));
            return None;
        }
        match wasm::kind_of(&blob) {
            Ok(Ok(kind)) => return Some((blob, kind)),
            Ok(Err(refusal)) => {
                self.problems.push(format!("{what}: {} is refused: {refusal}", name(source)));
            }
            Err(error) => self.problems.push(format!("{what}: {error}")),
        }
        None
    }
}

/// What the locked app says of a component's content.
fn locked_content(
    components: &BTreeMap<String, ComponentContent>,
    id: &str,
) -> (LockedSource, Vec<LockedFile>) {
    let Some(content) = components.get(id) else { return Default::default() };
    let files = content
        .files
        .iter()
        .map(|file| LockedFile {
            content: ContentRef { digest: Some(file.digest), ..ContentRef::default() },
            path: file.path.clone(),
        })
        .collect();
    (LockedSource::wasm(by_digest(Some(&content.wasm))), files)
}

fn by_digest(blob: Option<&Blob>) -> ContentRef {
    ContentRef { digest: blob.map(Blob::digest), ..ContentRef::default() }
}

/// A source as a person would name it.
fn name(source: &Source) -> String {
    match source {
        Source::Path(path) => format!("{path:?}"),
        Source::Url { url, .. } => url.clone(),
        Source::Registry { registry: Some(registry), package, version } => {
            format!("package {package} {version} of {registry}")
        }
        Source::Registry { registry: None, package, version } => {
            format!("package {package} {version}")
        }
    }
}

#[cfg(test)]
mod tests;
