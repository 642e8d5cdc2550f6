//! The locked app: the JSON document that describes a Spin app in an artifact.

mod component;
mod content;
mod trigger;
mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use component::RESOLVED_BY;
pub use component::{ComponentMetadata, Inherit, LockedComponent, LockedDependency};
pub use content::{ContentRef, LockedFile, LockedSource};
pub use trigger::{LockedTrigger, TriggerConfigError};
pub use validate::{FilePathError, check_file_path};

use crate::Problems;

/// The newest `spin_lock_version` that is understood.
const NEWEST_VERSION: u64 = 1;

/// A Spin app as an artifact describes it, whichever Spin wrote it.
///
/// [`LockedApp::from_json`] guarantees: component ids are unique and are single
/// normal path components, paths of files consist of normal path components only,
/// digests are well formed, variable names follow their grammar, and every
/// trigger names a component that exists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LockedApp {
    /// Parts of this document that a reader must not ignore.
    pub must_understand: Vec<MustUnderstand>,
    /// Name, version and settings.
    pub metadata: AppMetadata,
    /// What the whole app needs from its host (Spin 2.x): feature to
    /// `"required"` or `"optional"`.
    pub host_requirements: BTreeMap<String, Value>,
    /// Application variables by name.
    pub variables: BTreeMap<String, Variable>,
    /// What starts the components.
    pub triggers: Vec<LockedTrigger>,
    /// The components.
    pub components: Vec<LockedComponent>,
}

/// A part of a locked app that a reader must not ignore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MustUnderstand {
    /// [`LockedApp::host_requirements`].
    HostRequirements,
    /// [`LockedComponent::host_requirements`].
    ComponentHostRequirements,
}

/// What is known about an app as a whole.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AppMetadata {
    /// Who wrote it.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// One line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its name; empty when the document has none.
    pub name: String,
    /// Where it was loaded from, a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Settings of the only trigger type, with its name as `type`: the only form
    /// in Spin 1.x, a duplicate of `triggers` later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Map<String, Value>>,
    /// Application-level settings by trigger type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<BTreeMap<String, Map<String, Value>>>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Everything else: `oci_image_digest`, `bindle_version`, `profile`, and what
    /// later versions add.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// An application variable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Variable {
    /// One line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its value when nobody provides one; without it the variable is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether its value must not be shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// Why a locked app was refused.
#[derive(Debug, thiserror::Error)]
pub enum LockedAppError {
    /// The document is not JSON.
    #[error("the locked app is not valid JSON")]
    Json(#[source] serde_json::Error),
    /// The document is no locked app.
    #[error("the document is not a locked app: it has no `spin_lock_version`")]
    NotLockedApp,
    /// The document is of a later version.
    #[error(
        "the locked app has spin_lock_version {found}, but only versions up to {NEWEST_VERSION} \
         are understood; push it again with an older Spin or use a newer Spinlet"
    )]
    TooNew {
        /// Its version.
        found: Value,
    },
    /// The document breaks rules; all broken rules are listed.
    #[error("the locked app is not valid: {0}")]
    Invalid(Problems),
}

/// A host feature that an app requires and its host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedRequirement {
    /// The feature, for example `local_service_chaining`.
    pub feature: String,
    /// The component that requires it; none means the whole app.
    pub component: Option<String>,
}

impl std::fmt::Display for UnsupportedRequirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.component {
            Some(component) => write!(f, "{} (component {component:?})", self.feature),
            None => f.write_str(&self.feature),
        }
    }
}

/// The document with its lists unread, so that a broken member does not hide the
/// problems of the others.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    must_understand: Vec<Value>,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    host_requirements: BTreeMap<String, Value>,
    #[serde(default)]
    variables: BTreeMap<String, Value>,
    #[serde(default)]
    triggers: Vec<Value>,
    #[serde(default)]
    components: Vec<Value>,
}

impl LockedApp {
    /// Whether `json` is a JSON object with a top-level `spin_lock_version`,
    /// which tells a locked app from every other document.
    pub fn is_locked_app(json: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Probe {
            #[expect(dead_code, reason = "only its presence matters")]
            spin_lock_version: Value,
        }
        serde_json::from_slice::<Probe>(json).is_ok()
    }

    /// Reads and validates a locked app.
    ///
    /// # Errors
    ///
    /// [`LockedAppError`]; [`LockedAppError::Invalid`] names every broken rule.
    pub fn from_json(json: &[u8]) -> Result<Self, LockedAppError> {
        let value: Value = serde_json::from_slice(json).map_err(LockedAppError::Json)?;
        let version = value.get("spin_lock_version").ok_or(LockedAppError::NotLockedApp)?;
        if version.as_u64().is_none_or(|version| version > NEWEST_VERSION) {
            return Err(LockedAppError::TooNew { found: version.clone() });
        }
        let document: Document = serde_json::from_value(value).map_err(LockedAppError::Json)?;
        let mut problems = Problems::default();
        let app = Self {
            must_understand: each(document.must_understand, "must_understand", &mut problems),
            metadata: metadata(document.metadata, &mut problems),
            host_requirements: document.host_requirements,
            variables: document
                .variables
                .into_iter()
                .filter_map(|(name, value)| {
                    let variable = one(value, || format!("variable {name:?}"), &mut problems)?;
                    Some((name, variable))
                })
                .collect(),
            triggers: each(document.triggers, "trigger", &mut problems),
            components: each(document.components, "component", &mut problems),
        };
        if problems.is_empty() {
            validate::validate(&app, &mut problems);
        }
        problems.into_result(app).map_err(LockedAppError::Invalid)
    }

