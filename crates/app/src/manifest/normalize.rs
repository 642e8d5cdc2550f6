//! Ids for triggers without one, and components written inside triggers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::dependency::{Dependency, DependencySource};
use super::{Component, Manifest, Trigger, id, trigger_dependencies};
use crate::Problems;
use crate::template::{Template, check_variable_name};

/// A trigger as it was written.
pub(super) struct RawTrigger {
    /// Empty when it has none.
    pub(super) id: String,
    pub(super) trigger_type: String,
    pub(super) component: Option<Specs>,
    /// What is composed with the component, by role.
    pub(super) dependencies: BTreeMap<String, Vec<Dependency>>,
    /// Further components by role.
    pub(super) roles: BTreeMap<String, Vec<Specs>>,
    pub(super) config: Map<String, Value>,
}

/// A component's id, or a component written in place.
pub(super) enum Specs {
    Reference(String),
    Inline(Box<Component>),
}

/// Gives every trigger an id and every component written in place an id and a
/// place among the components.
pub(super) fn add_triggers(
    manifest: &mut Manifest,
    mut triggers: Vec<RawTrigger>,
    problems: &mut Problems,
) {
    let mut ids = BTreeSet::new();
    for trigger in triggers.iter().filter(|trigger| !trigger.id.is_empty()) {
        if !ids.insert(trigger.id.clone()) {
            problems.push(format!("trigger id {:?} is used twice", trigger.id));
        }
    }
    for trigger in &mut triggers {
        if trigger.id.is_empty() {
            trigger.id = free_trigger_id(trigger, &ids);
            ids.insert(trigger.id.clone());
        }
    }
    let mut composed = BTreeMap::new();
    for mut trigger in triggers {
        let count = usize::from(trigger.component.is_some())
            + trigger.roles.values().map(Vec::len).sum::<usize>();
        let mut place = |specs| place(manifest, &trigger.id, count, specs);
        if let Some(specs) = trigger.component {
            trigger.config.insert("component".to_owned(), Value::from(place(specs)));
        }
        if !trigger.roles.is_empty() {
            let roles: Map<String, Value> = trigger
                .roles
                .into_iter()
                .map(|(role, specs)| {
                    (role, specs.into_iter().map(|specs| Value::from(place(specs))).collect())
                })
                .collect();
            trigger.config.insert("components".to_owned(), Value::Object(roles));
        }
        if !trigger.dependencies.is_empty() {
            composed.insert(trigger.id.clone(), trigger.dependencies);
        }
        manifest.triggers.push(Trigger {
            id: trigger.id,
            trigger_type: trigger.trigger_type,
            config: trigger.config,
        });
    }
    trigger_dependencies::move_to_components(manifest, composed, problems);
}

/// `<component>-<type>-trigger` where that is free, else `<type>-trigger<N>`.
fn free_trigger_id(trigger: &RawTrigger, taken: &BTreeSet<String>) -> String {
    let trigger_type = &trigger.trigger_type;
    if let Some(Specs::Reference(component)) = &trigger.component {
        let natural = format!("{component}-{trigger_type}-trigger");
        if !taken.contains(&natural) {
            return natural;
        }
    }
    numbered(&format!("{trigger_type}-trigger"), |id| taken.contains(id))
}

/// The id of a component; one written in place is moved to the components as
/// `<trigger-id>-component`, or `inline-component<N>` where that does not do.
fn place(manifest: &mut Manifest, trigger_id: &str, count: usize, specs: Specs) -> String {
    match specs {
        Specs::Reference(id) => id,
        Specs::Inline(component) => {
            let natural = format!("{trigger_id}-component");
            let taken = |id: &str| manifest.components.contains_key(id);
            let id = if count > 1 || id::check(&natural, '-').is_err() || taken(&natural) {
                numbered("inline-component", taken)
            } else {
                natural
            };
            manifest.components.insert(id.clone(), *component);
            id
        }
    }
}

/// `stem` with the first number, from 1, that is not taken.
fn numbered(stem: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut number: u32 = 1;
    loop {
        let id = format!("{stem}{number}");
        if !taken(&id) {
            return id;
        }
        number += 1;
    }
}

impl Manifest {
    /// Notes every broken rule that both versions share.
    pub(super) fn check(&self, problems: &mut Problems) {
        if self.application.name.is_empty() {
            problems.push("the application has no name");
        }
        for (id, component) in &self.components {
            if let Err(problem) = id::check(id, '-') {
                problems.push(format!("component id {problem}"));
            }
            self.check_variables(id, component, problems);
            let of_trigger = component.trigger_dependencies.by_role.iter();
            let of_trigger =
                of_trigger.flat_map(|(role, all)| all.iter().map(move |one| (role, one)));
            for (name, dependency) in component.dependencies.iter().chain(of_trigger) {
                if let DependencySource::Component(other) = &dependency.source
                    && !self.components.contains_key(other)
                {
                    problems.push(format!(
                        "component {id:?}: dependency {name:?} names component {other:?}, which \
                         does not exist"
                    ));
                }
            }
        }
        for trigger in &self.triggers {
            if let Some(component) = trigger.component()
                && !self.components.contains_key(component)
            {
                problems.push(format!(
                    "{} trigger {:?} names component {component:?}, which does not exist",
                    trigger.trigger_type, trigger.id
                ));
            }
        }
    }

    fn check_variables(&self, id: &str, component: &Component, problems: &mut Problems) {
        for (name, text) in &component.variables {
            if let Err(error) = check_variable_name(name) {
                problems.push(format!("component {id:?}: {error}"));
            }
            match Template::parse(text) {
                Err(error) => problems.push(format!("component {id:?}: {error}")),
                Ok(template) => problems.extend(
                    template
                        .variables()
                        .filter(|variable| !self.variables.contains_key(*variable))
                        .map(|variable| {
                            format!(
                                "component {id:?}: its variable {name:?} uses {variable:?}, which \
                                 the app does not declare"
                            )
                        }),
                ),
            }
        }
    }
}
