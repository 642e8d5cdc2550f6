//! Running a part of an app: the value of `SPIN_COMPONENTS_TO_RETAIN`.

use std::collections::BTreeSet;

use crate::{LockedApp, LockedComponent, Problems};

/// The domain under which components of an app reach each other.
const INTERNAL_SUFFIX: &str = ".spin.internal";

/// Why a selection of components cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetainError {
    /// The selection names components that do not exist.
    #[error(
        "SPIN_COMPONENTS_TO_RETAIN names components that are not in the app: {}; it has: {}",
        unknown.join(", "),
        known.join(", ")
    )]
    Unknown {
        /// The names that were not found.
        unknown: Vec<String>,
        /// The components there are.
        known: Vec<String>,
    },
    /// Retained components may call ones that are not.
    #[error("SPIN_COMPONENTS_TO_RETAIN leaves out components that others may call: {0}")]
    Chaining(Problems),
    /// No trigger is left.
    #[error("SPIN_COMPONENTS_TO_RETAIN ({selection:?}) retains no component that a trigger starts")]
    Nothing {
        /// The selection.
        selection: String,
    },
}

impl LockedApp {
    /// Keeps the components of `selection` that a trigger starts, and their
    /// triggers; triggers without a component (static responses) go as well. `selection` is a list of component ids separated by commas; empty
    /// items are ignored, and a list without items keeps everything.
    ///
    /// # Errors
    ///
    /// [`RetainError`]; the app is then unchanged.
    pub fn retain_components(&mut self, selection: &str) -> Result<(), RetainError> {
        let wanted: BTreeSet<&str> =
            selection.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let unknown: Vec<_> = wanted
            .iter()
            .filter(|id| self.component(id).is_none())
            .map(|&id| id.to_owned())
            .collect();
        if !unknown.is_empty() {
            let known = self.components.iter().map(|component| component.id.clone()).collect();
            return Err(RetainError::Unknown { unknown, known });
        }
        let retained: BTreeSet<String> = self
            .triggers
            .iter()
            .filter_map(|trigger| trigger.component())
            .filter(|id| wanted.contains(id))
            .map(str::to_owned)
            .collect();
        if retained.is_empty() {
            return Err(RetainError::Nothing { selection: selection.to_owned() });
        }
        self.check_chaining(&retained).map_err(RetainError::Chaining)?;
        self.triggers.retain(|trigger| trigger.component().is_some_and(|id| retained.contains(id)));
        self.components.retain(|component| retained.contains(&component.id));
        Ok(())
    }

    /// Refuses calls from retained components to others.
    fn check_chaining(&self, retained: &BTreeSet<String>) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if self.components.iter().all(|component| retained.contains(&component.id)) {
            return Ok(());
        }
        for component in self.components.iter().filter(|c| retained.contains(&c.id)) {
            for target in chaining_targets(component) {
                if target == "*" {
                    problems.push(format!("component {:?} may call any component", component.id));
                } else if !retained.contains(target) {
                    problems.push(format!("component {:?} may call {target:?}", component.id));
                }
            }
        }
        problems.into_result(())
    }
}

/// The components that `component` may call, `*` standing for all of them.
pub(crate) fn chaining_targets(component: &LockedComponent) -> impl Iterator<Item = &str> {
    component.metadata.allowed_outbound_hosts.iter().filter_map(|host| chaining_target(host))
}

/// The component that an entry of `allowed_outbound_hosts` lets call, if that is
/// what it is about.
pub(crate) fn chaining_target(entry: &str) -> Option<&str> {
    let (_, authority) = entry.split_once("://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    host.strip_suffix(INTERNAL_SUFFIX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app() -> LockedApp {
        let component = |id: &str, hosts: &[&str]| {
            json!({
                "id": id,
                "metadata": { "allowed_outbound_hosts": hosts },
                "source": { "content_type": "application/wasm" },
            })
        };
        let trigger = |id: &str| {
            json!({
                "id": format!("t-{id}"),
                "trigger_type": "http",
                "trigger_config": { "component": id, "route": format!("/{id}") },
            })
        };
        let json = json!({
            "spin_lock_version": 0,
            "metadata": { "name": "parts" },
            "triggers": [trigger("a"), trigger("b"), trigger("c"), trigger("d"),
                { "id": "s", "trigger_type": "http", "trigger_config": { "route": "/s", "static_response": {} } }],
            "components": [
                component("a", &["https://example.com"]),
                component("b", &["http://a.spin.internal"]),
                component("c", &["http://*.spin.internal:80/"]),
                component("d", &["*://*:*"]),
                component("unused", &[]),
            ],
        });
        LockedApp::from_json(json.to_string().as_bytes()).unwrap()
    }

    fn retained(selection: &str) -> Result<Vec<String>, RetainError> {
        let mut app = app();
        app.retain_components(selection)?;
        assert_eq!(app.triggers.len(), app.components.len());
        Ok(app.components.into_iter().map(|component| component.id).collect())
    }

    #[test]
    fn an_empty_selection_keeps_everything() {
        for selection in ["", " ", ",", " , ,"] {
            let mut kept = app();
            kept.retain_components(selection).unwrap();
            assert_eq!(kept, app());
        }
    }

    #[test]
    fn selected_components_stay_with_their_triggers() {
        assert_eq!(retained("a").unwrap(), ["a"]);
        assert_eq!(retained(" b ,,a").unwrap(), ["a", "b"]);
        assert_eq!(retained("d").unwrap(), ["d"]);
    }

    #[test]
    fn unknown_components_are_all_named() {
        let error = retained("a,x,y").unwrap_err().to_string();
        assert!(error.contains("x, y"), "{error}");
        assert!(error.contains("a, b, c, d, unused"), "{error}");
    }

    #[test]
    fn chaining_to_a_dropped_component_is_refused() {
        assert!(retained("b").unwrap_err().to_string().contains("may call \"a\""));
        assert!(retained("a,c").unwrap_err().to_string().contains("any component"));
    }

    #[test]
    fn a_selection_that_nothing_starts_is_refused() {
        assert!(matches!(retained("unused"), Err(RetainError::Nothing { .. })));
    }
}
