//! What is known about an app, in the form that `--json` prints.

use std::collections::BTreeMap;

use app::{ContentRef, Digest, LockedApp, LockedComponent, LockedTrigger};
use artifact::{Artifact, Image, media_type};
use serde::Serialize;
use serde_json::Value;

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) authors: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<ImageReport>,
    pub(super) triggers: Vec<TriggerReport>,
    pub(super) components: Vec<ComponentReport>,
    pub(super) variables: BTreeMap<String, VariableReport>,
}

/// The image that holds an app.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ImageReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<String>,
    /// Digest of the manifest.
    pub(super) digest: String,
    /// All blobs together, without the manifest.
    pub(super) bytes: u64,
    pub(super) layers: usize,
    /// Files are in archive layers.
    pub(super) archives: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// What starts a component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TriggerReport {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) component: Option<String>,
    /// A route, a channel, a topic: what the trigger listens to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on: Option<String>,
    /// The whole table.
    pub(super) config: Value,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ComponentReport {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// Size of its Wasm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    pub(super) files: FilesReport,
    pub(super) allowed_outbound_hosts: Vec<String>,
    pub(super) key_value_stores: Vec<String>,
    pub(super) sqlite_databases: Vec<String>,
    pub(super) ai_models: Vec<String>,
    /// Variables of the component: name to template.
    pub(super) variables: BTreeMap<String, String>,
    /// Names only: values are part of the app, but perhaps not for every eye.
    pub(super) environment: Vec<String>,
    pub(super) dependencies: Vec<String>,
}

/// The files of a component.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct FilesReport {
    pub(super) count: usize,
    /// Unknown when files are in archives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
}

/// A variable of the app.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct VariableReport {
    pub(super) required: bool,
    pub(super) secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
}

/// Sizes of content, by digest.
type Sizes = BTreeMap<Digest, u64>;

impl Report {
    /// The report on an image.
    pub(super) fn of_image(app: &LockedApp, image: &Image) -> Self {
        let manifest = &image.manifest;
        let sizes: Sizes = manifest.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
        let archives =
            manifest.layers.iter().any(|layer| layer.media_type == media_type::ARCHIVE_LAYER);
        let image = ImageReport {
            reference: image.reference.clone(),
            digest: image.digest.to_string(),
            bytes: sizes.values().sum::<u64>() + manifest.config.size,
            layers: manifest.layers.len(),
            archives,
            annotations: manifest.annotations.clone(),
        };
        Self::new(app, &sizes, Some(image))
    }

    /// The report on an app in local files.
    pub(super) fn of_artifact(artifact: &Artifact) -> Self {
        let mut sizes = Sizes::new();
        for content in artifact.components.values() {
            sizes.insert(content.wasm.digest(), content.wasm.size());
            let files = content.files.iter();
            sizes.extend(files.filter_map(|file| Some((file.digest, file.size()?))));
        }
        Self::new(&artifact.app, &sizes, None)
    }

    fn new(app: &LockedApp, sizes: &Sizes, image: Option<ImageReport>) -> Self {
        let metadata = &app.metadata;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self {
            name: metadata.name.clone(),
            version: given(&metadata.version),
            description: given(&metadata.description),
            authors: metadata.authors.clone(),
            image,
            triggers: app.triggers.iter().map(trigger).collect(),
            components: app.components.iter().map(|part| component(part, sizes)).collect(),
            variables: app
                .variables
                .iter()
                .map(|(name, variable)| {
                    let report = VariableReport {
                        required: variable.default.is_none(),
                        secret: variable.secret,
                        default: variable.default.clone().filter(|_| !variable.secret),
                        description: given(&variable.description),
                    };
                    (name.clone(), report)
                })
                .collect(),
        }
    }
}

fn trigger(trigger: &LockedTrigger) -> TriggerReport {
    TriggerReport {
        kind: trigger.trigger_type.clone(),
        component: trigger.component().map(str::to_owned),
        on: on(&trigger.trigger_config),
        config: trigger.trigger_config.clone(),
    }
}

/// The field that says what a trigger listens to, whatever its type.
fn on(config: &Value) -> Option<String> {
    let field = ["route", "channel", "topic", "queue_url", "cron_expression", "schedule"]
        .into_iter()
        .find_map(|name| config.get(name))?;
    match field {
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) if fields.get("private") == Some(&Value::Bool(true)) => {
            Some("(private)".to_owned())
        }
        other => Some(other.to_string()),
    }
}

