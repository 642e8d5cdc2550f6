//! Version 1 of `spin.toml`, converted to version 2.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::build::{file_mount, object, source};
use super::v2::{BuildTable, VariableTable, variables};
use super::{Application, Component, Manifest, Trigger, TriggerDependencies, id};
use crate::{Problems, http_hosts};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "spin_manifest_version", alias = "spin_version")]
    _version: IgnoredAny,
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    authors: Vec<String>,
    trigger: toml::Table,
    #[serde(default)]
    variables: BTreeMap<String, VariableTable>,
    #[serde(default)]
    component: Vec<ComponentTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentTable {
    id: String,
    source: toml::Value,
    #[serde(default)]
    trigger: toml::Table,
    #[serde(default)]
    description: String,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<toml::Value>,
    #[serde(default)]
    exclude_files: Vec<String>,
    #[serde(default)]
    allowed_http_hosts: Vec<String>,
    allowed_outbound_hosts: Option<Vec<String>>,
    #[serde(default)]
    key_value_stores: Vec<String>,
    #[serde(default)]
    sqlite_databases: Vec<String>,
    #[serde(default)]
    ai_models: Vec<String>,
    build: Option<BuildTable>,
}

pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Manifest> {
    let mut document: Document = super::read::read(text, problems)?;
    let trigger_type = document.trigger.remove("type");
    let Some(toml::Value::String(trigger_type)) = trigger_type else {
        problems.push("`trigger` must have a `type`, for example { type = \"http\" }");
        return None;
    };
    let mut manifest = Manifest {
        application: Application {
            name: document.name,
            version: document.version,
            description: document.description,
            authors: document.authors,
            trigger_settings: BTreeMap::from([(trigger_type.clone(), object(document.trigger))]),
        },
        variables: variables(document.variables, problems),
        ..Manifest::default()
    };
    for table in document.component {
        let id = component_id(&table.id);
        let mut config = object(table.trigger.clone());
        config.insert("component".to_owned(), Value::from(id.clone()));
        manifest.triggers.push(Trigger {
            id: format!("trigger-{id}"),
            trigger_type: trigger_type.clone(),
            config,
        });
        let component = component(&id, table, problems);
        if manifest.components.insert(id.clone(), component).is_some() {
            problems.push(format!("component id {id:?} is used twice"));
        }
    }
    Some(manifest)
}

/// Ids could be anything; the two likely offences are mended.
fn component_id(id: &str) -> String {
    if id::check(id, '-').is_ok() { id.to_owned() } else { id.replace('_', "-").to_lowercase() }
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
    let mut allowed_outbound_hosts = table
        .allowed_outbound_hosts
        .unwrap_or_else(|| http_hosts::DATABASE_GRANTS.map(str::to_owned).to_vec());
    match http_hosts::to_outbound_hosts(&table.allowed_http_hosts) {
        Ok(hosts) => allowed_outbound_hosts.extend(hosts),
        Err(error) => note(error.to_string()),
    }
    Component {
        source,
        description: table.description,
        variables: table.config,
        environment: table.environment,
        files,
        exclude_files: table.exclude_files,
        allowed_outbound_hosts,
        key_value_stores: table.key_value_stores,
        sqlite_databases: table.sqlite_databases,
        ai_models: table.ai_models,
        build: table.build.map(BuildTable::into_json),
        dependencies: BTreeMap::new(),
        trigger_dependencies: TriggerDependencies::default(),
    }
}
