use serde_json::json;

use super::*;

fn app(runtime_config: serde_json::Value) -> SpinApp {
    serde_json::from_value(json!({
        "apiVersion": "core.spinkube.dev/v1alpha1",
        "kind": "SpinApp",
        "metadata": {"name": "shop", "namespace": "a", "uid": "1"},
        "spec": {"image": "i", "executor": "e", "replicas": 1, "runtimeConfig": runtime_config},
    }))
    .unwrap()
}

fn text_of(secret: &Secret) -> &str {
    &secret.string_data.as_ref().unwrap()[KEY]
}

#[test]
fn the_checksum_is_that_of_the_specification() {
    assert_eq!(adler32(b""), 1);
    assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
}

#[test]
fn there_is_always_a_provider_of_variables() {
    let secret = secret(&app(json!({})), &Contents::default()).unwrap().unwrap();
    assert_eq!(text_of(&secret), "[[config_provider]]\ntype = 'env'\nprefix = 'SPIN_VARIABLE_'\n");
    assert_eq!(secret.name_any(), "shop-760b133c");
    let owner = &secret.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.controller), ("SpinApp", None));
}

#[test]
fn backends_become_tables_and_values_become_strings() {
    let mut contents = Contents::default();
    contents.insert(Kind::Secret, "db", [("token".to_owned(), b"se'cret".to_vec())].into());
    let app = app(json!({
        "sqliteDatabases": [{"name": "default", "type": "libsql", "options": [
            {"name": "url", "value": "https://db"},
            {"name": "token", "valueFrom": {"secretKeyRef": {"name": "db", "key": "token"}}},
        ]}],
        "keyValueStores": [{"name": "my store", "type": "redis"}],
        "llmCompute": {"type": "remote_http", "options": [{"name": "retries", "value": "3"}]},
    }));
    let secret = secret(&app, &contents).unwrap().unwrap();
    let read: toml::Table = text_of(&secret).parse().unwrap();
    assert_eq!(read["sqlite_database"]["default"]["token"].as_str(), Some("se'cret"));
    assert_eq!(read["sqlite_database"]["default"]["type"].as_str(), Some("libsql"));
    assert_eq!(read["key_value_store"]["my store"]["type"].as_str(), Some("redis"));
    assert_eq!(read["llm_compute"]["retries"].as_str(), Some("3"));
}

#[test]
fn another_content_has_another_name() {
    let name = |kind: &str| {
        let app = app(json!({"keyValueStores": [{"name": "default", "type": kind}]}));
        secret(&app, &Contents::default()).unwrap().unwrap().name_any()
    };
    assert_eq!(name("redis"), name("redis"));
    assert_ne!(name("redis"), name("azure_cosmos"));
}

#[test]
fn a_missing_secret_is_named() {
    let app = app(json!({"keyValueStores": [{"name": "default", "type": "redis", "options": [
        {"name": "url", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "url"}}},
    ]}]}));
    let error = secret(&app, &Contents::default()).unwrap_err();
    assert_eq!(error.reason(), "MissingSecret");
    assert!(error.to_string().contains("Secret \"redis\" does not exist"), "{error}");
}

#[test]
fn an_app_with_a_secret_of_its_own_gets_none() {
    let app = app(json!({"loadFromSecret": "mine", "keyValueStores": [
        {"name": "default", "type": "redis"},
    ]}));
    assert_eq!(secret(&app, &Contents::default()).unwrap(), None);
}
