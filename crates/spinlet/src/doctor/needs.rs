//! What an app needs.

use anyhow::Context;
use app::{LockedApp, LockedComponent};
use artifact::{Artifact, ComponentContent};
use serde::Serialize;

use super::given::Given;
use super::imports::imports;

/// The largest Wasm that is looked at, in bytes.
const MAX_WASM: u64 = 256 << 20;

/// Something that an app needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Need {
    /// The component that needs it; none for the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) component: Option<String>,
    /// What sort of thing it is.
    pub(super) kind: &'static str,
    /// Which one.
    pub(super) name: String,
    /// Whether it is there: `yes`, `no`, or what is known of it.
    pub(super) here: String,
}

/// Everything that the app and the components that triggers use need, and whether it
/// is `given`.
///
/// # Errors
/// A component's Wasm cannot be read.
pub(super) fn of(artifact: &Artifact, given: &Given<'_>) -> anyhow::Result<Vec<Need>> {
    let app = &artifact.app;
    let mut needs = of_app(app, given);
    let used = |component: &&LockedComponent| {
        app.triggers.iter().any(|trigger| trigger.component() == Some(&component.id))
    };
    for component in app.components.iter().filter(used) {
        let Some(content) = artifact.components.get(&component.id) else { continue };
        let found = of_component(component, content, given)
            .with_context(|| format!("cannot read component {:?}", component.id))?;
        needs.extend(found);
    }
    Ok(needs)
}

fn of_app(app: &LockedApp, given: &Given<'_>) -> Vec<Need> {
    let need = |kind, name: &str, here| Need { component: None, kind, name: name.to_owned(), here };
    let mut kinds: Vec<&str> =
        app.triggers.iter().map(|trigger| trigger.trigger_type.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let triggers = kinds.into_iter().map(|kind| need("trigger", kind, given.here(kind)));
    let values = app.variables.iter().map(|(name, variable)| {
        need("variable", name, given.variable(name, variable.default.is_some()))
    });
    let features = app.host_requirements.keys();
    let features = features.chain(app.components.iter().flat_map(|c| c.host_requirements.keys()));
    let features: std::collections::BTreeSet<&String> = features.collect();
    let features = features.into_iter().map(|name| need("feature", name, given.here(name)));
    triggers.chain(values).chain(features).collect()
}

fn of_component(
    component: &LockedComponent,
    content: &ComponentContent,
    given: &Given<'_>,
) -> anyhow::Result<Vec<Need>> {
    let metadata = &component.metadata;
    let mut needs = Vec::new();
    let mut add = |kind, name: &str, here| {
        let (component, name) = (Some(component.id.clone()), name.to_owned());
        needs.push(Need { component, kind, name, here });
    };
    for label in &metadata.key_value_stores {
        add("key-value store", label, given.store(label));
    }
    for label in &metadata.databases {
        add("SQLite database", label, given.database(label));
    }
    for model in &metadata.ai_models {
        add("AI model", model, given.model());
    }
    // Whether it answers is known only when it is asked.
    for host in component.allowed_outbound_hosts().unwrap_or_default() {
        add("host", &host, "may be reached".to_owned());
    }
    for name in component.dependencies.keys() {
        add("dependency", name, given.here(name));
    }
    for import in imports(&content.wasm.read_verified(MAX_WASM)?)? {
        let satisfied = component.dependencies.keys().any(|name| import.starts_with(name.as_str()));
        let here = if satisfied { "yes, by a dependency".to_owned() } else { given.here(&import) };
        add("import", &import, here);
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn an_app_needs_each_of_its_triggers_variables_and_features_once() {
        let component = |id: &str| {
            json!({"id": id, "metadata": {}, "host_requirements": {"middleware": "required"},
                "source": {"content_type": "application/wasm", "source": "file:///c.wasm"}})
        };
        let app = json!({"spin_lock_version": 1, "metadata": {"name": "a"},
            "variables": {"usual": {"default": "x"}},
            "triggers": [
                {"id": "1", "trigger_type": "http", "trigger_config": {"component": "c"}},
                {"id": "2", "trigger_type": "http", "trigger_config": {"component": "d"}}],
            "components": [component("c"), component("d")]});
        let app = LockedApp::from_json(app.to_string().as_bytes()).unwrap();
        let environment = BTreeMap::new();
        let needs = of_app(&app, &Given::new(&environment, None));
        let said: Vec<String> =
            needs.iter().map(|n| format!("{} {}: {}", n.kind, n.name, n.here)).collect();
        let expected =
            ["trigger http: yes", "variable usual: yes, its default", "feature middleware: yes"];
        assert_eq!(said, expected);
    }
}
