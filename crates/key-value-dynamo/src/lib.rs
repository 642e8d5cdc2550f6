//! Key-value stores in Amazon DynamoDB.
//!
//! An entry is an item with the attributes `PK`, its key, and `VAL`, its bytes,
//! as Spin has them; the table's partition key is `PK`, a string. Numbers are
//! kept as decimal text in `VAL`. Stores with the same table are the same store.
//!
//! Writing several entries is atomic up to [`AT_ONCE`] of them; more are written
//! in steps of that many.

mod item;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_client::{AwsClient, AwsError};
use key_value::{ResultSize, Store, StoreError, Swap, check_entry, check_key};
use serde_json::{Value, json};

use item::{PK, VAL, bytes_of, key_of, key_to, value_to};

/// Entries written by one transaction, which DynamoDB limits.
pub const AT_ONCE: usize = 100;

/// Keys of one request to read several, which DynamoDB limits.
const READ_AT_ONCE: usize = 100;

/// How often a call that lost against another one is repeated.
const ATTEMPTS: u32 = 20;

/// The pause before a call is repeated.
const PAUSE: Duration = Duration::from_millis(20);

const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

/// A table of DynamoDB.
#[derive(Debug)]
pub struct DynamoStore {
    client: AwsClient,
    table: String,
    consistent_read: bool,
}

/// An answer that DynamoDB does not give.
#[derive(Debug, thiserror::Error)]
#[error("the item of {key:?} has no value that is bytes")]
struct NotBytes {
    key: String,
}

impl DynamoStore {
    /// The table `table` of DynamoDB; with `consistent_read`, every write that was
    /// answered before is seen.
    pub fn new(client: AwsClient, table: &str, consistent_read: bool) -> Self {
        Self { client, table: table.to_owned(), consistent_read }
    }

    async fn call(&self, operation: &str, mut input: Value) -> Result<Value, AwsError> {
        if let Some(input) = input.as_object_mut()
            && !operation.starts_with("Batch")
            && !operation.starts_with("Transact")
        {
            input.insert("TableName".to_owned(), json!(self.table));
        }
        self.client.call(&format!("DynamoDB_20120810.{operation}"), "1.0", &input).await
    }

    async fn do_call(&self, operation: &str, input: Value) -> Result<Value, StoreError> {
        self.call(operation, input).await.map_err(StoreError::backend)
    }

    async fn read(&self, key: &str, consistent: bool) -> Result<Option<Vec<u8>>, StoreError> {
        check_key(key)?;
        let input = json!({
            "Key": key_to(key),
            "ProjectionExpression": VAL,
            "ConsistentRead": consistent,
        });
        let answer = self.do_call("GetItem", input).await?;
        let Some(item) = answer.get("Item") else { return Ok(None) };
        let value =
            bytes_of(item).ok_or_else(|| StoreError::backend(NotBytes { key: key.to_owned() }))?;
        ResultSize::default().add(value.len())?;
        Ok(Some(value))
    }

    /// Sets a key if its value still is `expected`; whether it was.
    async fn write_if(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<bool, StoreError> {
        let mut values = json!({ ":new": value_to(value) });
        let condition = match expected {
            Some(expected) => {
                if let Some(values) = values.as_object_mut() {
                    values.insert(":old".to_owned(), value_to(expected));
                }
                "#v = :old"
            }
            None => "attribute_not_exists(#v)",
        };
        let input = json!({
            "Key": key_to(key),
            "UpdateExpression": "SET #v = :new",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": { "#v": VAL },
            "ExpressionAttributeValues": values,
        });
        match self.call("UpdateItem", input).await {
            Ok(_) => Ok(true),
            Err(error) if error.is(CONDITION_FAILED) => Ok(false),
            Err(error) => Err(StoreError::backend(error)),
        }
    }

    async fn transact(&self, actions: Vec<Value>) -> Result<(), StoreError> {
        for actions in actions.chunks(AT_ONCE) {
            self.do_call("TransactWriteItems", json!({ "TransactItems": actions })).await?;
        }
        Ok(())
    }

    /// Up to [`READ_AT_ONCE`] different keys; DynamoDB may answer in pieces.
    async fn read_many(
        &self,
        keys: &[&String],
        found: &mut BTreeMap<String, Vec<u8>>,
        size: &mut ResultSize,
    ) -> Result<(), StoreError> {
        let keys: Vec<Value> = keys.iter().map(|key| key_to(key)).collect();
        let request = json!({ "Keys": keys, "ConsistentRead": self.consistent_read });
        let mut requests = json!({ self.table.as_str(): request });
        for attempt in 0.. {
            let input = json!({ "RequestItems": requests });
            let mut answer = self.do_call("BatchGetItem", input).await?;
            let items = answer.pointer(&format!("/Responses/{}", escaped(&self.table)));
            for item in items.and_then(Value::as_array).into_iter().flatten() {
                if let Some((key, value)) = key_of(item).zip(bytes_of(item)) {
                    size.add(key.len() + value.len())?;
                    found.insert(key, value);
                }
            }
            requests = answer.get_mut("UnprocessedKeys").map(Value::take).unwrap_or_default();
            if requests.as_object().is_none_or(serde_json::Map::is_empty) {
                break;
            }
            tokio::time::sleep(PAUSE * (attempt + 1).min(50)).await;
        }
        Ok(())
    }
}

/// A name as part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[async_trait]
impl Store for DynamoStore {
    async fn get(&self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(&key, self.consistent_read).await
    }

