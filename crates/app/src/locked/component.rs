//! Components of a locked app.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::content::{LockedFile, LockedSource};
use crate::{Problems, http_hosts};

/// Where a component says which trigger type composes it with its
/// [`LockedComponent::trigger_dependencies`].
pub(crate) const RESOLVED_BY: &str = "resolve-trigger-dependencies-using";

/// A component.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LockedComponent {
    /// Its id, unique in the app; a single normal path component.
    pub id: String,
    /// What it may use.
    #[serde(default, skip_serializing_if = "ComponentMetadata::is_empty")]
    pub metadata: ComponentMetadata,
    /// Its Wasm.
    pub source: LockedSource,
    /// Its environment, which is the only environment its guest sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<LockedFile>,
    /// Its variables: name to template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Components that satisfy its imports, by import name; not composed yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, LockedDependency>,
    /// What it needs from its host (Spin 3.x and later): feature to
    /// `"required"` or `"optional"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host_requirements: BTreeMap<String, Value>,
    /// Components that its trigger composes with it, by role (Spin 4.1).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trigger_dependencies: BTreeMap<String, Vec<LockedDependency>>,
}

/// What a component may use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentMetadata {
    /// Models it may use.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub ai_models: Vec<String>,
    /// Hosts it may send HTTP requests to, in the form of Spin 1.x.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub allowed_http_hosts: Vec<String>,
    /// Hosts it may connect to.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub allowed_outbound_hosts: Vec<String>,
    /// How it was built; not used here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Value>,
    /// SQLite databases it may open.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<String>,
    /// One line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Key-value stores it may open.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub key_value_stores: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A component that satisfies an import of another one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockedDependency {
    /// Its Wasm.
    pub source: LockedSource,
    /// Its export that satisfies the import; none means the one of the same name.
    #[serde(default)]
    pub export: Option<String>,
    /// What it may use of what the depending component may use.
    #[serde(default, skip_serializing_if = "Inherit::is_nothing")]
    pub inherit: Inherit,
}

/// What a dependency may use of what the component that depends on it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inherit {
    /// Everything.
    All,
    /// The named sets, for example `allowed_outbound_hosts`.
    Some(Vec<String>),
}

impl Default for Inherit {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Inherit {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Some(sets) if sets.is_empty())
    }
}

impl ComponentMetadata {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl LockedComponent {
    /// Whether it is to be composed with others.
    pub fn is_uncomposed(&self) -> bool {
        !self.dependencies.is_empty() || !self.trigger_dependencies.is_empty()
    }

    /// Everything it is to be composed with is part of it now.
    pub(crate) fn set_composed(&mut self) {
        self.dependencies.clear();
        for (role, _) in std::mem::take(&mut self.trigger_dependencies) {
            self.host_requirements.remove(&role);
        }
        self.metadata.other.remove(RESOLVED_BY);
    }

    /// The hosts it may connect to, in the form of `allowed_outbound_hosts`, with
    /// those of the older `allowed_http_hosts` at the end.
    ///
    /// # Errors
    ///
    /// The entries of `allowed_http_hosts` that cannot be converted.
    pub fn allowed_outbound_hosts(&self) -> Result<Vec<String>, Problems> {
        let mut hosts = self.metadata.allowed_outbound_hosts.clone();
        hosts.extend(http_hosts::to_outbound_hosts(&self.metadata.allowed_http_hosts)?);
        Ok(hosts)
    }
}

/// A list, or `null` for none.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default())
}
