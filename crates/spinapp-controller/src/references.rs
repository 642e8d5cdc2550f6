//! Secrets and ConfigMaps that an app refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVarSource, Volume};
use sha2::{Digest as _, Sha256};
use spinapp_api::{DeploymentConfig, SpinAppSpec};

use crate::{ca_bundle, runtime_config};

/// The kinds of objects that hold configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        })
    }
}

/// One use of an object, or of one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) key: Option<String>,
    /// Whether the app runs without it.
    pub(crate) optional: bool,
}

impl Reference {
    pub(crate) fn key(kind: Kind, name: &str, key: &str, optional: bool) -> Self {
        Self { kind, name: name.to_owned(), key: Some(key.to_owned()), optional }
    }

    fn object(kind: Kind, name: &str, optional: Option<bool>) -> Self {
        Self { kind, name: name.to_owned(), key: None, optional: optional.unwrap_or(false) }
    }
}

/// A reference to something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MissingReference {
    #[error("{kind} {name:?} does not exist; create it in the app's namespace")]
    Object { kind: Kind, name: String },
    #[error("{kind} {name:?} has no key {key:?}")]
    Key { kind: Kind, name: String, key: String },
    #[error("key {key:?} of {kind} {name:?} is not UTF-8 text")]
    NotText { kind: Kind, name: String, key: String },
}

impl MissingReference {
    /// One word for conditions and events.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Object { kind, .. } | Self::Key { kind, .. } | Self::NotText { kind, .. } => {
                match kind {
                    Kind::ConfigMap => "MissingConfigMap",
                    Kind::Secret => "MissingSecret",
                }
            }
        }
    }
}

/// Every reference that an app's configuration and containers make.
pub(crate) fn of_app(spec: &SpinAppSpec, config: &DeploymentConfig) -> BTreeSet<Reference> {
    let mut references = BTreeSet::new();
    if let Some(runtime_config) = &spec.runtime_config {
        match runtime_config::own_secret(runtime_config) {
            Some(secret) => {
                let key = runtime_config::KEY;
                references.insert(Reference::key(Kind::Secret, secret, key, false));
            }
            None => references.extend(runtime_config::references(runtime_config)),
        }
    }
    // Apps run without it. The one that the controller makes itself is no reason for
    // a roll-out: it changes with the controller, and then for all apps at once.
    let foreign = !config.install_default_ca_certs;
    if let Some(secret) = ca_bundle::secret_name(config).filter(|_| foreign) {
        references.insert(Reference::object(Kind::Secret, secret, Some(true)));
    }
    let variables = spec.variables.iter().filter_map(|variable| variable.value_from.as_ref());
    references.extend(variables.filter_map(of_variable));
    references.extend(spec.volumes.iter().flat_map(of_volume));
    if let Some(options) = &spec.pod_options {
        let own = options.env.iter().filter_map(|variable| variable.value_from.as_ref());
        references.extend(own.filter_map(of_variable));
        references.extend(options.env_from.iter().filter_map(of_source));
        let containers = options.sidecars.iter().chain(&options.init_containers);
        references.extend(containers.flat_map(of_container));
    }
    references
}

fn of_container(container: &Container) -> Vec<Reference> {
    let variables = container.env.iter().flatten();
    let variables = variables.filter_map(|variable| variable.value_from.as_ref());
    let sources = container.env_from.iter().flatten().filter_map(of_source);
    variables.filter_map(of_variable).chain(sources).collect()
}

fn of_variable(source: &EnvVarSource) -> Option<Reference> {
    if let Some(key) = &source.secret_key_ref {
        let optional = key.optional.unwrap_or(false);
        return Some(Reference::key(Kind::Secret, &key.name, &key.key, optional));
    }
    let key = source.config_map_key_ref.as_ref()?;
    Some(Reference::key(Kind::ConfigMap, &key.name, &key.key, key.optional.unwrap_or(false)))
}

