//! What this version cannot run.

use std::collections::BTreeSet;

use app::{LockedApp, Problems};

use crate::RuntimeError;

/// The trigger types that are served.
const TRIGGER_TYPES: [&str; 1] = ["http"];
/// The host features that an app may require.
const FEATURES: [&str; 1] = ["local_service_chaining"];

/// Refuses an app that needs what this version does not have. `required` are the
/// components that will run.
///
/// # Errors
/// [`RuntimeError::Unsupported`] with everything that is missing.
pub fn check(app: &LockedApp, required: &BTreeSet<String>) -> Result<(), RuntimeError> {
    let mut problems = Problems::default();
    for trigger in &app.triggers {
        let kind = trigger.trigger_type.as_str();
        if !TRIGGER_TYPES.contains(&kind) {
            let of = trigger.component().map_or_else(
                || format!("trigger {:?}", trigger.id),
                |component| format!("component {component:?}"),
            );
            problems.push(format!(
                "{of} has a trigger of type {kind:?}, and only {} triggers are supported",
                TRIGGER_TYPES.join(", ")
            ));
        }
    }
    if app.triggers.is_empty() {
        problems.push("it has no trigger: nothing would ever start a component");
    }
    for requirement in app.unsupported_requirements(&FEATURES) {
        problems.push(format!("it requires {requirement}, which is not supported"));
    }
    for component in app.components.iter().filter(|component| required.contains(&component.id)) {
        let names: Vec<&str> = component.dependencies.keys().map(String::as_str).collect();
        if !names.is_empty() {
            problems.push(format!(
                "component {:?} has dependencies that are not composed into it ({}); push the app \
                 with composition on, which `spin registry push` does by default since Spin 3.2",
                component.id,
                names.join(", ")
            ));
        }
    }
    problems.into_result(()).map_err(RuntimeError::Unsupported)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

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
        check(app, &BTreeSet::from(["c".to_owned()])).map_err(|error| error.to_string())
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
        let error = check_of(&app(json!([trigger("http"), trigger("redis")]), json!({})));
        let error = error.unwrap_err();
        assert!(error.contains("component \"c\" has a trigger of type \"redis\""), "{error}");
        assert!(!error.contains("\"http\""), "{error}");
    }

    #[test]
    fn everything_missing_is_reported_at_once() {
        let more = json!({
            "host_requirements": {"middleware": "required"},
            "dependencies": {"a:b/c": {"source": {"content_type": "application/wasm",
                "digest": app::Digest::of(b"dependency").to_string()}, "export": null}},
        });
        let error = check_of(&app(json!([]), more)).unwrap_err();
        for part in ["no trigger", "middleware", "a:b/c"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
}
