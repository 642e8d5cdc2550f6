//! What an app needs.

use std::collections::BTreeMap;

use anyhow::Context;
use app::{LockedApp, LockedComponent};
use artifact::{Artifact, ComponentContent};
use serde::Serialize;

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

/// Everything that the app and the components that triggers use need. `problem`
/// is why it cannot be served here.
///
/// # Errors
/// A component's Wasm cannot be read.
pub(super) fn of(
    artifact: &Artifact,
    variables: &BTreeMap<String, String>,
    problem: Option<&str>,
) -> anyhow::Result<Vec<Need>> {
    let app = &artifact.app;
    let mut needs = of_app(app, variables, problem);
    let used = |component: &&LockedComponent| {
        app.triggers.iter().any(|trigger| trigger.component() == Some(&component.id))
    };
    for component in app.components.iter().filter(used) {
        let Some(content) = artifact.components.get(&component.id) else { continue };
        let found = of_component(component, content, problem)
            .with_context(|| format!("cannot read component {:?}", component.id))?;
        needs.extend(found);
    }
    Ok(needs)
}

fn of_app(
    app: &LockedApp,
    variables: &BTreeMap<String, String>,
    problem: Option<&str>,
) -> Vec<Need> {
    let need = |kind, name: String, here| Need { component: None, kind, name, here };
    let mut kinds: Vec<&str> =
        app.triggers.iter().map(|trigger| trigger.trigger_type.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let triggers =
        kinds.into_iter().map(|kind| need("trigger", kind.to_owned(), here(kind, problem)));
    let values = app.variables.iter().map(|(name, variable)| {
        let source = format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase());
        let here = match (&variable.default, variables.contains_key(&source)) {
            (_, true) => format!("yes, from {source}"),
            (Some(_), false) => "yes, its default".to_owned(),
            (None, false) if problem.is_none() => "yes, from a provider".to_owned(),
            (None, false) => {
                format!("no: it has no default; set {source}, or configure a provider")
            }
        };
        need("variable", name.clone(), here)
    });
    triggers.chain(values).collect()
}

fn of_component(
    component: &LockedComponent,
    content: &ComponentContent,
    problem: Option<&str>,
) -> anyhow::Result<Vec<Need>> {
    let metadata = &component.metadata;
    let mut needs = Vec::new();
    let mut add = |kind, name: &str, here| {
        let (component, name) = (Some(component.id.clone()), name.to_owned());
        needs.push(Need { component, kind, name, here });
    };
    for (kind, names) in [
        ("key-value store", &metadata.key_value_stores),
        ("SQLite database", &metadata.databases),
        ("AI model", &metadata.ai_models),
    ] {
        for name in names {
            add(kind, name, here(name, problem));
        }
    }
    // Whether it answers is known only when it is asked.
    for host in component.allowed_outbound_hosts().unwrap_or_default() {
        add("host", &host, "may be reached".to_owned());
    }
    for name in component.dependencies.keys() {
        add("dependency", name, here(name, problem));
    }
    for import in imports(&content.wasm.read_verified(MAX_WASM)?)? {
        let satisfied = component.dependencies.keys().any(|name| import.starts_with(name.as_str()));
        let here =
            if satisfied { "yes, by a dependency".to_owned() } else { here(&import, problem) };
        add("import", &import, here);
    }
    Ok(needs)
}

/// Whether something is there, as far as the runtime said: what it named when it
/// refused the app is not, and of the rest it was silent.
fn here(name: &str, problem: Option<&str>) -> String {
    match problem {
        None => "yes",
        Some(problem) if names(problem, name) => "no",
        Some(_) => "",
    }
    .to_owned()
}

/// Whether `problem` has `name` as a word of its own.
fn names(problem: &str, name: &str) -> bool {
    let part_of_a_name = |letter: char| letter.is_alphanumeric() || "-_/:@".contains(letter);
    problem.match_indices(name).any(|(start, _)| {
        let before = problem.get(..start).and_then(|text| text.chars().next_back());
        let after = problem.get(start + name.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part_of_a_name) && !after.is_some_and(part_of_a_name)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app() -> LockedApp {
        let app = json!({"spin_lock_version": 1, "metadata": {"name": "a"},
            "variables": {"given": {}, "missing": {}, "usual": {"default": "x"}},
            "triggers": [
                {"id": "1", "trigger_type": "http", "trigger_config": {"component": "c"}},
                {"id": "2", "trigger_type": "http", "trigger_config": {"component": "c"}}],
            "components": [{"id": "c", "metadata": {},
                "source": {"content_type": "application/wasm", "source": "file:///c.wasm"}}]});
        LockedApp::from_json(app.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_variable_without_value_is_missing_once_the_app_is_refused() {
        let variables = BTreeMap::from([("SPIN_VARIABLE_GIVEN".to_owned(), "x".to_owned())]);
        let found = |problem| -> Vec<String> {
            of_app(&app(), &variables, problem)
                .into_iter()
                .map(|need| format!("{} {}: {}", need.kind, need.name, need.here))
                .collect()
        };
        let refused = found(Some("no value for \"missing\""));
        assert_eq!(refused.len(), 4);
        assert_eq!(refused[1], "variable given: yes, from SPIN_VARIABLE_GIVEN");
        assert!(refused[2].contains("no: ") && refused[2].contains("SPIN_VARIABLE_MISSING"));
        assert_eq!(refused[3], "variable usual: yes, its default");
        assert_eq!(found(None)[0], "trigger http: yes");
    }

    #[test]
    fn what_the_runtime_names_is_missing_and_no_name_within_another() {
        let problem = "unknown store \"orders\", and import acme:x/y@1.0.0 is not there";
        for (name, expected) in
            [("orders", "no"), ("order", ""), ("acme:x/y@1.0.0", "no"), ("acme:x/y", "")]
        {
            assert_eq!(here(name, Some(problem)), expected, "{name}");
        }
    }
}