fn of_source(source: &EnvFromSource) -> Option<Reference> {
    if let Some(secret) = &source.secret_ref {
        return Some(Reference::object(Kind::Secret, &secret.name, secret.optional));
    }
    let map = source.config_map_ref.as_ref()?;
    Some(Reference::object(Kind::ConfigMap, &map.name, map.optional))
}

fn of_volume(volume: &Volume) -> Vec<Reference> {
    let secret = volume.secret.as_ref().and_then(|secret| {
        let name = secret.secret_name.as_deref()?;
        Some(Reference::object(Kind::Secret, name, secret.optional))
    });
    let map = volume.config_map.as_ref();
    let map = map.map(|map| Reference::object(Kind::ConfigMap, &map.name, map.optional));
    let projected =
        volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let projected = projected.filter_map(|source| {
        if let Some(secret) = &source.secret {
            return Some(Reference::object(Kind::Secret, &secret.name, secret.optional));
        }
        let map = source.config_map.as_ref()?;
        Some(Reference::object(Kind::ConfigMap, &map.name, map.optional))
    });
    secret.into_iter().chain(map).chain(projected).collect()
}

/// What was found behind references. Values never appear in its `Debug` form.
#[derive(Default)]
pub(crate) struct Contents {
    objects: BTreeMap<(Kind, String), BTreeMap<String, Vec<u8>>>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.objects.keys()).finish()
    }
}

impl Contents {
    /// Adds an object that exists.
    pub(crate) fn insert(&mut self, kind: Kind, name: &str, values: BTreeMap<String, Vec<u8>>) {
        self.objects.insert((kind, name.to_owned()), values);
    }

    /// The text behind a reference to a key; none when an optional one is absent.
    pub(crate) fn text(&self, reference: &Reference) -> Result<Option<String>, MissingReference> {
        let Reference { kind, name, key, optional } = reference;
        let (kind, name) = (*kind, name.clone());
        let key = key.clone().unwrap_or_default();
        let Some(values) = self.objects.get(&(kind, name.clone())) else {
            return absent(*optional, MissingReference::Object { kind, name });
        };
        let Some(value) = values.get(&key) else {
            return absent(*optional, MissingReference::Key { kind, name, key });
        };
        let text = String::from_utf8(value.clone());
        text.map(Some).map_err(|_| MissingReference::NotText { kind, name, key })
    }

    /// The first reference that leads nowhere although the app needs it.
    pub(crate) fn missing<'a>(
        &self,
        references: impl IntoIterator<Item = &'a Reference>,
    ) -> Option<MissingReference> {
        let mut needed = references.into_iter().filter(|reference| !reference.optional);
        needed.find_map(|reference| {
            let Reference { kind, name, key, .. } = reference;
            let (kind, name) = (*kind, name.clone());
            match (self.objects.get(&(kind, name.clone())), key) {
                (None, _) => Some(MissingReference::Object { kind, name }),
                (Some(values), Some(key)) if !values.contains_key(key) => {
                    Some(MissingReference::Key { kind, name, key: key.clone() })
                }
                (Some(_), _) => None,
            }
        })
    }

    /// A digest of everything that was found; none when nothing was.
    pub(crate) fn digest(&self) -> Option<String> {
        if self.objects.is_empty() {
            return None;
        }
        let mut hash = Sha256::new();
        // Lengths keep neighbours apart.
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for ((kind, name), values) in &self.objects {
            add(kind.to_string().as_bytes());
            add(name.as_bytes());
            add(&(values.len() as u64).to_be_bytes());
            for (key, value) in values {
                add(key.as_bytes());
                add(value);
            }
        }
        Some(hex::encode(hash.finalize()).chars().take(16).collect())
    }
}

fn absent(optional: bool, missing: MissingReference) -> Result<Option<String>, MissingReference> {
    if optional { Ok(None) } else { Err(missing) }
}

#[cfg(test)]
mod tests;
