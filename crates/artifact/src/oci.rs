//! The parts of the OCI image specification that matter here.

use std::collections::BTreeMap;

use app::Digest;
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// A reference to a blob: its type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Notes on it.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// For which machines it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// For which machines an image is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Platform {
    /// For example `amd64` or `wasm`.
    #[serde(default)]
    pub architecture: String,
    /// For example `linux` or `wasip1`.
    #[serde(default)]
    pub os: String,
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u8,
    /// Its own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, in order.
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<Descriptor>,
    /// Notes on it.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u8,
    /// Its own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests, or further indexes.
    #[serde(default, deserialize_with = "nullable")]
    pub manifests: Vec<Descriptor>,
    /// Notes on it.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image configuration, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `wasm` for a Spin artifact.
    #[serde(default)]
    pub architecture: String,
    /// `wasip1`, `Wasip1` or `wasi` for a Spin artifact.
    #[serde(default)]
    pub os: String,
    /// Settings of the container.
    #[serde(default, deserialize_with = "nullable")]
    pub config: ContainerConfig,
    /// The file systems of its layers: none in a Spin artifact.
    #[serde(default, deserialize_with = "nullable")]
    pub rootfs: RootFilesystem,
    /// How it came to be: nothing in a Spin artifact.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<serde_json::Value>,
}

/// Settings of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// What it starts.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Labels.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The file systems of an image's layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFilesystem {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Digests of the unpacked layers.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<String>,
}

impl Default for RootFilesystem {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// An image document that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The document does not parse.
    #[error("the image {what} is not valid")]
    Json {
        /// Which document.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The document is too large.
    #[error("the image {what} has {found} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The image has too many layers.
    #[error("the image has {found} layers, more than the {limit} allowed")]
    TooManyLayers {
        /// How many it has.
        found: usize,
        /// The limit.
        limit: usize,
    },
}

impl Descriptor {
    /// A descriptor without notes.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

impl ImageManifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] when it is too large, has too many layers or does not
    /// parse.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = parse(json, "manifest", limits::MANIFEST_BYTES)?;
        if manifest.layers.len() > limits::LAYERS {
            return Err(ManifestError::TooManyLayers {
                found: manifest.layers.len(),
                limit: limits::LAYERS,
            });
        }
        Ok(manifest)
    }
}

impl ImageIndex {
    /// Reads an index.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] when it is too large or does not parse.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        parse(json, "index", limits::MANIFEST_BYTES)
    }
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] when it is too large or does not parse.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        parse(json, "configuration", limits::CONFIG_BYTES)
    }

    /// Whether this is the configuration of a Wasm artifact.
    pub fn is_wasm(&self) -> bool {
        self.architecture == "wasm"
    }
}

fn parse<T: serde::de::DeserializeOwned>(
    json: &[u8],
    what: &'static str,
    limit: u64,
) -> Result<T, ManifestError> {
    let found = json.len() as u64;
    if found > limit {
        return Err(ManifestError::TooLarge { what, found, limit });
    }
    serde_json::from_slice(json).map_err(|source| ManifestError::Json { what, source })
}

/// A value, or `null` for its default: Go writes empty lists and maps as `null`.
fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_written_by_go_is_read() {
        let digest = Digest::of(b"c");
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"m","config":{{"mediaType":"c","digest":"{digest}","size":1}},"layers":[],"annotations":null}}"#
        );
        let manifest = ImageManifest::parse(json.as_bytes()).unwrap();
        assert_eq!(manifest.config, Descriptor::new("c", digest, 1));
        let config = ImageConfig::parse(
            br#"{"architecture":"wasm","os":"wasip1","config":null,"rootfs":{"type":"layers","diff_ids":null},"history":null}"#,
        );
        assert!(config.unwrap().is_wasm());
    }

    #[test]
    fn limits_and_other_digests_are_refused() {
        let large = vec![b' '; limits::MANIFEST_BYTES as usize + 1];
        assert!(matches!(ImageManifest::parse(&large), Err(ManifestError::TooLarge { .. })));
        let layer = Descriptor::new("l", Digest::of(b"l"), 1);
        let mut manifest = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: layer.clone(),
            layers: vec![layer; limits::LAYERS],
            annotations: BTreeMap::new(),
        };
        let parse =
            |manifest: &ImageManifest| ImageManifest::parse(&serde_json::to_vec(manifest).unwrap());
        assert!(parse(&manifest).is_ok());
        manifest.layers.push(manifest.config.clone());
        assert!(matches!(parse(&manifest), Err(ManifestError::TooManyLayers { .. })));
        let json =
            r#"{"schemaVersion":2,"config":{"mediaType":"c","digest":"sha512:00","size":1}}"#;
        assert!(matches!(ImageManifest::parse(json.as_bytes()), Err(ManifestError::Json { .. })));
    }
}
