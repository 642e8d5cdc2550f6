//! Entries as items.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The attribute that is the key.
pub(crate) const PK: &str = "PK";
/// The attribute that is the value.
pub(crate) const VAL: &str = "VAL";

/// A key as DynamoDB addresses an item.
pub(crate) fn key_to(key: &str) -> Value {
    json!({ PK: { "S": key } })
}

/// Bytes as the value of an attribute.
pub(crate) fn value_to(value: &[u8]) -> Value {
    json!({ "B": STANDARD.encode(value) })
}

pub(crate) fn item(key: &str, value: &[u8]) -> Value {
    json!({ PK: { "S": key }, VAL: value_to(value) })
}

/// The key of an item.
pub(crate) fn key_of(item: &Value) -> Option<String> {
    item.get(PK)?.get("S")?.as_str().map(str::to_owned)
}

/// The value of an item.
pub(crate) fn bytes_of(item: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(item.get(VAL)?.get("B")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_gives_back_its_key_and_bytes() {
        let item = item("k", &[0, 255]);
        assert_eq!((key_of(&item).as_deref(), bytes_of(&item)), (Some("k"), Some(vec![0, 255])));
        assert_eq!(bytes_of(&json!({ "VAL": { "N": "1" } })), None);
        assert_eq!(key_of(&json!({})), None);
    }
}
