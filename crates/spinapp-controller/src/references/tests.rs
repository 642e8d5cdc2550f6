use serde_json::json;

use super::*;

fn spec(fields: serde_json::Value) -> SpinAppSpec {
    let mut spec = json!({"image": "i", "executor": "e", "replicas": 1});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn names(fields: serde_json::Value) -> Vec<String> {
    let references = of_app(&spec(fields), &DeploymentConfig::default());
    references
        .iter()
        .map(|reference| {
            let key = reference.key.as_deref().unwrap_or("*");
            let mark = if reference.optional { "?" } else { "" };
            format!("{} {}/{key}{mark}", reference.kind, reference.name)
        })
        .collect()
}

#[test]
fn every_place_that_can_refer_is_looked_at() {
    let key = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    let found = names(json!({
        "variables": [{"name": "a", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k", "optional": true}}}],
        "runtimeConfig": {"llmCompute": {"type": "t", "options": [
            {"name": "o", "valueFrom": {"secretKeyRef": {"name": "llm", "key": "k"}}},
        ]}},
        "volumes": [
            {"name": "v", "secret": {"secretName": "volume"}},
            {"name": "w", "configMap": {"name": "map", "optional": true}},
            {"name": "x", "projected": {"sources": [{"secret": {"name": "projected"}}]}},
        ],
        "podOptions": {
            "env": [{"name": "e", "valueFrom": key}],
            "envFrom": [{"configMapRef": {"name": "all"}}],
            "sidecars": [{"name": "c", "env": [{"name": "e", "valueFrom": {"secretKeyRef": {"name": "side", "key": "k"}}}]}],
            "initContainers": [{"name": "c", "envFrom": [{"secretRef": {"name": "init"}}]}],
        },
    }));
    assert_eq!(
        found,
        [
            "ConfigMap all/*",
            "ConfigMap m/k?",
            "ConfigMap map/*?",
            "Secret init/*",
            "Secret llm/k",
            "Secret projected/*",
            "Secret s/k",
            "Secret side/k",
            "Secret volume/*",
        ]
    );
}

#[test]
fn an_own_runtime_configuration_replaces_the_options() {
    let found = names(json!({"runtimeConfig": {"loadFromSecret": "mine", "llmCompute": {
        "type": "t",
        "options": [{"name": "o", "valueFrom": {"secretKeyRef": {"name": "llm", "key": "k"}}}],
    }}}));
    assert_eq!(found, ["Secret mine/runtime-config.toml"]);
}

#[test]
fn what_is_missing_is_named_and_what_is_optional_is_not_missed() {
    let needed = Reference::key(Kind::Secret, "s", "k", false);
    let optional = Reference::key(Kind::Secret, "gone", "k", true);
    let mut contents = Contents::default();
    let missing = contents.missing([&optional, &needed]).unwrap();
    assert_eq!(
        missing.to_string(),
        "Secret \"s\" does not exist; create it in the app's namespace"
    );
    contents.insert(Kind::Secret, "s", BTreeMap::new());
    let missing = contents.missing([&needed]).unwrap();
    assert_eq!(missing.to_string(), "Secret \"s\" has no key \"k\"");
    contents.insert(Kind::Secret, "s", [("k".to_owned(), Vec::new())].into());
    assert_eq!(contents.missing([&optional, &needed]), None);
}

#[test]
fn the_digest_changes_with_every_value_and_only_then() {
    let digest = |value: &[u8]| {
        let mut contents = Contents::default();
        contents.insert(Kind::Secret, "s", [("k".to_owned(), value.to_vec())].into());
        contents.digest().unwrap()
    };
    assert_eq!(digest(b"a"), digest(b"a"));
    assert_ne!(digest(b"a"), digest(b"b"));
    assert_eq!(digest(b"a").len(), 16);
    assert_eq!(Contents::default().digest(), None);
}

#[test]
fn values_do_not_show_in_debug_output() {
    let mut contents = Contents::default();
    contents.insert(Kind::Secret, "s", [("k".to_owned(), b"hidden".to_vec())].into());
    let shown = format!("{contents:?}");
    assert!(shown.contains("\"s\"") && !shown.contains("hidden") && !shown.contains("104"));
}
