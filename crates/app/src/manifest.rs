//! `spin.toml`, versions 1 and 2, in one normal form.
//!
//! Parsing normalises: version 1 becomes version 2, every trigger gets an id,
//! components written inside triggers become components of their own,
//! `allowed_http_hosts` becomes `allowed_outbound_hosts`. Unknown fields are
//! errors.

mod build;
mod dependency;
mod id;
mod lock;
mod normalize;
mod package;
mod read;
mod trigger_dependencies;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fmt;

use semver::VersionReq;
use serde_json::{Map, Value};

pub use dependency::{Dependency, DependencySource};
pub use package::PackageName;

use crate::{Digest, Problems, Variable};

/// An app as its author wrote it down, in normal form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manifest {
    /// What is known about the app as a whole.
    pub application: Application,
    /// Application variables by name.
    pub variables: BTreeMap<String, Variable>,
    /// What starts the components, by type, in the order of the file.
    pub triggers: Vec<Trigger>,
    /// Components by id.
    pub components: BTreeMap<String, Component>,
}

/// What is known about an app as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Its version; empty when it has none.
    pub version: String,
    /// One line about it; empty when there is none.
    pub description: String,
    /// Who wrote it.
    pub authors: Vec<String>,
    /// Application-level settings by trigger type.
    pub trigger_settings: BTreeMap<String, Map<String, Value>>,
}

/// What starts a component.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trigger {
    /// Its id, unique in the app.
    pub id: String,
    /// Its type, for example `http`.
    pub trigger_type: String,
    /// Its table without the id; `component` is a component id.
    pub config: Map<String, Value>,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Component {
    /// Its Wasm.
    pub source: Source,
    /// One line about it; empty when there is none.
    pub description: String,
    /// Its variables: name to template.
    pub variables: BTreeMap<String, String>,
    /// The environment of its guest.
    pub environment: BTreeMap<String, String>,
    /// Files it may read.
    pub files: Vec<FileMount>,
    /// Patterns of files that it may not read after all.
    pub exclude_files: Vec<String>,
    /// Hosts it may connect to.
    pub allowed_outbound_hosts: Vec<String>,
    /// Key-value stores it may open.
    pub key_value_stores: Vec<String>,
    /// SQLite databases it may open.
    pub sqlite_databases: Vec<String>,
    /// Models it may use.
    pub ai_models: Vec<String>,
    /// How it is built; not used here.
    pub build: Option<Value>,
    /// Components that satisfy its imports, by import name.
    pub dependencies: BTreeMap<String, Dependency>,
    /// Components that its trigger composes with it.
    pub trigger_dependencies: TriggerDependencies,
}

/// Components that a trigger composes with the one it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TriggerDependencies {
    /// The type of the trigger; empty without any.
    pub trigger_type: String,
    /// The components by role, such as `middleware`, in their order.
    pub by_role: BTreeMap<String, Vec<Dependency>>,
}

/// Where Wasm is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, relative to the folder of the manifest.
    Path(String),
    /// A download.
    Url {
        /// From where.
        url: String,
        /// What must arrive.
        digest: Digest,
    },
    /// A package.
    Registry {
        /// The registry; none means the one that is known for the package's namespace.
        registry: Option<String>,
        /// Its name.
        package: PackageName,
        /// Which versions will do: of a component, only one.
        version: VersionReq,
    },
}

impl Default for Source {
    fn default() -> Self {
        Self::Path(String::new())
    }
}

/// Files that a component may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileMount {
    /// A path or glob pattern relative to the folder of the manifest; files keep
    /// their relative paths.
    Pattern(String),
    /// A file or folder that appears elsewhere.
    Placement {
        /// The file or folder, relative to the folder of the manifest.
        source: String,
        /// Where the guest sees it.
        destination: String,
    },
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file is not UTF-8.
    #[error("the manifest is not UTF-8 text")]
    Encoding(#[source] std::str::Utf8Error),
    /// The version is missing or unknown.
    #[error(
        "{found}: `spin_manifest_version` must be the number 2 or, for the old form, the text \"1\""
    )]
    Version {
        /// What was found.
        found: String,
    },
    /// The file is not TOML, has fields that are unknown, missing or of the wrong type,
    /// or breaks other rules; everything is listed.
    #[error("{0}")]
    Invalid(Problems),
}

/// A line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Counted from 1.
    line: usize,
    /// What the line is about: its key or its header, never its value, which may
    /// be a secret.
    about: String,
}

impl Place {
    /// The line in which the byte at `offset` is.
    fn of(text: &str, offset: usize) -> Option<Self> {
        let before = text.get(..offset)?;
        let line = before.matches('\n').count();
        let about = text.lines().nth(line).unwrap_or_default();
        let about = about.split('=').next().unwrap_or_default().trim().to_owned();
        Some(Self { line: line + 1, about })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if self.about.is_empty() { Ok(()) } else { write!(f, ", `{}`", self.about) }
    }
}

impl Trigger {
    /// The id of the component it starts, if it names one.
    pub fn component(&self) -> Option<&str> {
        self.config.get("component").and_then(Value::as_str)
    }
}

impl Manifest {
    /// Reads a `spin.toml`.
    ///
    /// # Errors
    ///
    /// [`ManifestError`]; [`ManifestError::Invalid`] names everything that is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(text).map_err(ManifestError::Encoding)?;
        let mut problems = Problems::default();
        let Some(table) = read::read::<toml::Table>(text, &mut problems) else {
            return Err(ManifestError::Invalid(problems));
        };
        let version = table.get("spin_manifest_version").or_else(|| table.get("spin_version"));
        let manifest = match version {
            Some(toml::Value::Integer(2)) => v2::read(text, &mut problems),
            Some(toml::Value::String(version)) if version == "1" => v1::read(text, &mut problems),
            Some(other) => {
                return Err(ManifestError::Version { found: format!("unknown version {other}") });
            }
            None => return Err(ManifestError::Version { found: "no version".to_owned() }),
        };
        let Some(manifest) = manifest else { return Err(ManifestError::Invalid(problems)) };
        manifest.check(&mut problems);
        problems.into_result(manifest).map_err(ManifestError::Invalid)
    }

    /// The manifest of a bare Wasm file called `name`: one component that answers
    /// every HTTP request.
    pub fn single_component(name: &str) -> Self {
        let id = id::kebab_from(name);
        let mut config = Map::new();
        config.insert("route".to_owned(), Value::from("/..."));
        config.insert("component".to_owned(), Value::from(id.clone()));
        Self {
            application: Application { name: name.to_owned(), ..Application::default() },
            triggers: vec![Trigger {
                id: format!("{id}-http-trigger"),
                trigger_type: "http".to_owned(),
                config,
            }],
            components: BTreeMap::from([(id, Component::default())]),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
