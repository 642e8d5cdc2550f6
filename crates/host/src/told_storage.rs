//! Stores and databases whose use is told as spans.

use std::sync::Arc;

use async_trait::async_trait;
use key_value::{Store, StoreError, Swap};
use sqlite::{Connection, QueryResult, SqliteError, Value};
use telemetry::Calls;

/// A key-value store of one instance.
pub(crate) struct ToldStore {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) calls: Calls,
}

#[async_trait]
impl Store for ToldStore {
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        self.calls.call("spin_key_value.get", self.store.get(key)).await
    }

    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError> {
        self.calls.call("spin_key_value.set", self.store.set(key, value)).await
    }

    async fn delete(&self, key: String) -> Result<(), StoreError> {
        self.calls.call("spin_key_value.delete", self.store.delete(key)).await
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        self.calls.call("spin_key_value.exists", self.store.exists(key)).await
    }

    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        self.calls.call("spin_key_value.get_keys", self.store.keys()).await
    }

    async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        self.calls.call("spin_key_value.get_many", self.store.get_many(keys)).await
    }

    async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        self.calls.call("spin_key_value.set_many", self.store.set_many(entries)).await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        self.calls.call("spin_key_value.delete_many", self.store.delete_many(keys)).await
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        self.calls.call("spin_key_value.increment", self.store.increment(key, delta)).await
    }

    async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<Swap, StoreError> {
        self.calls.call("spin_key_value.swap", self.store.swap(key, expected, value)).await
    }
}

/// A connection of one instance to a SQLite database.
pub(crate) struct ToldConnection {
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) calls: Calls,
}

#[async_trait]
impl Connection for ToldConnection {
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, SqliteError> {
        let executed = self.connection.execute(statement, parameters);
        self.calls.call("spin_sqlite.execute", executed).await
    }

    async fn last_insert_rowid(&self) -> i64 {
        self.connection.last_insert_rowid().await
    }

    async fn changes(&self) -> u64 {
        self.connection.changes().await
    }
}
