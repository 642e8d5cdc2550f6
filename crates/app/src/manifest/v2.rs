//! Version 2 of `spin.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::build::{file_mount, json, object, source};
use super::normalize::{RawTrigger, Specs};
use super::read::read_table;
use super::{
    Application, Component, Manifest, TriggerDependencies, dependency, id, normalize,
    trigger_dependencies,
};
use crate::template::check_variable_name;
use crate::{Problems, Variable, http_hosts};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "spin_manifest_version")]
    _version: IgnoredAny,
    application: ApplicationTable,
    #[serde(default)]
    variables: BTreeMap<String, VariableTable>,
    trigger: BTreeMap<String, Vec<toml::Table>>,
    #[serde(default)]
    component: BTreeMap<String, ComponentTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplicationTable {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    authors: Vec<String>,
    #[serde(default, rename = "targets")]
    _targets: IgnoredAny,
    #[serde(default)]
    trigger: BTreeMap<String, toml::Table>,
    #[serde(default, rename = "tool")]
    _tool: IgnoredAny,
}

/// An application variable; the same in both versions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VariableTable {
    description: Option<String>,
    #[serde(default)]
    required: bool,
    default: Option<String>,
    #[serde(default)]
    secret: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentTable {
    source: toml::Value,
    #[serde(default)]
    description: String,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<toml::Value>,
    #[serde(default)]
    exclude_files: Vec<String>,
    #[serde(default)]
    allowed_http_hosts: Vec<String>,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    key_value_stores: Vec<String>,
    #[serde(default)]
    sqlite_databases: Vec<String>,
    #[serde(default)]
    ai_models: Vec<String>,
    #[serde(default, rename = "targets")]
    _targets: IgnoredAny,
    build: Option<BuildTable>,
    #[serde(default, rename = "tool")]
    _tool: IgnoredAny,
    #[serde(default)]
    dependencies_inherit_configuration: bool,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    #[serde(default, rename = "profile")]
    _profile: IgnoredAny,
}

/// How a component is built; the same in both versions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildTable {
    command: toml::Value,
    workdir: Option<String>,
    #[serde(default)]
    watch: Vec<String>,
    environment: Option<toml::Table>,
}

impl BuildTable {
    pub(super) fn into_json(self) -> serde_json::Value {
        let mut build = serde_json::Map::new();
        build.insert("command".to_owned(), json(self.command));
        build.extend(self.workdir.map(|workdir| ("workdir".to_owned(), workdir.into())));
        if !self.watch.is_empty() {
            build.insert("watch".to_owned(), self.watch.into());
        }
        build
            .extend(self.environment.map(|table| ("environment".to_owned(), object(table).into())));
        build.into()
    }
}

pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Manifest> {
    let document: Document = super::read::read(text, problems)?;
    let application = Application {
        name: document.application.name,
        version: document.application.version,
        description: document.application.description,
        authors: document.application.authors,
        trigger_settings: document
            .application
            .trigger
            .into_iter()
            .map(|(trigger_type, table)| (trigger_type, object(table)))
            .collect(),
    };
    let components = document
        .component
        .into_iter()
        .map(|(id, table)| {
            let component = component(&id, table, problems);
            (id, component)
        })
        .collect();
    let mut triggers = Vec::new();
    for (trigger_type, tables) in document.trigger {
        for (index, table) in tables.into_iter().enumerate() {
            triggers.extend(trigger((&trigger_type, index + 1), table, problems));
        }
    }
    let mut manifest = Manifest {
        application,
        variables: variables(document.variables, problems),
        triggers: Vec::new(),
        components,
    };
    normalize::add_triggers(&mut manifest, triggers, problems);
    Some(manifest)
}

/// Application variables.
pub(super) fn variables(
    tables: BTreeMap<String, VariableTable>,
    problems: &mut Problems,
) -> BTreeMap<String, Variable> {
    let mut variables = BTreeMap::new();
    for (name, table) in tables {
        if let Err(error) = check_variable_name(&name) {
            problems.push(error.to_string());
        }
        if table.required == table.default.is_some() {
            problems.push(format!(
                "variable {name:?} must have exactly one of `required = true` and `default`"
            ));
        }
        let VariableTable { description, default, secret, .. } = table;
        variables.insert(name, Variable { description, default, secret });
    }
    variables
}

