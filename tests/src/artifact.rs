//! Artifacts and images made by hand, for what no tool would push.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::http::request;
use crate::registry::Registry;

/// Media type of a WebAssembly layer.
pub const WASM_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// Media type of the layer with the locked app.
pub const APP_LAYER: &str = "application/vnd.fermyon.spin.application.v1+config";

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// `sha256:` and the hexadecimal digest.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A locked app with one HTTP component whose code has this digest.
pub fn locked_app(wasm_digest: &str) -> Value {
    json!({
        "spin_lock_version": 0,
        "metadata": { "name": "by-hand", "version": "0.1.0", "trigger": { "type": "http" } },
        "triggers": [{
            "id": "app-http-trigger",
            "trigger_type": "http",
            "trigger_config": { "component": "app", "route": "/..." },
        }],
        "components": [{
            "id": "app",
            "source": { "content_type": "application/wasm", "digest": wasm_digest },
        }],
    })
}

/// Uploads an artifact with these layers (media type, content) and returns its
/// reference.
///
/// # Errors
/// Fails when the registry does not take a part.
pub fn push(registry: &Registry, name: &str, layers: &[(&str, &[u8])]) -> Result<String> {
    let config = json!({
        "architecture": "wasm",
        "os": "wasip1",
        "config": { "Labels": { "name": name } },
        "rootfs": { "type": "layers", "diff_ids": [] },
    })
    .to_string();
    push_manifest(registry, (name, "v1"), &config, layers)?;
    Ok(registry.reference(name))
}

/// Uploads a manifest as `(name, tag)` and everything it names.
///
/// # Errors
/// Fails when the registry does not take a part.
pub fn push_manifest(
    registry: &Registry,
    (name, tag): (&str, &str),
    config: &str,
    layers: &[(&str, &[u8])],
) -> Result<()> {
    upload(registry, name, config.as_bytes())?;
    let mut descriptors = Vec::new();
    for (media_type, content) in layers {
        upload(registry, name, content)?;
        descriptors.push(descriptor(media_type, content));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config.as_bytes()),
        "layers": descriptors,
    })
    .to_string();
    let target = format!("/v2/{name}/manifests/{tag}");
    let headers = [("content-type", MANIFEST)];
    let answer = request(registry.address(), "PUT", &target, &headers, manifest.as_bytes())?;
    ensure!(answer.status == 201, "the registry refuses the manifest: {}", answer.text());
    Ok(())
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

fn upload(registry: &Registry, name: &str, content: &[u8]) -> Result<()> {
    let address = registry.address();
    let begun = request(address, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"")?;
    let location = begun.header("location").context("the registry begins no upload")?;
    let path = location.find("/v2/").and_then(|start| location.get(start..));
    let target = format!("{}&digest={}", path.context("not a location")?, digest(content));
    let headers = [("content-type", "application/octet-stream")];
    let answer = request(address, "PUT", &target, &headers, content)?;
    ensure!(answer.status == 201, "the registry refuses a blob: {}", answer.text());
    Ok(())
}
