//! Stores in an embedded SQLite database.

use std::sync::Arc;

use async_trait::async_trait;
use embedded_database::{Database, Location};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::{Mutex, OnceCell};

use crate::store::{ResultSize, Store, StoreError, Swap, check_entry, check_key};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (\
    store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key))";
const GET: &str = "SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2";
const SET: &str = "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3) \
    ON CONFLICT (store, key) DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2";
const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM spin_key_value WHERE store = ?1 AND key = ?2)";
const KEYS: &str = "SELECT key FROM spin_key_value WHERE store = ?1";

/// The stores in one SQLite database: the table `spin_key_value`, its column
/// `store` the label.
///
/// Nothing is opened before the first call. Calls run on threads that may block,
/// one that writes and one that reads at a time; further ones wait without a
/// thread.
pub struct SqliteStores {
    database: Arc<Database>,
    connections: OnceCell<Connections>,
}

struct Connections {
    writer: Arc<Mutex<Connection>>,
    /// None in memory, where a second connection would be another database.
    reader: Option<Arc<Mutex<Connection>>>,
}

enum Access {
    Read,
    Write,
}

impl SqliteStores {
    /// The stores in the database at `location`.
    pub fn new(location: Location) -> Arc<Self> {
        let database = Arc::new(Database::new(location));
        Arc::new(Self { database, connections: OnceCell::new() })
    }

    /// The store with this label.
    pub fn store(self: &Arc<Self>, label: &str) -> Arc<dyn Store> {
        Arc::new(SqliteStore { stores: Arc::clone(self), label: label.to_owned() })
    }

    async fn connections(&self) -> Result<&Connections, StoreError> {
        self.connections
            .get_or_try_init(|| async {
                let database = Arc::clone(&self.database);
                blocking(move || Connections::open(&database)).await
            })
            .await
    }

    async fn run<R: Send + 'static>(
        &self,
        access: Access,
        action: impl FnOnce(&mut Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let connections = self.connections().await?;
        let connection = match access {
            Access::Read => connections.reader.as_ref().unwrap_or(&connections.writer),
            Access::Write => &connections.writer,
        };
        let mut connection = Arc::clone(connection).lock_owned().await;
        blocking(move || action(&mut connection)).await
    }
}

impl Connections {
    fn open(database: &Database) -> Result<Self, StoreError> {
        let writer = database.open().map_err(StoreError::backend)?;
        writer.connection.execute_batch(SCHEMA).map_err(StoreError::backend)?;
        let reader = if writer.in_file {
            let reader = database.open().map_err(StoreError::backend)?;
            Some(Arc::new(Mutex::new(reader.connection)))
        } else {
            None
        };
        Ok(Self { writer: Arc::new(Mutex::new(writer.connection)), reader })
    }
}

async fn blocking<R: Send + 'static>(
    action: impl FnOnce() -> Result<R, StoreError> + Send + 'static,
) -> Result<R, StoreError> {
    tokio::task::spawn_blocking(action).await.map_err(StoreError::backend)?
}

/// One store.
struct SqliteStore {
    stores: Arc<SqliteStores>,
    label: String,
}

impl SqliteStore {
    async fn read<R: Send + 'static>(
        &self,
        action: impl FnOnce(&Connection, &str) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let label = self.label.clone();
        self.stores.run(Access::Read, move |connection| action(connection, &label)).await
    }

    /// In one transaction that holds the write lock from its start.
    async fn write<R: Send + 'static>(
        &self,
        action: impl FnOnce(&Connection, &str) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let label = self.label.clone();
        let in_transaction = move |connection: &mut Connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(StoreError::backend)?;
            let result = action(&transaction, &label)?;
            transaction.commit().map_err(StoreError::backend)?;
            Ok(result)
        };
        self.stores.run(Access::Write, in_transaction).await
    }
}

fn get(connection: &Connection, label: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached(GET).map_err(StoreError::backend)?;
    let value = statement.query_row(params![label, key], |row| row.get(0)).optional();
    value.map_err(StoreError::backend)
}

fn set(connection: &Connection, label: &str, key: &str, value: &[u8]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(SET).map_err(StoreError::backend)?;
    statement.execute(params![label, key, value]).map_err(StoreError::backend)?;
    Ok(())
}

fn delete(connection: &Connection, label: &str, key: &str) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(DELETE).map_err(StoreError::backend)?;
    statement.execute(params![label, key]).map_err(StoreError::backend)?;
    Ok(())
}

fn keys(connection: &Connection, label: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(KEYS).map_err(StoreError::backend)?;
    let mut rows = statement.query(params![label]).map_err(StoreError::backend)?;
    let (mut keys, mut size) = (Vec::new(), ResultSize::default());
    while let Some(row) = rows.next().map_err(StoreError::backend)? {
        let key: String = row.get(0).map_err(StoreError::backend)?;
        size.add(key.len())?;
        keys.push(key);
    }
    Ok(keys)
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        check_key(&key)?;
        self.read(move |connection, label| get(connection, label, &key)).await
    }

    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError> {
        check_entry(&key, &value)?;
        self.write(move |connection, label| set(connection, label, &key, &value)).await
    }

    async fn delete(&self, key: String) -> Result<(), StoreError> {
        check_key(&key)?;
        self.write(move |connection, label| delete(connection, label, &key)).await
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        check_key(&key)?;
        self.read(move |connection, label| {
            let mut statement = connection.prepare_cached(EXISTS).map_err(StoreError::backend)?;
            statement.query_row(params![label, key], |row| row.get(0)).map_err(StoreError::backend)
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        self.read(keys).await
    }

    async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.read(move |connection, label| {
            // One transaction, so that all values are of the same moment.
            let transaction = connection.unchecked_transaction().map_err(StoreError::backend)?;
            let mut size = ResultSize::default();
            let mut entries = Vec::with_capacity(keys.len());
            for key in keys {
                let value = get(&transaction, label, &key)?;
                size.add(key.len() + value.as_ref().map_or(0, Vec::len))?;
                entries.push((key, value));
            }
            Ok(entries)
        })
        .await
    }

    async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        entries.iter().try_for_each(|(key, value)| check_entry(key, value))?;
        self.write(move |connection, label| {
            entries.iter().try_for_each(|(key, value)| set(connection, label, key, value))
        })
        .await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.write(move |connection, label| {
            keys.iter().try_for_each(|key| delete(connection, label, key))
        })
        .await
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        check_key(&key)?;
        self.write(move |connection, label| {
            let number = match get(connection, label, &key)? {
                None => 0,
                Some(value) => match <[u8; 8]>::try_from(value) {
                    Ok(bytes) => i64::from_le_bytes(bytes),
                    Err(_) => return Err(StoreError::NotANumber { key }),
                },
            };
            let Some(sum) = number.checked_add(delta) else {
                return Err(StoreError::Overflow { key });
            };
            set(connection, label, &key, &sum.to_le_bytes())?;
            Ok(sum)
        })
        .await
    }

    async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<Swap, StoreError> {
        check_entry(&key, &value)?;
        self.write(move |connection, label| {
            let current = get(connection, label, &key)?;
            if current != expected {
                return Ok(Swap::Changed(current));
            }
            set(connection, label, &key, &value)?;
            Ok(Swap::Done)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
