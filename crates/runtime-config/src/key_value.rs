//! `[key_value_store.LABEL]`.

use std::path::PathBuf;

use crate::{Reader, Secret};

/// Where a key-value store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueStore {
    /// `type = "spin"`: an embedded database.
    Embedded {
        /// Its file; none: in memory.
        path: Option<PathBuf>,
    },
    /// `type = "redis"`.
    Redis {
        /// `redis://` or `rediss://`; it may hold a password.
        url: Secret,
    },
    /// `type = "azure_cosmos"`.
    AzureCosmos {
        /// The account's key; none: the identity of the workload.
        key: Option<Secret>,
        /// The account: its name, or the URL of its endpoint.
        account: String,
        /// The database.
        database: String,
        /// The container, partitioned by `/id`.
        container: String,
    },
    /// `type = "aws_dynamo"`.
    AwsDynamo {
        /// The region.
        region: String,
        /// The table.
        table: String,
        /// Whether reads see every write that was answered before.
        consistent_read: bool,
        /// None: the identity of the workload.
        credentials: Option<StaticCredentials>,
    },
}

/// Credentials for AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticCredentials {
    /// The id of the access key.
    pub access_key: Secret,
    /// The access key.
    pub secret_key: Secret,
    /// Of temporary credentials.
    pub token: Option<Secret>,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Option<KeyValueStore> {
    match reader.kind(&["spin", "redis", "azure_cosmos", "aws_dynamo"])?.as_str() {
        "spin" => Some(KeyValueStore::Embedded { path: reader.path("path") }),
        "redis" => redis(reader),
        "azure_cosmos" => azure_cosmos(reader),
        _ => aws_dynamo(reader),
    }
}

fn redis(reader: &mut Reader<'_>) -> Option<KeyValueStore> {
    let url = reader.required_secret("url")?;
    if let Secret::Inline(text) = &url {
        reader.check_url("url", text, &["redis", "rediss"]);
    }
    Some(KeyValueStore::Redis { url })
}

fn azure_cosmos(reader: &mut Reader<'_>) -> Option<KeyValueStore> {
    let key = reader.secret("key");
    let account = reader.required_text("account");
    let database = reader.required_text("database");
    let container = reader.required_text("container");
    Some(KeyValueStore::AzureCosmos {
        key,
        account: account?,
        database: database?,
        container: container?,
    })
}

fn aws_dynamo(reader: &mut Reader<'_>) -> Option<KeyValueStore> {
    let region = reader.required_text("region");
    let table = reader.required_text("table");
    let consistent_read = reader.switch("consistent_read").unwrap_or(false);
    let keys = (reader.secret("access_key"), reader.secret("secret_key"), reader.secret("token"));
    let credentials = match keys {
        (Some(access_key), Some(secret_key), token) => {
            Some(StaticCredentials { access_key, secret_key, token })
        }
        (None, None, None) => None,
        _ => {
            reader.refuse("access_key and secret_key belong together, and a token to both");
            None
        }
    };
    Some(KeyValueStore::AwsDynamo { region: region?, table: table?, consistent_read, credentials })
}