    async fn set(&self, key: String, value: Vec<u8>) -> Result<(), StoreError> {
        check_entry(&key, &value)?;
        self.do_call("PutItem", json!({ "Item": item::item(&key, &value) })).await.map(drop)
    }

    async fn delete(&self, key: String) -> Result<(), StoreError> {
        check_key(&key)?;
        self.do_call("DeleteItem", json!({ "Key": key_to(&key) })).await.map(drop)
    }

    async fn exists(&self, key: String) -> Result<bool, StoreError> {
        check_key(&key)?;
        let input = json!({
            "Key": key_to(&key),
            "ProjectionExpression": PK,
            "ConsistentRead": self.consistent_read,
        });
        Ok(self.do_call("GetItem", input).await?.get("Item").is_some())
    }

    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let mut size = ResultSize::default();
        let mut next = None;
        loop {
            let mut input = json!({
                "ProjectionExpression": PK,
                "ConsistentRead": self.consistent_read,
            });
            if let (Some(start), Some(input)) = (next.take(), input.as_object_mut()) {
                input.insert("ExclusiveStartKey".to_owned(), start);
            }
            let mut page = self.do_call("Scan", input).await?;
            let items = page.get("Items").and_then(Value::as_array);
            for key in items.into_iter().flatten().filter_map(key_of) {
                size.add(key.len())?;
                keys.push(key);
            }
            match page.get_mut("LastEvaluatedKey").map(Value::take) {
                Some(key) if !key.is_null() => next = Some(key),
                _ => return Ok(keys),
            }
        }
    }

    async fn get_many(
        &self,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut distinct: Vec<&String> = keys.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let (mut found, mut size) = (BTreeMap::new(), ResultSize::default());
        for keys in distinct.chunks(READ_AT_ONCE) {
            self.read_many(keys, &mut found, &mut size).await?;
        }
        Ok(keys.into_iter().map(|key| (key.clone(), found.get(&key).cloned())).collect())
    }

    async fn set_many(&self, entries: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        entries.iter().try_for_each(|(key, value)| check_entry(key, value))?;
        // One transaction has each key once; the last value counts.
        let entries: BTreeMap<String, Vec<u8>> = entries.into_iter().collect();
        let put = |(key, value): (&String, &Vec<u8>)| json!({ "Put": { "TableName": self.table, "Item": item::item(key, value) } });
        self.transact(entries.iter().map(put).collect()).await
    }

    async fn delete_many(&self, mut keys: Vec<String>) -> Result<(), StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        keys.sort_unstable();
        keys.dedup();
        let delete =
            |key: &String| json!({ "Delete": { "TableName": self.table, "Key": key_to(key) } });
        self.transact(keys.iter().map(delete).collect()).await
    }

    async fn increment(&self, key: String, delta: i64) -> Result<i64, StoreError> {
        for attempt in 0..ATTEMPTS {
            let old = self.read(&key, true).await?;
            let number = match old.as_deref() {
                None => 0,
                Some(bytes) => {
                    decimal(bytes).ok_or_else(|| StoreError::NotANumber { key: key.clone() })?
                }
            };
            let sum = number
                .checked_add(delta)
                .ok_or_else(|| StoreError::Overflow { key: key.clone() })?;
            if self.write_if(&key, old.as_deref(), sum.to_string().as_bytes()).await? {
                return Ok(sum);
            }
            tokio::time::sleep(PAUSE * (attempt + 1)).await;
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
        if self.write_if(&key, expected.as_deref(), &value).await? {
            return Ok(Swap::Done);
        }
        self.read(&key, true).await.map(Swap::Changed)
    }
}

/// Others were faster each time.
#[derive(Debug, thiserror::Error)]
#[error("{key:?} was changed by others {ATTEMPTS} times in between")]
struct Contended {
    key: String,
}

fn decimal(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
