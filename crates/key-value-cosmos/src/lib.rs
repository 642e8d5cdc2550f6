//! Key-value stores in Azure Cosmos DB (API for NoSQL).
//!
//! An entry is a document with the `id` that is its key and a `value` that is a
//! list of its bytes, as Spin has it; a number made by an increment is a number.
//! The container's partition key is `/id`. Stores with the same container are the
//! same store. Calls with several keys are not atomic.

mod client;

use async_trait::async_trait;
use azure_identity::Identity;
use http::Method;
use key_value::{ResultSize, Store, StoreError, Swap, check_entry, check_key};
use runtime_config::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use client::{Client, CosmosError, Reply};

/// How often a call that lost against another one is repeated.
const ATTEMPTS: u32 = 20;

/// Characters that no id may have.
const FORBIDDEN: [char; 4] = ['/', '\\', '?', '#'];

/// How requests prove who makes them.
#[derive(Debug)]
pub enum Access {
    /// The account's key.
    Key(Secret),
    /// A token of an identity.
    Identity(Box<Identity>),
}

/// A container of Cosmos DB.
#[derive(Debug)]
pub struct CosmosStore {
    client: Client,
}

#[derive(Deserialize)]
struct Document {
    value: Stored,
    #[serde(rename = "_etag", default)]
    etag: String,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Stored {
    Bytes(Vec<u8>),
    Number(i64),
}

impl Stored {
    /// A number as its decimal text.
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => number.to_string().into_bytes(),
        }
    }
}

impl CosmosStore {
    /// The container of a database of an account: its name, or the URL of its
    /// endpoint. Nothing is connected yet.
    pub fn new(account: &str, database: &str, container: &str, access: Access) -> Self {
        Self { client: Client::new(account, database, container, access) }
    }

    async fn read(&self, key: &str) -> Result<Option<Document>, StoreError> {
        check(key)?;
        let reply = self.client.document(Method::GET, key, None, &[]).await;
        match found(reply)? {
            Some(reply) => reply.json().map(Some).map_err(StoreError::backend),
            None => Ok(None),
        }
    }

    /// Makes a document; whether there was none.
    async fn create(&self, key: &str, value: Stored) -> Result<bool, StoreError> {
        let document = json!({ "id": key, "value": value });
        match self.client.create(key, &document, false).await {
            Ok(_) => Ok(true),
            Err(CosmosError::Status { status, .. }) if status == 409 => Ok(false),
            Err(error) => Err(StoreError::backend(error)),
        }
    }

    /// Replaces a document that has not changed since it had `etag`; whether that
    /// is so.
    async fn replace(&self, key: &str, value: Vec<u8>, etag: &str) -> Result<bool, StoreError> {
        let document = json!({ "id": key, "value": value });
        let condition = [("if-match", etag)];
        let reply = self.client.document(Method::PUT, key, Some(&document), &condition).await;
        match reply {
            Ok(_) => Ok(true),
            Err(CosmosError::Status { status, .. }) if status == 412 || status == 404 => Ok(false),
            Err(error) => Err(StoreError::backend(error)),
        }
    }
}

fn found(reply: Result<Reply, CosmosError>) -> Result<Option<Reply>, StoreError> {
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(CosmosError::Status { status, .. }) if status == 404 => Ok(None),
        Err(error) => Err(StoreError::backend(error)),
    }
}

fn check(key: &str) -> Result<(), StoreError> {
    check_key(key)?;
    if key.is_empty() || key.contains(FORBIDDEN) {
        return Err(StoreError::backend(Forbidden));
    }
    Ok(())
}

/// A key that no document can have.
#[derive(Debug, thiserror::Error)]
#[error("a key of Cosmos DB must not be empty or contain any of / \\ ? #")]
struct Forbidden;

/// Others were faster each time.
#[derive(Debug, thiserror::Error)]
#[error("{key:?} was changed by others {ATTEMPTS} times in between")]
struct Contended {
    key: String,
}

#[async_trait]
impl Store for CosmosStore {
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read(&key).await?.map(|document| document.value.into_bytes()))
    }

    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError> {
        check(&key)?;
        check_entry(&key, &value)?;
        let document = json!({ "id": key, "value": value });
        self.client.create(&key, &document, true).await.map(drop).map_err(StoreError::backend)
    }

    async fn delete(&self, key: String) -> Result<(), StoreError> {
        check(&key)?;
        found(self.client.document(Method::DELETE, &key, None, &[]).await).map(drop)
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        Ok(self.read(&key).await?.is_some())
    }

    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let mut size = ResultSize::default();
        let mut continuation = None;
        loop {
            let query = "SELECT c.id FROM c";
            let page = self.client.query(query, continuation.as_deref()).await;
            let page = page.map_err(StoreError::backend)?;
            continuation = page.continuation();
            let page: Value = page.json().map_err(StoreError::backend)?;
            let documents = page.get("Documents").and_then(Value::as_array);
            for document in documents.into_iter().flatten() {
                if let Some(id) = document.get("id").and_then(Value::as_str) {
                    size.add(id.len())?;
                    keys.push(id.to_owned());
                }
            }
            if continuation.is_none() {
                return Ok(keys);
            }
        }
    }

    async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        let mut size = ResultSize::default();
        let mut entries = Vec::new();
        for key in keys {
            let value = self.get(key.clone()).await?;
            size.add(key.len() + value.as_ref().map_or(0, Vec::len))?;
            entries.push((key, value));
        }
        Ok(entries)
    }

    async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        entries.iter().try_for_each(|(key, value)| {
            check(key)?;
            check_entry(key, value)
        })?;
        for (key, value) in entries {
            self.set(key, value).await?;
        }
        Ok(())
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        keys.iter().try_for_each(|key| check(key))?;
        for key in keys {
            self.delete(key).await?;
        }
        Ok(())
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        check(&key)?;
        let patch = json!({
            "operations": [{ "op": "incr", "path": "/value", "value": delta }],
        });
        for _ in 0..ATTEMPTS {
            let reply = self.client.document(Method::PATCH, &key, Some(&patch), &[]).await;
            if let Err(CosmosError::Status { status, .. }) = &reply
                && *status == 400
            {
                return Err(StoreError::NotANumber { key });
            }
            if let Some(reply) = found(reply)? {
                let document: Document = reply.json().map_err(StoreError::backend)?;
                return match document.value {
                    Stored::Number(sum) => Ok(sum),
                    Stored::Bytes(_) => Err(StoreError::NotANumber { key }),
                };
            }
            if self.create(&key, Stored::Number(delta)).await? {
                return Ok(delta);
            }
        }
        Err(StoreError::backend(Contended { key }))
    }

    async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<Swap, StoreError> {
        check_entry(&key, &value)?;
        for _ in 0..ATTEMPTS {
            let document = self.read(&key).await?;
            let etag = document.as_ref().map(|document| document.etag.clone());
            let current = document.map(|document| document.value.into_bytes());
            if current != expected {
                return Ok(Swap::Changed(current));
            }
            let done = match etag {
                Some(etag) => self.replace(&key, value.clone(), &etag).await?,
                None => self.create(&key, Stored::Bytes(value.clone())).await?,
            };
            if done {
                return Ok(Swap::Done);
            }
        }
        Err(StoreError::backend(Contended { key }))
    }
}