    /// The document's bytes, compact, with its lists in their order and its maps
    /// sorted: the same app always gives the same bytes.
    ///
    /// # Errors
    ///
    /// None in practice; the signature is that of the JSON writer.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The `spin_lock_version` this app is written with.
    pub fn lock_version(&self) -> u8 {
        u8::from(!self.must_understand.is_empty() || !self.host_requirements.is_empty())
    }

    /// The app's name; empty when it has none.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Says of component `id` that everything it depends on is composed into it.
    pub fn set_composed(&mut self, id: &str) {
        for component in self.components.iter_mut().filter(|component| component.id == id) {
            component.set_composed();
        }
        if self.components.iter().all(|component| component.host_requirements.is_empty()) {
            self.must_understand.retain(|part| *part != MustUnderstand::ComponentHostRequirements);
        }
    }

    /// The component with this id.
    pub fn component(&self, id: &str) -> Option<&LockedComponent> {
        self.components.iter().find(|component| component.id == id)
    }

    /// The triggers of one type, in order.
    pub fn triggers_of(&self, trigger_type: &str) -> impl Iterator<Item = &LockedTrigger> {
        self.triggers.iter().filter(move |trigger| trigger.trigger_type == trigger_type)
    }

    /// The trigger types in use, each once, in order of first use.
    pub fn trigger_types(&self) -> Vec<&str> {
        let mut types = Vec::new();
        for trigger in &self.triggers {
            if !types.contains(&trigger.trigger_type.as_str()) {
                types.push(trigger.trigger_type.as_str());
            }
        }
        types
    }

    /// The application-level settings of one trigger type, from `triggers` or,
    /// only where that is absent, from the older `trigger`; none if it has none.
    pub fn trigger_settings(&self, trigger_type: &str) -> Option<Map<String, Value>> {
        if let Some(triggers) = &self.metadata.triggers {
            return triggers.get(trigger_type).cloned();
        }
        let mut settings = self.metadata.trigger.clone()?;
        match settings.remove("type") {
            Some(Value::String(name)) if name == trigger_type => Some(settings),
            _ => None,
        }
    }

    /// Every required host feature that is not in `supported`.
    pub fn unsupported_requirements(&self, supported: &[&str]) -> Vec<UnsupportedRequirement> {
        let lacking = |requirements: &BTreeMap<String, Value>, component: Option<&str>| {
            requirements
                .iter()
                .filter(|(feature, need)| {
                    need.as_str() != Some("optional") && !supported.contains(&feature.as_str())
                })
                .map(|(feature, _)| UnsupportedRequirement {
                    feature: feature.clone(),
                    component: component.map(str::to_owned),
                })
                .collect::<Vec<_>>()
        };
        let mut unsupported = lacking(&self.host_requirements, None);
        for component in &self.components {
            unsupported.extend(lacking(&component.host_requirements, Some(&component.id)));
        }
        unsupported
    }

    /// Checks the templates of all components: their syntax, and that they name
    /// only variables of the app.
    ///
    /// # Errors
    ///
    /// All templates that cannot be resolved, by component and variable.
    pub fn check_templates(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        for component in &self.components {
            validate::templates(self, component, &mut problems);
        }
        problems.into_result(())
    }
}

impl Serialize for LockedApp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            spin_lock_version: u8,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            must_understand: &'a [MustUnderstand],
            metadata: &'a AppMetadata,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            host_requirements: &'a BTreeMap<String, Value>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            variables: &'a BTreeMap<String, Variable>,
            triggers: &'a [LockedTrigger],
            components: &'a [LockedComponent],
        }
        Written {
            spin_lock_version: self.lock_version(),
            must_understand: &self.must_understand,
            metadata: &self.metadata,
            host_requirements: &self.host_requirements,
            variables: &self.variables,
            triggers: &self.triggers,
            components: &self.components,
        }
        .serialize(serializer)
    }
}

/// The app's metadata; `null` and absent mean none.
fn metadata(value: Value, problems: &mut Problems) -> AppMetadata {
    if value.is_null() {
        return AppMetadata::default();
    }
    one(value, || "metadata".to_owned(), problems).unwrap_or_default()
}

/// Reads every member of a list, noting each that does not fit.
fn each<T: serde::de::DeserializeOwned>(
    values: Vec<Value>,
    what: &str,
    problems: &mut Problems,
) -> Vec<T> {
    let mut members = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let name = match value.get("id").and_then(Value::as_str) {
            Some(id) => format!("{what} {id:?}"),
            None => format!("{what} number {}", index + 1),
        };
        members.extend(one(value, || name, problems));
    }
    members
}

/// Reads one member, noting it when it does not fit.
fn one<T: serde::de::DeserializeOwned>(
    value: Value,
    name: impl FnOnce() -> String,
    problems: &mut Problems,
) -> Option<T> {
    match serde_json::from_value(value) {
        Ok(member) => Some(member),
        Err(error) => {
            problems.push(format!("{}: {error}", name()));
            None
        }
    }
}

/// A list of strings, one string, or `null`.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<String>),
        One(String),
        None,
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::Many(many) => many,
        OneOrMany::One(one) => vec![one],
        OneOrMany::None => Vec::new(),
    })
}

#[cfg(test)]
mod tests;
