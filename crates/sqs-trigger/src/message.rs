//! Messages as SQS gives them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::guest::{AttributeValue, Message, MessageAttribute};

/// The answer to `ReceiveMessage`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Received {
    #[serde(default)]
    pub(crate) messages: Vec<Delivery>,
}

/// A message that is ours until its visibility timeout is over.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Delivery {
    message_id: Option<String>,
    /// What it is called when it is deleted.
    pub(crate) receipt_handle: String,
    body: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    message_attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    data_type: Option<String>,
    string_value: Option<String>,
    binary_value: Option<String>,
}

impl Delivery {
    /// Its id for people.
    pub(crate) fn id(&self) -> &str {
        self.message_id.as_deref().unwrap_or("without an id")
    }

    /// As a guest is told: attributes of the system first, each in the order of
    /// their names. An attribute that is neither a text nor bytes is left out.
    pub(crate) fn message(&self) -> Message {
        let system = self.attributes.iter().map(|(name, value)| MessageAttribute {
            name: name.clone(),
            data_type: None,
            value: AttributeValue::Str(value.clone()),
        });
        let own = self.message_attributes.iter().filter_map(|(name, attribute)| {
            let value = match (&attribute.string_value, &attribute.binary_value) {
                (Some(text), _) => AttributeValue::Str(text.clone()),
                (None, Some(encoded)) => AttributeValue::Binary(STANDARD.decode(encoded).ok()?),
                (None, None) => return None,
            };
            let data_type = attribute.data_type.clone();
            Some(MessageAttribute { name: name.clone(), data_type, value })
        });
        Message {
            id: self.message_id.clone(),
            attributes: system.chain(own).collect(),
            body: self.body.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_guest_is_told_everything_that_was_asked_for() {
        let received: Received = serde_json::from_value(json!({"Messages": [{
            "MessageId": "m", "ReceiptHandle": "r", "Body": "hello", "MD5OfBody": "x",
            "Attributes": {"SentTimestamp": "1", "SenderId": "me"},
            "MessageAttributes": {
                "b": {"DataType": "Binary", "BinaryValue": "AAH/"},
                "a": {"DataType": "Number.int", "StringValue": "7"},
                "none": {"DataType": "String"}
            }
        }]}))
        .unwrap();
        let attribute = |name: &str, data_type: Option<&str>, value| MessageAttribute {
            name: name.to_owned(),
            data_type: data_type.map(str::to_owned),
            value,
        };
        let text = |text: &str| AttributeValue::Str(text.to_owned());
        let expected = Message {
            id: Some("m".to_owned()),
            attributes: vec![
                attribute("SenderId", None, text("me")),
                attribute("SentTimestamp", None, text("1")),
                attribute("a", Some("Number.int"), text("7")),
                attribute("b", Some("Binary"), AttributeValue::Binary(vec![0, 1, 255])),
            ],
            body: Some("hello".to_owned()),
        };
        assert_eq!(received.messages[0].message(), expected);
        let nothing: Received = serde_json::from_value(json!({})).unwrap();
        assert!(nothing.messages.is_empty());
    }
}
