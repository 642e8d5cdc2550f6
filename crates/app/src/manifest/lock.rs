//! From a manifest to a locked app.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Component, Dependency, Manifest};
use crate::locked::RESOLVED_BY;
use crate::retention::chaining_target;
use crate::{
    AppMetadata, ComponentMetadata, LockedApp, LockedComponent, LockedDependency, LockedFile,
    LockedSource, LockedTrigger, MustUnderstand,
};

/// The feature that calls between components need.
const SERVICE_CHAINING: &str = "local_service_chaining";

impl Manifest {
    /// The locked app of this manifest. `content` tells where the Wasm and the
    /// files of each component are; dependencies are filled in by the caller.
    pub fn lock(
        &self,
        mut content: impl FnMut(&str, &Component) -> (LockedSource, Vec<LockedFile>),
    ) -> LockedApp {
        let components: Vec<_> = self
            .components
            .iter()
            .map(|(id, component)| {
                let (source, files) = content(id, component);
                locked_component(id, component, source, files)
            })
            .collect();
        let requires = components.iter().any(|component| !component.host_requirements.is_empty());
        LockedApp {
            must_understand: requires
                .then_some(MustUnderstand::ComponentHostRequirements)
                .into_iter()
                .collect(),
            metadata: self.metadata(),
            host_requirements: BTreeMap::new(),
            variables: self.variables.clone(),
            triggers: self
                .triggers
                .iter()
                .map(|trigger| LockedTrigger {
                    id: trigger.id.clone(),
                    trigger_type: trigger.trigger_type.clone(),
                    trigger_config: Value::Object(trigger.config.clone()),
                })
                .collect(),
            components,
        }
    }

    fn metadata(&self) -> AppMetadata {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        AppMetadata {
            authors: self.application.authors.clone(),
            description: text(&self.application.description),
            name: self.application.name.clone(),
            origin: None,
            trigger: self.only_trigger(),
            triggers: Some(self.application.trigger_settings.clone()),
            version: text(&self.application.version),
            other: BTreeMap::new(),
        }
    }

    /// The settings of the only trigger type in the form that older readers want.
    fn only_trigger(&self) -> Option<Map<String, Value>> {
        let trigger_type = &self.triggers.first()?.trigger_type;
        if self.triggers.iter().any(|trigger| trigger.trigger_type != *trigger_type) {
            return None;
        }
        let settings = self.application.trigger_settings.get(trigger_type);
        let mut settings = settings.cloned().unwrap_or_default();
        settings.insert("type".to_owned(), Value::from(trigger_type.clone()));
        Some(settings)
    }
}

fn locked_component(
    id: &str,
    component: &Component,
    source: LockedSource,
    files: Vec<LockedFile>,
) -> LockedComponent {
    let description = (!component.description.is_empty()).then(|| component.description.clone());
    let chains =
        component.allowed_outbound_hosts.iter().any(|host| chaining_target(host).is_some());
    let composed = &component.trigger_dependencies;
    let resolved_by = (!composed.by_role.is_empty())
        .then(|| (RESOLVED_BY.to_owned(), Value::from(composed.trigger_type.clone())));
    LockedComponent {
        id: id.to_owned(),
        metadata: ComponentMetadata {
            ai_models: component.ai_models.clone(),
            allowed_http_hosts: Vec::new(),
            allowed_outbound_hosts: component.allowed_outbound_hosts.clone(),
            build: component.build.clone(),
            databases: component.sqlite_databases.clone(),
            description,
            key_value_stores: component.key_value_stores.clone(),
            other: resolved_by.into_iter().collect(),
        },
        source,
        env: component.environment.clone(),
        files,
        config: component.variables.clone(),
        dependencies: component
            .dependencies
            .iter()
            .map(|(name, dependency)| (name.clone(), locked_dependency(dependency)))
            .collect(),
        host_requirements: chains
            .then_some(SERVICE_CHAINING)
            .into_iter()
            // Each of its roles is a feature of the same name.
            .chain(composed.by_role.keys().map(String::as_str))
            .map(|feature| (feature.to_owned(), Value::from("required")))
            .collect(),
        trigger_dependencies: composed
            .by_role
            .iter()
            .map(|(role, all)| (role.clone(), all.iter().map(locked_dependency).collect()))
            .collect(),
    }
}

/// The caller fills in where it is.
fn locked_dependency(dependency: &Dependency) -> LockedDependency {
    LockedDependency {
        source: LockedSource::default(),
        export: dependency.export.clone(),
        inherit: dependency.inherit.clone(),
    }
}
