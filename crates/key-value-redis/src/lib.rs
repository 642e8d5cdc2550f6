//! Key-value stores in Redis.
//!
//! Keys are keys of the database that the URL names, without anything before
//! them, as Spin has them: stores with the same URL are the same store. Numbers
//! are kept as decimal text.
//!
//! A store has one connection, made by the first call and again by the first one
//! after it broke; calls at the same time share it. A call that fails because the
//! connection broke is not repeated: it may have been carried out.

mod connect;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use key_value::{ResultSize, Store, StoreError, Swap, check_entry, check_key};
use redis::{Cmd, FromRedisValue, cmd};
use runtime_config::Secret;
use tokio::sync::Mutex;

use connect::{Open, open};

/// How long a call may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Keys that the server looks at for one step of a listing.
const STEP: u32 = 1000;

/// Sets a key if its value still is the expected one: the arguments say whether
/// one is expected, which, and the new one.
const SWAP: &str = "\
local value = redis.call('GET', KEYS[1])
if (ARGV[1] == '1' and value == ARGV[2]) or (ARGV[1] == '0' and not value) then
  redis.call('SET', KEYS[1], ARGV[3])
  return {1}
end
if value then return {0, value} end
return {0}";

/// A store in Redis.
#[derive(Debug)]
pub struct RedisStore {
    url: Secret,
    open: Mutex<Option<Arc<Open>>>,
}

impl RedisStore {
    /// The store that a URL `redis://[user:password@]host[:port][/database]`
    /// leads to; `rediss://` with TLS. Nothing is connected yet.
    pub fn new(url: Secret) -> Self {
        Self { url, open: Mutex::default() }
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let open = self.connection().await?;
        let mut connection = open.connection.clone();
        command.query_async(&mut connection).await.map_err(StoreError::backend)
    }

    async fn connection(&self) -> Result<Arc<Open>, StoreError> {
        let mut slot = self.open.lock().await;
        if let Some(open) = slot.as_ref().filter(|open| open.is_alive()) {
            return Ok(Arc::clone(open));
        }
        let new = Arc::new(open(&self.url).await.map_err(StoreError::backend)?);
        *slot = Some(Arc::clone(&new));
        Ok(new)
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        check_key(&key)?;
        let value: Option<Vec<u8>> = self.query(cmd("GET").arg(key)).await?;
        ResultSize::default().add(value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }

    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError> {
        check_entry(&key, &value)?;
        self.query(cmd("SET").arg(key).arg(value)).await
    }

    async fn delete(&self, key: String) -> Result<(), StoreError> {
        check_key(&key)?;
        self.query(cmd("DEL").arg(key)).await
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        check_key(&key)?;
        self.query(cmd("EXISTS").arg(key)).await
    }

    /// Step by step, so that the server goes on with others; keys that are not
    /// text, which no guest can name, are left out.
    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        let mut keys = BTreeSet::new();
        let mut size = ResultSize::default();
        let mut cursor = b"0".to_vec();
        loop {
            let (next, found): (Vec<u8>, Vec<Vec<u8>>) =
                self.query(cmd("SCAN").arg(cursor).arg("COUNT").arg(STEP)).await?;
            for key in found.into_iter().filter_map(|key| String::from_utf8(key).ok()) {
                let length = key.len();
                if keys.insert(key) {
                    size.add(length)?;
                }
            }
            if next == b"0" {
                return Ok(keys.into_iter().collect());
            }
            cursor = next;
        }
    }

    async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        keys.iter().try_for_each(|key| check_key(key))?;
        let values: Vec<Option<Vec<u8>>> = self.query(cmd("MGET").arg(&keys)).await?;
        let mut size = ResultSize::default();
        values.iter().flatten().try_for_each(|value| size.add(value.len()))?;
        Ok(keys.into_iter().zip(values).collect())
    }

    async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut command = cmd("MSET");
        for (key, value) in entries {
            check_entry(&key, &value)?;
            command.arg(key).arg(value);
        }
        self.query(&command).await
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        keys.iter().try_for_each(|key| check_key(key))?;
        self.query(cmd("DEL").arg(keys)).await
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        check_key(&key)?;
        let sum = self.query(cmd("INCRBY").arg(&key).arg(delta)).await;
        sum.map_err(|error| {
            let text = error.chain();
            if text.contains("would overflow") {
                StoreError::Overflow { key }
            } else if text.contains("not an integer") || text.contains("WRONGTYPE") {
                StoreError::NotANumber { key }
            } else {
                error
            }
        })
    }

    async fn swap(
        &self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<Swap, StoreError> {
        check_entry(&key, &value)?;
        let mut command = cmd("EVAL");
        command.arg(SWAP).arg(1).arg(key);
        command.arg(i32::from(expected.is_some())).arg(expected.unwrap_or_default()).arg(value);
        let answer: redis::Value = self.query(&command).await?;
        let redis::Value::Array(parts) = answer else { return Err(unexpected()) };
        match &parts[..] {
            [redis::Value::Int(1)] => Ok(Swap::Done),
            [redis::Value::Int(0)] => Ok(Swap::Changed(None)),
            [redis::Value::Int(0), redis::Value::BulkString(value)] => {
                Ok(Swap::Changed(Some(value.clone())))
            }
            _ => Err(unexpected()),
        }
    }
}

/// The answer of our own script has a form that it does not give.
#[derive(Debug, thiserror::Error)]
#[error("the server answers a swap with something else")]
struct Unexpected;

fn unexpected() -> StoreError {
    StoreError::backend(Unexpected)
}
