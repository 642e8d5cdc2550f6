//! References to content: where the bytes of a component or file are.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;

/// Standard alphabet, written without padding as Spin does; padding is accepted
/// when reading.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where content is: any of a URL, the bytes themselves, and a digest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContentRef {
    /// A URL, `file://…` in apps that were not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The bytes themselves; base64 in JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "encode",
        deserialize_with = "decode"
    )]
    pub inline: Option<Vec<u8>>,
    /// The digest of the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// The Wasm of a component or dependency.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockedSource {
    /// `application/wasm`.
    #[serde(default)]
    pub content_type: String,
    /// Where the bytes are.
    #[serde(flatten)]
    pub content: ContentRef,
}

/// A file that a component may read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockedFile {
    /// Where the bytes are.
    #[serde(flatten)]
    pub content: ContentRef,
    /// Where the guest sees it, relative to its root.
    pub path: String,
}

impl LockedSource {
    /// The media type of Wasm.
    pub const CONTENT_TYPE: &str = "application/wasm";

    /// Wasm at `content`.
    pub fn wasm(content: ContentRef) -> Self {
        Self { content_type: Self::CONTENT_TYPE.to_owned(), content }
    }
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn encode<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(|bytes| BASE64.encode(bytes)).serialize(serializer)
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| BASE64.decode(text))
        .transpose()
        .map_err(|error| serde::de::Error::custom(format!("inline content is not base64: {error}")))
}
