//! What the app's `runtime-config.toml` says.

use k8s_openapi::api::core::v1::{ConfigMapKeySelector, SecretKeySelector};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Backends of the host interfaces. Each option becomes a TOML string.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfig {
    /// A Secret in the app's namespace whose key `runtime-config.toml` is used as
    /// it is. The other fields have no effect then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_from_secret: Option<String>,
    /// SQLite databases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sqlite_databases: Vec<SqliteDatabase>,
    /// Key-value stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_value_stores: Vec<KeyValueStore>,
    /// The backend of large language models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llm_compute: Option<LlmCompute>,
}

/// A SQLite database by the name that components use.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct SqliteDatabase {
    /// What components call it.
    pub name: String,
    /// The kind of backend, for example `libsql`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Settings of the backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<RuntimeConfigOption>,
}

/// A key-value store by the name that components use.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct KeyValueStore {
    /// What components call it.
    pub name: String,
    /// The kind of backend, for example `redis`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Settings of the backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<RuntimeConfigOption>,
}

/// Where large language models run.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct LlmCompute {
    /// The kind of backend, for example `remote_http`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Settings of the backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<RuntimeConfigOption>,
}

/// One setting of a backend.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfigOption {
    /// The setting's name.
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value is, when not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<RuntimeConfigOptionSource>,
}

/// A key of a ConfigMap or of a Secret in the app's namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfigOptionSource {
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeySelector>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeySelector>,
}
