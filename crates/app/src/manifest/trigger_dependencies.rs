//! Components that a trigger composes with the one it starts, such as middleware.
//!
//! They are written at the trigger and belong, once the manifest is in normal form,
//! to the component: what is composed has an id of its own.

use std::collections::BTreeMap;

use super::{Dependency, Manifest, TriggerDependencies, dependency};
use crate::Problems;

/// Reads the `dependencies` of a trigger.
pub(super) fn read(
    what: &str,
    value: toml::Value,
    problems: &mut Problems,
) -> BTreeMap<String, Vec<Dependency>> {
    let mut by_role = BTreeMap::new();
    let toml::Value::Table(roles) = value else {
        problems.push(format!("{what}: `dependencies` must be a table"));
        return by_role;
    };
    for (role, value) in roles {
        let toml::Value::Array(values) = value else {
            problems.push(format!("{what}: `dependencies.{role}` must be a list"));
            continue;
        };
        let mut dependencies = Vec::new();
        for value in values {
            match dependency::read(&role, &value, false) {
                Ok(Dependency { export: Some(_), .. }) => problems.push(format!(
                    "{what}: `dependencies.{role}` cannot choose an `export`: the trigger does"
                )),
                Ok(dependency) => dependencies.push(dependency),
                Err(problem) => problems.push(format!("{what}: {problem}")),
            }
        }
        if !dependencies.is_empty() {
            by_role.insert(role, dependencies);
        }
    }
    by_role
}

/// Gives the components of `manifest` what their triggers compose with them, by
/// trigger id. A component that several triggers start stays as it is: each of
/// those that compose something with it starts a copy,
/// `<component>-for-<trigger id>`.
pub(super) fn move_to_components(
    manifest: &mut Manifest,
    mut of_triggers: BTreeMap<String, BTreeMap<String, Vec<Dependency>>>,
    problems: &mut Problems,
) {
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    for id in manifest.triggers.iter().filter_map(|trigger| trigger.component()) {
        *users.entry(id.to_owned()).or_default() += 1;
    }
    let Manifest { triggers, components, .. } = manifest;
    for trigger in triggers {
        let Some(by_role) = of_triggers.remove(&trigger.id) else { continue };
        let Some(id) = trigger.component().map(str::to_owned) else {
            problems.push(format!(
                "{} trigger {:?} has `dependencies` and no component to compose them with",
                trigger.trigger_type, trigger.id
            ));
            continue;
        };
        // One that does not exist is reported with the triggers.
        let Some(component) = components.get_mut(&id) else { continue };
        let trigger_type = trigger.trigger_type.clone();
        let composed = TriggerDependencies { trigger_type, by_role };
        if users.get(&id).is_none_or(|users| *users <= 1) {
            component.trigger_dependencies = composed;
            continue;
        }
        let copy = format!("{id}-for-{}", trigger.id);
        let component = super::Component { trigger_dependencies: composed, ..component.clone() };
        if components.insert(copy.clone(), component).is_some() {
            problems.push(format!(
                "the component id {copy:?} is needed for what {} trigger {:?} composes",
                trigger.trigger_type, trigger.id
            ));
        }
        trigger.config.insert("component".to_owned(), copy.into());
    }
}
