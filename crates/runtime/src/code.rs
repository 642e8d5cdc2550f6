//! Compiled code and files of an app's components.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use app::{Digest, LockedApp};
use artifact::{Artifact, CompilerInput, assets};
use engine::{Cache, CompiledCode, Tier};
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
    /// Where the node lets an app start on code of the first tier.
    first_tier: Option<Cache>,
    assets: PathBuf,
    engine: Engine,
}

/// An app with its components mapped and their folders open.
pub struct LoadedApp {
    /// The app.
    pub app: LockedApp,
    /// Its components that a trigger names.
    pub components: BTreeMap<String, LoadedComponent>,
    /// Those among them that run on code of the first tier, by the content for which
    /// optimized code was asked.
    pub first_tier: BTreeMap<Digest, Vec<String>>,
}

/// A component that is to be loaded: its id and its content.
type Wanted<'a> = (&'a String, CompilerInput<'a>);

/// Code of all tiers that there may be.
type Found = BTreeMap<Digest, (CompiledCode, Tier)>;

impl Code {
    /// Opens the node's cache at `cache_dir`, and beside it the folder of
    /// unpacked files. Code of the first tier is used only if the node wants so.
    ///
    /// # Errors
    /// The cache is not safe to use, or the engine cannot be made.
    pub fn open(cache_dir: &Path, first_tier: bool) -> Result<Self, RuntimeError> {
        let cache = Cache::open(cache_dir, engine::DEFAULT_MAX_BYTES)?;
        let first_tier = first_tier.then(|| cache.first_tier()).transpose()?;
        let engine = engine::new_engine(&engine::RuntimeSettings::default())?;
        let assets = cache_dir.parent().unwrap_or(cache_dir).join("assets");
        Ok(Self { cache, first_tier, assets, engine })
    }

    /// The engine that code is mapped into.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine and the cache of optimized code.
    pub fn into_parts(self) -> (Engine, Cache) {
        (self.engine, self.cache)
    }

    /// Loads the `required` components of an app. What the cache lacks is
    /// compiled first, all at the same time. For what there is only of the first
    /// tier, the supervisor is asked for optimized code.
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
        let wanted: Vec<Wanted<'_>> = artifact
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
        for (digest, (code, _)) in &code {
            mapped.insert(*digest, engine::load(&self.engine, code)?);
        }
        let first_tier = self.optimize(&wanted, &code, supervisor).await?;
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
        Ok(LoadedApp { app: artifact.app.clone(), components, first_tier })
    }

    /// Code for every component, each content once.
    async fn compiled(
        &self,
        wanted: &[Wanted<'_>],
        supervisor: &Supervisor,
    ) -> Result<Found, RuntimeError> {
        let mut found = BTreeMap::new();
        let mut missing: Vec<Missing> = Vec::new();
        for (id, input) in wanted {
            let digest = input.digest();
            if found.contains_key(&digest) || missing.iter().any(|known| known.digest == digest) {
                continue;
            }
            match self.lookup(&digest)? {
                Some(code) => drop(found.insert(digest, code)),
                None => missing.push(Missing::of(id, input)?),
            }
        }
        let names: Vec<(Digest, String)> =
            missing.iter().map(|one| (one.digest, one.component.clone())).collect();
        supervisor.compile(missing).await?;
        for (digest, component) in names {
            let code = self.lookup(&digest)?.ok_or(RuntimeError::NotCompiled { component })?;
            found.insert(digest, code);
        }
        Ok(found)
    }

    /// The best code that the cache has.
    fn lookup(&self, digest: &Digest) -> Result<Option<(CompiledCode, Tier)>, RuntimeError> {
        if let Some(code) = self.cache.lookup(digest)? {
            return Ok(Some((code, Tier::Optimized)));
        }
        let Some(first_tier) = &self.first_tier else { return Ok(None) };
        Ok(first_tier.lookup(digest)?.map(|code| (code, Tier::First)))
    }

    /// Asks for optimized code for what there is only of the first tier: which
    /// components that is.
    async fn optimize(
        &self,
        wanted: &[Wanted<'_>],
        found: &Found,
        supervisor: &Supervisor,
    ) -> Result<BTreeMap<Digest, Vec<String>>, RuntimeError> {
        let mut first_tier: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for (id, input) in wanted {
            let digest = input.digest();
            if !matches!(found.get(&digest), Some((_, Tier::First))) {
                continue;
            }
            if !first_tier.contains_key(&digest) {
                supervisor.optimize(Missing::of(id, input)?, self.cache.entry(&digest)).await?;
            }
            first_tier.entry(digest).or_default().push((*id).clone());
        }
        Ok(first_tier)
    }

    fn files(&self, artifact: &Artifact, component: &str) -> Result<GuestFiles, RuntimeError> {
        let mounts = assets::materialize(artifact, component, &self.assets)?;
        let folders = mounts.iter().map(|mount| (mount.host.as_path(), mount.guest.as_str()));
        Ok(GuestFiles::open(folders)?)
    }
}
