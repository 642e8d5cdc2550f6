//! Compiled code and files of an app's components.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use app::{Digest, LockedApp};
use artifact::{Artifact, CompilerInput, assets};
use engine::{Cache, CompiledCode};
use host::GuestFiles;
use trigger::LoadedComponent;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::supervisor::{Missing, Supervisor};
use crate::{Phases, RuntimeError};

/// The node's compiled code and unpacked files, open for this process.
///
/// Made before the container is entered: afterwards the node's folders have no
/// path any more. Looking up and mapping code still works then.
#[derive(Debug)]
pub struct Code {
    cache: Cache,
    assets: PathBuf,
    engine: Engine,
}

/// An app with its components mapped and their folders open.
pub struct LoadedApp {
    /// The app.
    pub app: LockedApp,
    /// Its components that a trigger names.
    pub components: BTreeMap<String, LoadedComponent>,
}

impl Code {
    /// Opens the node's cache at `cache_dir`, and beside it the folder of
    /// unpacked files.
    ///
    /// # Errors
    /// The cache is not safe to use, or the engine cannot be made.
    pub fn open(cache_dir: &Path) -> Result<Self, RuntimeError> {
        let cache = Cache::open(cache_dir, engine::DEFAULT_MAX_BYTES)?;
        let engine = engine::new_engine(&engine::RuntimeSettings::default())?;
        let assets = cache_dir.parent().unwrap_or(cache_dir).join("assets");
        Ok(Self { cache, assets, engine })
    }

    /// The engine that code is mapped into.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Loads the `required` components of an app. What the cache lacks is
    /// compiled first, all at the same time.
    ///
    /// # Errors
    /// Code cannot be compiled or mapped, files cannot be unpacked.
    pub async fn load(
        &self,
        artifact: &Artifact,
        required: &BTreeSet<String>,
        supervisor: &Supervisor,
        phases: &mut Phases,
    ) -> Result<LoadedApp, RuntimeError> {
        let wanted: Vec<(&String, CompilerInput<'_>)> = artifact
            .app
            .components
            .iter()
            .filter(|component| required.contains(&component.id))
            .filter_map(|component| {
                let content = artifact.components.get(&component.id)?;
                Some((&component.id, content.compiler_input(component)))
            })
            .collect();
        let code = self.compiled(&wanted, supervisor).await?;
        phases.end("compile");
        let mut mapped: BTreeMap<Digest, Component> = BTreeMap::new();
        for (digest, code) in &code {
            mapped.insert(*digest, engine::load(&self.engine, code)?);
        }
        let mut components = BTreeMap::new();
        for (id, input) in wanted {
            let digest = input.digest();
            let component = mapped
                .get(&digest)
                .cloned()
                .ok_or_else(|| RuntimeError::NotCompiled { component: id.clone() })?;
            let files = self.files(artifact, id)?;
            components.insert(id.clone(), LoadedComponent { component, files });
        }
        phases.end("load");
        Ok(LoadedApp { app: artifact.app.clone(), components })
    }

    /// Code for every component, each content once.
    async fn compiled(
        &self,
        wanted: &[(&String, CompilerInput<'_>)],
        supervisor: &Supervisor,
    ) -> Result<BTreeMap<Digest, CompiledCode>, RuntimeError> {
        let mut found = BTreeMap::new();
        let mut missing: Vec<Missing> = Vec::new();
        for (id, input) in wanted {
            let digest = input.digest();
            if found.contains_key(&digest) || missing.iter().any(|known| known.digest == digest) {
                continue;
            }
            if let Some(code) = self.cache.lookup(&digest)? {
                found.insert(digest, code);
                continue;
            }
            let source = input
                .open()
                .map_err(|source| RuntimeError::Wasm { component: (*id).clone(), source })?;
            let (component, size) = ((*id).clone(), input.size());
            missing.push(Missing { digest, component, source, size });
        }
        let names: Vec<(Digest, String)> =
            missing.iter().map(|one| (one.digest, one.component.clone())).collect();
        supervisor.compile(missing).await?;
        for (digest, component) in names {
            let code =
                self.cache.lookup(&digest)?.ok_or(RuntimeError::NotCompiled { component })?;
            found.insert(digest, code);
        }
        Ok(found)
    }

    fn files(&self, artifact: &Artifact, component: &str) -> Result<GuestFiles, RuntimeError> {
        let mounts = assets::materialize(artifact, component, &self.assets)?;
        let folders = mounts.iter().map(|mount| (mount.host.as_path(), mount.guest.as_str()));
        Ok(GuestFiles::open(folders)?)
    }
}
