//! `runtime-config.toml`: where an app's stores, databases, models and variables
//! come from, and what limits hold for its connections.
//!
//! | key | content |
//! |---|---|
//! | `state_dir`, `log_dir` | a folder; `""`: none |
//! | `max_instance_memory` | bytes |
//! | `[[variables_provider]]`, also `[[config_provider]]` | [`VariablesProvider`], in the order in which they are asked |
//! | `[key_value_store.LABEL]` | [`KeyValueStore`] |
//! | `[sqlite_database.LABEL]` | [`SqliteDatabase`] |
//! | `[llm_compute]` | [`LlmCompute`] |
//! | `[outbound_http]` | [`OutboundHttp`] |
//! | `[outbound_networking]` | [`OutboundNetworking`] |
//! | `[[client_tls]]` | [`ClientTls`] |
//! | `[outbound_redis]`, `[outbound_pg]`, `[outbound_mysql]`, `[outbound_mqtt]` | [`ConnectionLimit`] |
//!
//! Every key of Spin up to 4.1 is known; any other one is refused by its name.
//! Wherever a secret is expected under a key such as `token`, `token_file` may
//! name a file that holds it instead. Numbers and switches may be written as
//! strings, which is how the Spin operator writes all options.
//!
//! [`RuntimeConfig::parse`] is pure: it opens no file and connects to nothing.
//! Relative paths count from the folder of the configuration, but for the `path`
//! of a SQLite database, which counts from the working directory, as in Spin.

mod key_value;
mod llm;
mod network;
mod reader;
mod secret;
mod sqlite;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use app::Problems;

pub use key_value::{KeyValueStore, StaticCredentials};
pub use llm::{LlmApi, LlmCompute};
pub use network::{
    ClientCertificate, ClientTls, ConnectionLimit, OutboundHttp, OutboundNetworking,
};
pub use secret::{MAX_SECRET, Secret, SecretError};
pub use sqlite::SqliteDatabase;
pub use variables::{AzureCloud, AzureSecret, VariablesProvider};

use reader::Reader;

/// Bytes that a configuration may have.
pub const MAX_SIZE: u64 = 1 << 20;

/// What a `runtime-config.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeConfig {
    /// Where the app keeps what it stores; none: not said.
    pub state_dir: Option<Folder>,
    /// Where the output of guests goes; none: not said.
    pub log_dir: Option<Folder>,
    /// Bytes of memory an instance may have.
    pub max_instance_memory: Option<u64>,
    /// Who is asked for the value of a variable, in this order.
    pub variables_providers: Vec<VariablesProvider>,
    /// Key-value stores by label.
    pub key_value_stores: BTreeMap<String, KeyValueStore>,
    /// SQLite databases by label.
    pub sqlite_databases: BTreeMap<String, SqliteDatabase>,
    /// Who runs language models; none: nobody.
    pub llm_compute: Option<LlmCompute>,
    /// Outbound HTTP.
    pub outbound_http: OutboundHttp,
    /// All outbound connections.
    pub outbound_networking: OutboundNetworking,
    /// Certificates for outbound TLS.
    pub client_tls: Vec<ClientTls>,
    /// Connections to Redis servers.
    pub outbound_redis: ConnectionLimit,
    /// Connections to PostgreSQL servers.
    pub outbound_pg: ConnectionLimit,
    /// Connections to MySQL servers.
    pub outbound_mysql: ConnectionLimit,
    /// Connections to MQTT brokers.
    pub outbound_mqtt: ConnectionLimit,
    /// Bytes that a message to or from an MQTT broker may have.
    pub outbound_mqtt_max_payload: Option<u64>,
}

/// A folder, or the wish to have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// None: nothing is written.
    Nowhere,
    /// This one.
    At(PathBuf),
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it; never its text, which may hold a secret.
        message: String,
    },
    /// What it says cannot be used; all of it.
    #[error("{0}")]
    Content(Problems),
}

impl RuntimeConfig {
    /// Reads the text of a configuration that lies in `folder`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Syntax`] for the first mistake of syntax; otherwise
    /// [`ConfigError::Content`] with every unknown key, every value that cannot
    /// be used, and everything that is missing.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let table: toml::Table = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        let mut problems = Problems::default();
        let mut reader = Reader::new(String::new(), table, folder, &mut problems);
        let config = Self {
            state_dir: reader.folder("state_dir"),
            log_dir: reader.folder("log_dir"),
            max_instance_memory: reader.positive("max_instance_memory"),
            variables_providers: variables::read(&mut reader),
            key_value_stores: reader.labelled("key_value_store", key_value::read),
            sqlite_databases: reader.labelled("sqlite_database", sqlite::read),
            llm_compute: reader.table("llm_compute", llm::read).flatten(),
            outbound_http: reader.table("outbound_http", network::http).unwrap_or_default(),
            outbound_networking: reader
                .table("outbound_networking", network::networking)
                .unwrap_or_default(),
            client_tls: reader.tables("client_tls", network::client_tls),
            outbound_redis: reader.table("outbound_redis", network::limit).unwrap_or_default(),
            outbound_pg: reader.table("outbound_pg", network::limit).unwrap_or_default(),
            outbound_mysql: reader.table("outbound_mysql", network::limit).unwrap_or_default(),
            ..Self::default()
        };
        let mqtt = reader.table("outbound_mqtt", network::mqtt);
        reader.finish();
        let (outbound_mqtt, outbound_mqtt_max_payload) = mqtt.unwrap_or_default();
        problems
            .into_result(Self { outbound_mqtt, outbound_mqtt_max_payload, ..config })
            .map_err(ConfigError::Content)
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.bytes().take(start);
    ConfigError::Syntax {
        line: before.filter(|byte| *byte == b'\n').count() + 1,
        message: error.message().replace('\n', ", "),
    }
}

#[cfg(test)]
mod tests;
