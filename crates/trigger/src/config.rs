//! Reading triggers and their settings from an app.

use app::{LockedApp, Problems, Template};
use serde::de::DeserializeOwned;

/// One trigger as it stands in an app.
#[derive(Debug, Clone)]
pub struct Configured<T> {
    /// Its id.
    pub id: String,
    /// The component it starts.
    pub component: String,
    /// The rest of its table.
    pub config: T,
}

/// The triggers of type `kind` of `app`, each table read as `T` without its
/// `component`. Those that cannot be read go to `problems`.
pub fn triggers<T: DeserializeOwned>(
    app: &LockedApp,
    kind: &str,
    problems: &mut Problems,
) -> Vec<Configured<T>> {
    let mut found = Vec::new();
    for trigger in app.triggers_of(kind) {
        let id = &trigger.id;
        let Some(component) = trigger.component() else {
            problems.push(format!("{kind} trigger {id:?} names no component"));
            continue;
        };
        let mut table = trigger.trigger_config.clone();
        if let Some(table) = table.as_object_mut() {
            table.remove("component");
        }
        match serde_json::from_value(table) {
            Ok(config) => {
                found.push(Configured { id: id.clone(), component: component.to_owned(), config });
            }
            Err(error) => problems.push(format!("{kind} trigger {id:?} is not valid: {error}")),
        }
    }
    found
}

/// The app-level settings of trigger type `kind`; the default when there are
/// none. Settings that cannot be read go to `problems`.
pub fn settings<T: DeserializeOwned + Default>(
    app: &LockedApp,
    kind: &str,
    problems: &mut Problems,
) -> T {
    let Some(mut settings) = app.trigger_settings(kind) else { return T::default() };
    // Spin 1.x repeats the type here.
    settings.remove("type");
    serde_json::from_value(settings.into()).unwrap_or_else(|error| {
        problems.push(format!("the app's settings of {kind} triggers are not valid: {error}"));
        T::default()
    })
}

/// Checks the variables of a `text` that is expanded later; `place` says in
/// problems where it stands.
pub fn check_template(app: &LockedApp, text: &str, place: &str, problems: &mut Problems) {
    match Template::parse(text) {
        Ok(template) => {
            for name in template.variables().filter(|name| !app.variables.contains_key(*name)) {
                problems.push(format!(
                    "{place} uses the variable {name:?}, which the app does not declare"
                ));
            }
        }
        Err(error) => problems.push(format!("{place} is not valid: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Channel {
        channel: String,
    }

    fn app(configs: &[serde_json::Value]) -> LockedApp {
        let triggers: Vec<_> = configs
            .iter()
            .enumerate()
            .map(|(n, config)| {
                json!({"id": format!("t{n}"), "trigger_type": "redis", "trigger_config": config})
            })
            .collect();
        let component = json!({"id": "c", "metadata": {},
            "source": {"content_type": "application/wasm", "source": "file:///c.wasm"}});
        let app = json!({"spin_lock_version": 0, "variables": {"known": {"default": "x"}},
            "metadata": {"name": "a", "trigger": {"type": "redis", "channel": "app"}},
            "triggers": triggers, "components": [component]});
        LockedApp::from_json(app.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn every_trigger_that_cannot_be_read_is_named() {
        let app = app(&[
            json!({"component": "c", "channel": "x"}),
            json!({"channel": "x"}),
            json!({"component": "c", "chanel": "x"}),
        ]);
        let mut problems = Problems::default();
        let read = triggers::<Channel>(&app, "redis", &mut problems);
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].component.as_str(), read[0].config.channel.as_str()), ("c", "x"));
        let text = problems.to_string();
        assert!(text.contains("\"t1\" names no component"), "{text}");
        assert!(text.contains("\"t2\" is not valid") && text.contains("chanel"), "{text}");
    }

    #[test]
    fn settings_of_the_app_are_read_in_their_oldest_form_too() {
        let mut problems = Problems::default();
        let settings: Option<Channel> = settings(&app(&[]), "redis", &mut problems);
        assert_eq!(settings.unwrap().channel, "app");
        assert!(problems.is_empty(), "{problems}");
    }

    #[test]
    fn templates_may_use_only_variables_of_the_app() {
        let app = app(&[]);
        let mut problems = Problems::default();
        check_template(&app, "a-{{ known }}", "the channel", &mut problems);
        assert!(problems.is_empty(), "{problems}");
        check_template(&app, "{{ other }}", "the channel", &mut problems);
        check_template(&app, "{{ open", "the channel", &mut problems);
        assert_eq!(problems.iter().count(), 2, "{problems}");
    }
}