/// One trigger, the one with this `number` among those of its type.
fn trigger(
    (trigger_type, number): (&str, usize),
    mut table: toml::Table,
    problems: &mut Problems,
) -> Option<RawTrigger> {
    let id = match table.remove("id") {
        None => String::new(),
        Some(toml::Value::String(id)) => id,
        Some(_) => {
            problems.push(format!("`id` of {trigger_type} trigger {number} must be a text"));
            return None;
        }
    };
    let what = if id.is_empty() {
        format!("{trigger_type} trigger {number}")
    } else {
        format!("{trigger_type} trigger {id:?}")
    };
    let component = table.remove("component").and_then(|value| spec(&what, value, problems));
    let dependencies = table.remove("dependencies");
    let dependencies = dependencies.map(|value| trigger_dependencies::read(&what, value, problems));
    let mut roles = BTreeMap::new();
    match table.remove("components") {
        None => {}
        Some(toml::Value::Table(table)) => {
            for (role, value) in table {
                let values = match value {
                    toml::Value::Array(values) => values,
                    one => vec![one],
                };
                let specs =
                    values.into_iter().filter_map(|value| spec(&what, value, problems)).collect();
                roles.insert(role, specs);
            }
        }
        Some(_) => problems.push(format!("{what}: `components` must be a table")),
    }
    Some(RawTrigger {
        id,
        trigger_type: trigger_type.to_owned(),
        component,
        dependencies: dependencies.unwrap_or_default(),
        roles,
        config: object(table),
    })
}

/// A component's id, or a component written in place.
fn spec(what: &str, value: toml::Value, problems: &mut Problems) -> Option<Specs> {
    match value {
        toml::Value::String(id) => Some(Specs::Reference(id)),
        toml::Value::Table(table) => {
            let place = format!("component of {what}");
            let table: ComponentTable = read_table(&place, &table, problems)?;
            Some(Specs::Inline(Box::new(component(what, table, problems))))
        }
        _ => {
            problems.push(format!("{what}: `component` must be an id or a table"));
            None
        }
    }
}

fn component(id: &str, table: ComponentTable, problems: &mut Problems) -> Component {
    let mut note = |problem: String| problems.push(format!("component {id:?}: {problem}"));
    let source = source(&table.source).unwrap_or_else(|problem| {
        note(problem);
        super::Source::default()
    });
    let mut files = Vec::new();
    for value in &table.files {
        match file_mount(value) {
            Ok(mount) => files.push(mount),
            Err(problem) => note(problem),
        }
    }
    let mut allowed_outbound_hosts = table.allowed_outbound_hosts;
    match http_hosts::to_outbound_hosts(&table.allowed_http_hosts) {
        Ok(hosts) => allowed_outbound_hosts.extend(hosts),
        Err(error) => note(error.to_string()),
    }
    for label in table.key_value_stores.iter().chain(&table.sqlite_databases) {
        if let Err(problem) = id::check_label(label) {
            note(problem);
        }
    }
    let mut dependencies = BTreeMap::new();
    for (name, value) in &table.dependencies {
        match dependency::read(name, value, table.dependencies_inherit_configuration) {
            Ok(dependency) => drop(dependencies.insert(name.clone(), dependency)),
            Err(problem) => note(problem),
        }
    }
    Component {
        source,
        description: table.description,
        variables: table.variables,
        environment: table.environment,
        files,
        exclude_files: table.exclude_files,
        allowed_outbound_hosts,
        key_value_stores: table.key_value_stores,
        sqlite_databases: table.sqlite_databases,
        ai_models: table.ai_models,
        build: table.build.map(BuildTable::into_json),
        dependencies,
        trigger_dependencies: TriggerDependencies::default(),
    }
}
