//! What an app is made of when its triggers are prepared.

use std::collections::BTreeMap;
use std::sync::Arc;

use app::LockedApp;
use host::{AppHost, ComponentContext, GuestFiles, InstanceState, Linking};
use wasmtime::component::{Component, InstancePre};

use crate::{Replace, Replacements};

/// A component of the app, compiled.
pub struct LoadedComponent {
    /// Its code.
    pub component: Component,
    /// What it sees of the file system.
    pub files: GuestFiles,
}

/// What an app is made of.
#[derive(Clone, Copy)]
pub struct AppParts<'a> {
    /// The app.
    pub app: &'a LockedApp,
    /// What its components share.
    pub host: &'a Arc<AppHost>,
    /// What serves the imports of its components.
    pub linking: &'a Linking,
    /// Its components by id; at least those that triggers name.
    pub components: &'a BTreeMap<String, LoadedComponent>,
    /// Where those who make instances are remembered, if better code may come.
    pub replacements: Option<&'a Arc<Replacements>>,
}

/// A component that is ready to be instantiated.
pub struct LinkedComponent {
    /// With its imports.
    pub pre: InstancePre<InstanceState>,
    /// What its instances share.
    pub context: Arc<ComponentContext>,
    replacements: Option<Arc<Replacements>>,
}

impl LinkedComponent {
    /// Remembers what `replace` makes for when there is better code, if that may
    /// come. To be called by whoever makes instances of the component more than once.
    pub fn when_replaced(&self, replace: impl FnOnce() -> Replace) {
        if let Some(replacements) = &self.replacements {
            replacements.add(self.context.id(), replace());
        }
    }

    /// The names of what it exports.
    pub fn exports(&self) -> Vec<String> {
        let component = self.pre.component();
        let ty = component.component_type();
        ty.exports(component.engine()).map(|(name, _)| name.to_owned()).collect()
    }
}

impl AppParts<'_> {
    /// Links the component `id`.
    ///
    /// # Errors
    /// A sentence that names the component.
    pub fn link(&self, id: &str) -> Result<LinkedComponent, String> {
        let loaded = self
            .components
            .get(id)
            .ok_or_else(|| format!("component {id:?} has a trigger and is not loaded"))?;
        let context =
            self.host.component(id, loaded.files.clone()).map_err(|error| chain(&error))?;
        let pre = self
            .linking
            .pre_instantiate(self.host.engine(), id, &loaded.component)
            .map_err(|error| chain(&error))?;
        Ok(LinkedComponent { pre, context, replacements: self.replacements.cloned() })
    }

    /// `text` with the app's variables replaced; `place` says in errors where it
    /// stands. Asks remote providers of variables.
    ///
    /// # Errors
    /// A sentence that names the variable.
    pub async fn expand(&self, text: &str, place: &str) -> Result<String, String> {
        self.host.variables().expand(text, place).await.map_err(|error| chain(&error))
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
