//! From TOML values to the manifest's own types.

use serde_json::{Map, Value};

use super::{FileMount, PackageName, Source, package};
use crate::Digest;

/// A TOML value as JSON; dates become their text.
pub(super) fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(truth) => Value::from(truth),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => Value::Object(object(table)),
    }
}

/// A TOML table as a JSON object.
pub(super) fn object(table: toml::Table) -> Map<String, Value> {
    table.into_iter().map(|(key, value)| (key, json(value))).collect()
}

/// Where Wasm is.
pub(super) fn source(value: &toml::Value) -> Result<Source, String> {
    if let Some(path) = value.as_str() {
        if path.is_empty() {
            return Err("`source` is empty".to_owned());
        }
        return Ok(Source::Path(path.to_owned()));
    }
    let table = value.as_table().ok_or("`source` must be a path or a table")?;
    if table.contains_key("url") {
        only(table, "source", &["url", "digest"])?;
        let digest: Digest = required(table, "source", "digest")?
            .parse()
            .map_err(|error| format!("`source`: {error}"))?;
        return Ok(Source::Url { url: required(table, "source", "url")?, digest });
    }
    if table.contains_key("package") {
        only(table, "source", &["registry", "package", "version"])?;
        let wrong = |problem| format!("`source`: {problem}");
        let registry = optional(table, "source", "registry")?;
        let named = required(table, "source", "package")?;
        let version = required(table, "source", "version")?;
        return Ok(Source::Registry {
            registry: registry.map(package::registry).transpose().map_err(wrong)?,
            package: PackageName::parse(&named).map_err(wrong)?,
            version: package::version(&version).map_err(wrong)?,
        });
    }
    Err("`source` must be a path, { url, digest } or { registry, package, version }".to_owned())
}

/// Files that a component may read.
pub(super) fn file_mount(value: &toml::Value) -> Result<FileMount, String> {
    if let Some(pattern) = value.as_str() {
        return Ok(FileMount::Pattern(pattern.to_owned()));
    }
    let table = value.as_table().ok_or("`files` must hold patterns and tables")?;
    only(table, "files", &["source", "destination"])?;
    Ok(FileMount::Placement {
        source: required(table, "files", "source")?,
        destination: required(table, "files", "destination")?,
    })
}

/// Refuses fields that are not in `fields`.
pub(super) fn only(table: &toml::Table, what: &str, fields: &[&str]) -> Result<(), String> {
    let unknown: Vec<String> = table
        .keys()
        .filter(|key| !fields.contains(&key.as_str()))
        .map(|key| format!("{key:?}"))
        .collect();
    match unknown.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("`{what}` has an unknown field {one}")),
        several => Err(format!("`{what}` has unknown fields {}", several.join(", "))),
    }
}

/// A text field that must be there.
pub(super) fn required(table: &toml::Table, what: &str, field: &str) -> Result<String, String> {
    optional(table, what, field)?.ok_or_else(|| format!("`{what}` lacks the field `{field}`"))
}

/// A text field that may be there.
pub(super) fn optional(
    table: &toml::Table,
    what: &str,
    field: &str,
) -> Result<Option<String>, String> {
    match table.get(field) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{what}`: `{field}` must be a text")),
    }
}