fn component(component: &LockedComponent, sizes: &Sizes) -> ComponentReport {
    let metadata = &component.metadata;
    let source = &component.source.content;
    ComponentReport {
        id: component.id.clone(),
        description: metadata.description.clone().filter(|text| !text.is_empty()),
        digest: source.digest.map(|digest| digest.to_string()),
        bytes: size(source, sizes),
        files: FilesReport {
            count: component.files.len(),
            bytes: component.files.iter().map(|file| size(&file.content, sizes)).sum(),
        },
        // Entries of the old form that cannot be converted are shown as they are.
        allowed_outbound_hosts: component.allowed_outbound_hosts().unwrap_or_else(|_| {
            let old = metadata.allowed_http_hosts.iter();
            metadata.allowed_outbound_hosts.iter().chain(old).cloned().collect()
        }),
        key_value_stores: metadata.key_value_stores.clone(),
        sqlite_databases: metadata.databases.clone(),
        ai_models: metadata.ai_models.clone(),
        variables: component.config.clone(),
        environment: component.env.keys().cloned().collect(),
        dependencies: component.dependencies.keys().cloned().collect(),
    }
}

fn size(content: &ContentRef, sizes: &Sizes) -> Option<u64> {
    let inline = content.inline.as_ref().map(|bytes| bytes.len() as u64);
    inline.or_else(|| sizes.get(&content.digest?).copied())
}

#[cfg(test)]
pub(super) mod tests {
    use artifact::{Descriptor, ImageManifest};

    use super::*;

    /// A report on an app that asks for everything.
    pub(in super::super) fn sample() -> Report {
        let wasm = Digest::of(b"wasm");
        let app = serde_json::json!({
            "spin_lock_version": 0,
            "metadata": {"name": "shop", "version": "1.2.3", "authors": ["A"], "trigger": {"type": "http"}},
            "variables": {"token": {"secret": true, "default": "hidden"}, "url": {}},
            "triggers": [
                {"id": "a", "trigger_type": "http",
                 "trigger_config": {"component": "cart", "route": "/cart/..."}},
                {"id": "b", "trigger_type": "http",
                 "trigger_config": {"component": "cart", "route": {"private": true}}},
            ],
            "components": [{
                "id": "cart",
                "metadata": {
                    "allowed_outbound_hosts": ["https://api.example.com"],
                    "key_value_stores": ["default"],
                    "databases": ["orders"],
                    "ai_models": ["llama2-chat"],
                },
                "source": {"content_type": "application/wasm", "digest": wasm},
                "env": {"MODE": "x"},
                "files": [{"path": "a.txt", "inline": "aGk"}],
                "config": {"key": "{{ token }}"},
            }],
        });
        let app = LockedApp::from_json(&serde_json::to_vec(&app).unwrap()).unwrap();
        let layer = Descriptor::new(media_type::WASM_LAYER, wasm, 2048);
        let image = Image {
            reference: Some("ghcr.io/me/shop:v1".into()),
            digest: Digest::of(b"manifest"),
            manifest: ImageManifest {
                schema_version: 2,
                media_type: None,
                artifact_type: None,
                config: Descriptor::new(media_type::IMAGE_CONFIG, Digest::of(b"c"), 10),
                layers: vec![layer],
                annotations: BTreeMap::new(),
            },
        };
        Report::of_image(&app, &image)
    }

    #[test]
    fn sizes_come_from_layers_and_inlined_content() {
        let report = sample();
        let [cart] = report.components.as_slice() else { panic!("{report:?}") };
        assert_eq!(cart.bytes, Some(2048));
        assert_eq!(cart.files, FilesReport { count: 1, bytes: Some(2) });
        assert_eq!(report.image.unwrap().bytes, 2058);
    }

    #[test]
    fn every_capability_is_listed() {
        let report = sample();
        let cart = &report.components[0];
        assert_eq!(cart.allowed_outbound_hosts, ["https://api.example.com"]);
        assert_eq!(cart.key_value_stores, ["default"]);
        assert_eq!(cart.sqlite_databases, ["orders"]);
        assert_eq!(cart.ai_models, ["llama2-chat"]);
        assert_eq!(cart.environment, ["MODE"]);
    }

    #[test]
    fn a_private_route_is_shown_as_such() {
        let on: Vec<_> = sample().triggers.into_iter().map(|trigger| trigger.on).collect();
        assert_eq!(on, [Some("/cart/...".to_owned()), Some("(private)".to_owned())]);
    }

    #[test]
    fn the_default_of_a_secret_is_not_shown() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert!(!json.contains("hidden"), "{json}");
        assert!(json.contains(r#""url":{"required":true"#), "{json}");
    }
}
