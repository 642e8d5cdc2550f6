//! Components that satisfy the imports of others.

use super::build::{only, optional, required};
use super::{PackageName, Source, id, package};
use crate::{Digest, Inherit};

/// A component that satisfies an import of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Where it is.
    pub source: DependencySource,
    /// Its export that satisfies the import; none means the one of the same name.
    pub export: Option<String>,
    /// What it may use of what the depending component may use.
    pub inherit: Inherit,
}

/// Where a dependency is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DependencySource {
    /// A file, a download or a package.
    Wasm(Source),
    /// The source of another component of the app.
    Component(String),
}

/// Reads one entry of `dependencies`.
pub(super) fn read(
    name: &str,
    value: &toml::Value,
    inherit_all: bool,
) -> Result<Dependency, String> {
    let package_of_name = || {
        let named = name.split(['/', '@']).next().unwrap_or(name);
        if named.contains(':') {
            PackageName::parse(named)
        } else {
            id::check(name, '-')?;
            Err(format!("dependency {name:?} must name a `package`"))
        }
    };
    let default_inherit = || if inherit_all { Inherit::All } else { Inherit::default() };
    if let Some(version) = value.as_str() {
        let source = Source::Registry {
            registry: None,
            package: package_of_name()?,
            version: package::requirement(version)
                .map_err(|problem| format!("dependency {name:?}: {problem}"))?,
        };
        return Ok(Dependency {
            source: DependencySource::Wasm(source),
            export: None,
            inherit: default_inherit(),
        });
    }
    let what = format!("dependencies.{name}");
    let table = value.as_table().ok_or_else(|| format!("`{what}` must be a version or a table"))?;
    let rest = ["export", "inherit_configuration"];
    let fields = |own: &[&'static str]| only(table, &what, &[own, &rest].concat());
    let source = if table.contains_key("path") {
        fields(&["path"])?;
        DependencySource::Wasm(Source::Path(required(table, &what, "path")?))
    } else if table.contains_key("url") {
        fields(&["url", "digest"])?;
        let digest: Digest = required(table, &what, "digest")?
            .parse()
            .map_err(|error| format!("`{what}`: {error}"))?;
        DependencySource::Wasm(Source::Url { url: required(table, &what, "url")?, digest })
    } else if table.contains_key("component") {
        fields(&["component"])?;
        DependencySource::Component(required(table, &what, "component")?)
    } else {
        fields(&["version", "registry", "package"])?;
        let wrong = |problem| format!("`{what}`: {problem}");
        let named = optional(table, &what, "package")?;
        let package = named.map_or_else(package_of_name, |named| PackageName::parse(&named));
        let registry = optional(table, &what, "registry")?.map(package::registry).transpose();
        let version = package::requirement(&required(table, &what, "version")?);
        DependencySource::Wasm(Source::Registry {
            registry: registry.map_err(wrong)?,
            package: package.map_err(wrong)?,
            version: version.map_err(wrong)?,
        })
    };
    let inherit = match table.get("inherit_configuration") {
        None => default_inherit(),
        Some(_) if inherit_all => {
            return Err(format!(
                "`{what}`: `inherit_configuration` and `dependencies_inherit_configuration` exclude \
                 each other"
            ));
        }
        Some(value) => inherit(&what, value)?,
    };
    Ok(Dependency { source, export: optional(table, &what, "export")?, inherit })
}

/// Reads `inherit_configuration`: yes, no, or the names of sets.
fn inherit(what: &str, value: &toml::Value) -> Result<Inherit, String> {
    match value {
        toml::Value::Boolean(true) => Ok(Inherit::All),
        toml::Value::Boolean(false) => Ok(Inherit::default()),
        toml::Value::Array(names) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Inherit::Some)
            .ok_or_else(|| format!("`{what}`: `inherit_configuration` must list names")),
        _ => Err(format!("`{what}`: `inherit_configuration` must be true, false or a list")),
    }
}
