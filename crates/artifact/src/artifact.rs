//! An app with everything its components are made of.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use app::{ContentRef, Digest, LockedApp, LockedSource, RetainError};

use crate::blob::{Blob, BlobError};
use crate::input::CompilerInput;
use crate::wasm::{self, NotWasm, WasmKind};

/// An app with everything its components are made of.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The app.
    pub app: LockedApp,
    /// The reference it was read by, for an image.
    pub reference: Option<String>,
    /// The digest of the image's manifest, for an image.
    pub image: Option<Digest>,
    /// What its components are made of, by component id.
    pub components: BTreeMap<String, ComponentContent>,
    /// Archive layers, in which files with [`FileContent::Archived`] are.
    pub archives: Vec<Blob>,
}

/// What one component is made of.
#[derive(Debug, Clone)]
pub struct ComponentContent {
    /// Its Wasm; starts like a Wasm binary, not verified further.
    pub wasm: Blob,
    /// Whether the Wasm is a core module or a component.
    pub kind: WasmKind,
    /// The Wasm of its dependencies, by import name.
    pub dependencies: BTreeMap<String, Blob>,
    /// The Wasm of what its trigger composes with it, by role and in order.
    pub trigger_dependencies: BTreeMap<String, Vec<Blob>>,
    /// Files it reads below its root.
    pub files: Vec<FileEntry>,
    /// Folders of this machine it reads as they are, instead of files.
    pub mounts: Vec<Mount>,
}

/// A file that a component reads.
#[derive(Debug, Clone)]
pub struct FileEntry {
    /// Where, relative to the guest's root; normal path components only.
    pub path: String,
    /// The digest of its content.
    pub digest: Digest,
    /// Its content.
    pub content: FileContent,
}

/// Where the content of a file is.
#[derive(Debug, Clone)]
pub enum FileContent {
    /// In a blob of its own.
    Blob(Blob),
    /// In one of the archives, found by its digest.
    Archived,
}

/// A folder of this machine that a guest may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The folder.
    pub host: PathBuf,
    /// Where the guest sees it; absolute.
    pub guest: String,
}

/// A component's Wasm that cannot be handed to the compiler.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    /// Its blob is damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The parts of a composed component cannot be put into one file.
    #[error("cannot put the parts of a composed component together")]
    Bundle(#[source] std::io::Error),
    /// It is not Wasm.
    #[error("blob {digest} cannot be compiled")]
    NotWasm {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: NotWasm,
    },
}

impl Artifact {
    /// Keeps only the selected components; see [`LockedApp::retain_components`].
    ///
    /// # Errors
    ///
    /// [`RetainError`]; the artifact is then unchanged.
    pub fn retain_components(&mut self, selection: &str) -> Result<(), RetainError> {
        self.app.retain_components(selection)?;
        let app = &self.app;
        self.components.retain(|id, _| app.component(id).is_some());
        Ok(())
    }

    /// Components that are to be composed with others, each with what the compiler
    /// is handed for that.
    pub fn uncomposed(&self) -> impl Iterator<Item = (&str, CompilerInput<'_>)> {
        let components = self.app.components.iter();
        components.filter(|component| component.is_uncomposed()).filter_map(|component| {
            let content = self.components.get(&component.id)?;
            Some((component.id.as_str(), content.compiler_input(component)))
        })
    }

    /// What the compiler is handed for the components that triggers name, each
    /// content once, with the id of a component that is made of it.
    pub fn code(&self) -> BTreeMap<Digest, (&str, CompilerInput<'_>)> {
        let mut code = BTreeMap::new();
        for trigger in &self.app.triggers {
            let Some(id) = trigger.component() else { continue };
            let Some(content) = self.components.get(id) else { continue };
            let Some(component) = self.app.component(id) else { continue };
            let input = content.compiler_input(component);
            code.entry(input.digest()).or_insert((id, input));
        }
        code
    }

    /// Makes `wasm`, into which everything is composed, the Wasm of component `id`.
    pub fn set_composed(&mut self, id: &str, wasm: Blob) {
        self.app.set_composed(id);
        let content = ContentRef { digest: Some(wasm.digest()), ..ContentRef::default() };
        for component in self.app.components.iter_mut().filter(|component| component.id == id) {
            component.source = LockedSource::wasm(content.clone());
        }
        if let Some(content) = self.components.get_mut(id) {
            content.wasm = wasm;
            content.kind = WasmKind::Component;
            content.dependencies.clear();
            content.trigger_dependencies.clear();
        }
    }
}

impl ComponentContent {
    /// The component's Wasm as a file at offset 0, verified, unchangeable, and
    /// starting like a Wasm binary: fit to be handed to the compiler.
    ///
    /// # Errors
    ///
    /// [`WasmError`].
    pub fn open_wasm(&self) -> Result<File, WasmError> {
        use std::os::unix::fs::FileExt;

        let file = self.wasm.open_verified()?;
        let digest = self.wasm.digest();
        let mut prefix = [0; 8];
        file.read_exact_at(&mut prefix, 0)
            .map_err(|_| WasmError::NotWasm { digest, source: NotWasm::Unknown })?;
        wasm::kind(&prefix).map_err(|source| WasmError::NotWasm { digest, source })?;
        Ok(file)
    }
}

impl FileEntry {
    /// Its size in bytes, known unless it is in an archive.
    pub fn size(&self) -> Option<u64> {
        match &self.content {
            FileContent::Blob(blob) => Some(blob.size()),
            FileContent::Archived => None,
        }
    }
}
