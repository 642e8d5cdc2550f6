//! Optimized code takes the place of the first tier's while an app serves.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use app::Digest;
use engine::Cache;
use host::{AppHost, Linking};
use trigger::{Replacements, chain};

/// What is needed to use optimized code, and for which components it is wanted.
pub(super) struct Replacement {
    host: Arc<AppHost>,
    cache: Cache,
    linking: Linking,
    replacements: Arc<Replacements>,
    /// Ids of components by their content.
    components: BTreeMap<Digest, Vec<String>>,
}

impl Replacement {
    pub(super) fn new(
        host: Arc<AppHost>,
        cache: Cache,
        linking: Linking,
        replacements: Arc<Replacements>,
        components: BTreeMap<Digest, Vec<String>>,
    ) -> Self {
        let replacement = Self { host, cache, linking, replacements, components };
        for component in replacement.components.values().flatten() {
            replacement.tell(component, true);
        }
        replacement
    }

    /// Has new instances of the components with the content `digest` made from
    /// `code`. Instances that exist finish what they do on the code they have, which
    /// is unmapped after the last of them.
    ///
    /// # Errors
    /// A sentence, which has been logged; the components go on with what they have.
    pub(super) async fn apply(
        self: &Arc<Self>,
        digest: &str,
        code: Result<File, String>,
    ) -> Result<(), String> {
        let (this, text) = (Arc::clone(self), digest.to_owned());
        // It reads and maps all of the code: nothing for a thread that serves.
        let replaced = tokio::task::spawn_blocking(move || this.replace(&text, code?));
        let replaced = replaced.await.unwrap_or_else(|error| Err(error.to_string()));
        if let Err(error) = &replaced {
            tracing::warn!(digest, "the app goes on with code of the first tier: {error}");
        }
        replaced
    }

    fn replace(&self, digest: &str, code: File) -> Result<(), String> {
        let digest: Digest = digest.parse().map_err(|error| chain(&error))?;
        let components = self
            .components
            .get(&digest)
            .ok_or_else(|| format!("no component has the content {digest}"))?;
        let code = self.cache.receive(code, &digest).map_err(|error| chain(&error))?;
        let code = code.ok_or_else(|| format!("what came is no code for {digest}"))?;
        let engine = self.host.engine();
        let compiled = engine::load(engine, &code).map_err(|error| chain(&error))?;
        for component in components {
            let linked = self
                .linking
                .pre_instantiate(engine, component, &compiled)
                .map_err(|error| chain(&error))?;
            self.replacements.replace(component, &linked)?;
            self.tell(component, false);
            tracing::info!(component, "new instances run on optimized code");
        }
        Ok(())
    }

    fn tell(&self, component: &str, first_tier: bool) {
        if let Some(metrics) = self.host.telemetry().metrics() {
            metrics.first_tier(component, first_tier);
        }
    }
}
