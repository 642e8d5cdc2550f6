//! Key-value stores and SQLite databases.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use app::Problems;
use aws_client::{AwsClient, CredentialsSource};
use azure_identity::Identity;
use host::StorageSettings;
use key_value::{Location, Stores};
use key_value_cosmos::{Access, CosmosStore};
use key_value_dynamo::DynamoStore;
use key_value_redis::RedisStore;
use runtime_config::{KeyValueStore, RuntimeConfig, SqliteDatabase};
use sqlite::{Databases, Embedded};
use sqlite_libsql::LibSql;

use super::check;
use crate::state_dir::StateDir;

/// The default store and database in `state_dir`, and those of the configuration,
/// which may take their place.
pub(super) fn settings(
    config: &RuntimeConfig,
    state_dir: &StateDir,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> StorageSettings {
    let mut stores = Stores::with_default(state_dir.location(key_value::FILE_NAME));
    for (label, store) in &config.key_value_stores {
        add_store(&mut stores, label, store, environment, problems);
    }
    let mut databases = Databases::with_default(state_dir.location(sqlite::FILE_NAME));
    for (label, database) in &config.sqlite_databases {
        add_database(&mut databases, label, database, problems);
    }
    StorageSettings { stores, databases }
}

fn add_store(
    stores: &mut Stores,
    label: &str,
    store: &KeyValueStore,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) {
    let place = format!("[key_value_store.{label}]");
    match store {
        KeyValueStore::Embedded { path } => stores.add_sqlite(label, location(path.as_ref())),
        KeyValueStore::Redis { url } => {
            check(url, &place, problems);
            stores.add(label, Arc::new(RedisStore::new(url.clone())));
        }
        KeyValueStore::AzureCosmos { key, account, database, container } => {
            let access = match key {
                Some(key) => {
                    check(key, &place, problems);
                    Access::Key(key.clone())
                }
                None => Access::Identity(Box::new(Identity::from_environment(environment))),
            };
            let store = CosmosStore::new(account, database, container, access);
            stores.add(label, Arc::new(store));
        }
        KeyValueStore::AwsDynamo { region, table, consistent_read, credentials } => {
            let source = match credentials {
                Some(credentials) => {
                    check(&credentials.access_key, &place, problems);
                    check(&credentials.secret_key, &place, problems);
                    credentials.token.iter().for_each(|token| check(token, &place, problems));
                    CredentialsSource::of(credentials.clone())
                }
                None => CredentialsSource::from_environment(environment),
            };
            let client = AwsClient::new("dynamodb", region, source, environment);
            stores.add(label, Arc::new(DynamoStore::new(client, table, *consistent_read)));
        }
    }
}

fn add_database(
    databases: &mut Databases,
    label: &str,
    database: &SqliteDatabase,
    problems: &mut Problems,
) {
    match database {
        SqliteDatabase::Embedded { path, allow_attach_file } => {
            let embedded = Embedded::new(location(path.as_ref()));
            databases.add(
                label,
                Arc::new(if *allow_attach_file {
                    embedded.with_attached_files()
                } else {
                    embedded
                }),
            );
        }
        SqliteDatabase::LibSql { url, token } => {
            check(token, &format!("[sqlite_database.{label}]"), problems);
            databases.add(label, Arc::new(LibSql::new(url, token.clone())));
        }
    }
}

fn location(path: Option<&PathBuf>) -> Location {
    path.map_or(Location::Memory, |path| Location::File(path.clone()))
}
