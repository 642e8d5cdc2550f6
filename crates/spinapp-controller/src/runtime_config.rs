//! The `runtime-config.toml` that an app gets.

mod text;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use spinapp_api::{RuntimeConfig, RuntimeConfigOption, SpinApp};

use crate::desired::{app_label, owner};
use crate::references::{Contents, Kind, MissingReference, Reference};

/// The key of the Secret, and the name of the file.
pub(crate) const KEY: &str = "runtime-config.toml";

/// The Secret with an app's runtime configuration. Its name contains a checksum
/// of its content, so that another content is another roll-out; options that
/// refer to Secrets and ConfigMaps are in it with their values.
///
/// None when the app brings a Secret of its own.
///
/// # Errors
/// Fails when an option refers to something that is not there.
pub(crate) fn secret(
    app: &SpinApp,
    contents: &Contents,
) -> Result<Option<Secret>, MissingReference> {
    let none = RuntimeConfig::default();
    let config = app.spec.runtime_config.as_ref().unwrap_or(&none);
    if own_secret(config).is_some() {
        return Ok(None);
    }
    let text = text(config, contents)?;
    let name = format!("{}-{:x}", app.name_any(), adler32(text.as_bytes()));
    Ok(Some(Secret {
        metadata: ObjectMeta {
            labels: Some([app_label(&app.name_any())].into()),
            namespace: app.namespace(),
            // Several may exist while a roll-out replaces one by another, so none
            // is controlled; all of them go with the app.
            owner_references: owner(app).map(|owner| vec![owner]),
            name: Some(name),
            ..ObjectMeta::default()
        },
        string_data: Some([(KEY.to_owned(), text)].into()),
        ..Secret::default()
    }))
}

/// The Secret that an app brings itself.
pub(crate) fn own_secret(config: &RuntimeConfig) -> Option<&str> {
    config.load_from_secret.as_deref().filter(|name| !name.is_empty())
}

/// What the options of a runtime configuration refer to.
pub(crate) fn references(config: &RuntimeConfig) -> impl Iterator<Item = Reference> {
    let databases = config.sqlite_databases.iter().flat_map(|database| &database.options);
    let stores = config.key_value_stores.iter().flat_map(|store| &store.options);
    let compute = config.llm_compute.iter().flat_map(|compute| &compute.options);
    databases.chain(stores).chain(compute).filter_map(reference)
}

fn reference(option: &RuntimeConfigOption) -> Option<Reference> {
    let source = option.value_from.as_ref()?;
    let secret = source.secret_key_ref.as_ref().map(|key| {
        Reference::key(Kind::Secret, &key.name, &key.key, key.optional.unwrap_or(false))
    });
    let config_map = source.config_map_key_ref.as_ref();
    secret.or_else(|| {
        config_map.map(|key| {
            Reference::key(Kind::ConfigMap, &key.name, &key.key, key.optional.unwrap_or(false))
        })
    })
}

fn text(config: &RuntimeConfig, contents: &Contents) -> Result<String, MissingReference> {
    let mut stores = BTreeMap::new();
    for store in &config.key_value_stores {
        let backend = backend(&store.kind, &store.options, contents)?;
        stores.insert(store.name.clone(), backend);
    }
    let mut databases = BTreeMap::new();
    for database in &config.sqlite_databases {
        let backend = backend(&database.kind, &database.options, contents)?;
        databases.insert(database.name.clone(), backend);
    }
    let compute = config.llm_compute.as_ref();
    let compute = compute.map(|compute| backend(&compute.kind, &compute.options, contents));
    Ok(text::of(&stores, &databases, compute.transpose()?.as_ref()))
}

/// Every value is a string: that is how the spin-operator writes them, and what
/// readers of these files therefore accept.
fn backend(
    kind: &str,
    options: &[RuntimeConfigOption],
    contents: &Contents,
) -> Result<text::Table, MissingReference> {
    let mut table = text::Table::new();
    for option in options {
        let value = match (&option.value, reference(option)) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(reference)) => contents.text(&reference)?,
            (None, None) => None,
        };
        if let Some(value) = value {
            table.insert(option.name.clone(), value);
        }
    }
    table.insert("type".to_owned(), kind.to_owned());
    Ok(table)
}

/// The checksum of RFC 1950, which the spin-operator puts into the name.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % MODULUS;
        (low, (high + low) % MODULUS)
    });
    high << 16 | low
}

#[cfg(test)]
mod tests;
