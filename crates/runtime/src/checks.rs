//! What this version cannot run.

use std::collections::BTreeSet;

use app::{LockedApp, Problems};
use trigger::TriggerType;

use crate::RuntimeError;

/// The host features that an app may require.
const FEATURES: [&str; 2] = ["local_service_chaining", "middleware"];

/// The ids of the components that triggers of `app` name: no other is needed,
/// compiled or checked.
pub fn required_components(app: &LockedApp) -> BTreeSet<String> {
    app.triggers.iter().filter_map(|trigger| trigger.component().map(str::to_owned)).collect()
}

/// Refuses an app whose triggers are none of `types`, or not as their type has
/// them, or which needs what this version does not have.
///
/// # Errors
/// Everything that is missing and everything that is wrong: [`RuntimeError::Unsupported`]
/// when nothing is wrong, else [`RuntimeError::Triggers`].
pub fn check(app: &LockedApp, types: &[Box<dyn TriggerType>]) -> Result<(), RuntimeError> {
    let mut problems = supported(app, types);
    let missing = problems.iter().count();
    for kind in types.iter().filter(|kind| app.triggers_of(kind.name()).next().is_some()) {
        kind.check(app, &mut problems);
    }
    let error = if problems.iter().count() == missing {
        RuntimeError::Unsupported
    } else {
        RuntimeError::Triggers
    };
    problems.into_result(()).map_err(error)
}

fn supported(app: &LockedApp, types: &[Box<dyn TriggerType>]) -> Problems {
    let mut problems = Problems::default();
    let names: Vec<&str> = types.iter().map(|kind| kind.name()).collect();
    for trigger in &app.triggers {
        let kind = trigger.trigger_type.as_str();
        if !names.contains(&kind) {
            let of = trigger.component().map_or_else(
                || format!("trigger {:?}", trigger.id),
                |component| format!("component {component:?}"),
            );
            problems.push(format!(
                "{of} has a trigger of type {kind:?}, and only {} triggers are supported",
                names.join(", ")
            ));
        }
    }
    if app.triggers.is_empty() {
        problems.push("it has no trigger: nothing would ever start a component");
    }
    for requirement in app.unsupported_requirements(&FEATURES) {
        problems.push(format!("it requires {requirement}, which is not supported"));
    }
    let required = required_components(app);
    for component in app.components.iter().filter(|component| required.contains(&component.id)) {
        for role in component.trigger_dependencies.keys().filter(|role| *role != "middleware") {
            problems.push(format!(
                "component {:?} has trigger dependencies of the kind {role:?}, and only middleware \
                 is supported",
                component.id,
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};
    use trigger::Surroundings;

    use super::*;
    use crate::triggers;

    fn app(triggers: Value, more: Value) -> LockedApp {
        let digest = app::Digest::of(b"wasm").to_string();
        let mut component = json!({"id": "c", "metadata": {},
            "source": {"content_type": "application/wasm", "digest": digest}});
        component.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let app = json!({"spin_lock_version": 1, "metadata": {"name": "a"},
            "triggers": triggers, "components": [component]});
        LockedApp::from_json(app.to_string().as_bytes()).unwrap()
    }

    fn trigger(kind: &str) -> Value {
        json!({"id": format!("{kind}-trigger"), "trigger_type": kind,
            "trigger_config": {"component": "c", "route": "/..."}})
    }

    fn check_of(app: &LockedApp) -> Result<(), String> {
        let environment = BTreeMap::new();
        let surroundings = Surroundings {
            environment: &environment,
            default_listen: "0.0.0.0:80",
            arguments: &[],
        };
        check(app, &triggers::configure(&surroundings).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_http_app_that_asks_for_nothing_else_is_run() {
        check_of(&app(json!([trigger("http")]), json!({}))).unwrap();
        let optional = json!({"host_requirements": {"middleware": "optional",
            "local_service_chaining": "required"}});
        check_of(&app(json!([trigger("http")]), optional)).unwrap();
    }

    #[test]
    fn an_unsupported_trigger_is_named_with_its_component() {
        let error = check_of(&app(json!([trigger("http"), trigger("kafka")]), json!({})));
        let error = error.unwrap_err();
        assert!(error.contains("component \"c\" has a trigger of type \"kafka\""), "{error}");
        assert!(!error.contains("\"http\""), "{error}");
    }

    #[test]
    fn triggers_are_checked_before_anything_runs() {
        let mut wrong = trigger("http");
        wrong["trigger_config"]["rout"] = json!("/");
        let triggers = json!([wrong.clone(), wrong, trigger("kafka")]);
        let error = check_of(&app(triggers, json!({}))).unwrap_err();
        assert_eq!(error.matches("unknown field `rout`").count(), 2, "{error}");
        assert!(error.contains("kafka"), "{error}");
    }

    #[test]
    fn everything_missing_is_reported_at_once() {
        let more = json!({
            "host_requirements": {"teleportation": "required"},
            "trigger_dependencies": {"sidecar": [{"source": {"content_type": "application/wasm",
                "digest": app::Digest::of(b"dependency").to_string()}, "export": null}]},
        });
        let error = check_of(&app(json!([trigger("kafka")]), more)).unwrap_err();
        for part in ["kafka", "teleportation", "sidecar"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(check_of(&app(json!([]), json!({}))).unwrap_err().contains("no trigger"));
    }
}
