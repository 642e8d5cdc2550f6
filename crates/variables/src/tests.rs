use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use app::{LockedApp, LockedComponent, Variable};
use async_trait::async_trait;
use azure_identity::{Application, Identity};
use runtime_config::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn app() -> LockedApp {
    let variable = |default: Option<&str>| Variable {
        default: default.map(str::to_owned),
        ..Variable::default()
    };
    LockedApp {
        variables: [
            ("api_url".to_owned(), variable(Some("http://default.test"))),
            ("password".to_owned(), variable(None)),
            ("token".to_owned(), variable(None)),
        ]
        .into(),
        ..LockedApp::default()
    }
}

fn component(config: &[(&str, &str)]) -> LockedComponent {
    LockedComponent {
        id: "c".to_owned(),
        config: config.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(),
        ..LockedComponent::default()
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn environment(pairs: &[(&str, &str)]) -> Provider {
    let values = EnvironmentValues::new(Arc::new(map(pairs)), BTreeMap::new(), None);
    Provider::Environment(values)
}

/// Knows one variable and counts how often it is asked.
#[derive(Default)]
struct Counting {
    asked: AtomicUsize,
}

#[async_trait]
impl RemoteProvider for Counting {
    async fn get(&self, name: &str) -> Result<Option<String>, ProviderError> {
        let count = self.asked.fetch_add(1, Ordering::Relaxed);
        match name {
            "password" => Ok(Some(format!("remote {count}"))),
            "token" => Ok(None),
            _ => Err(ProviderError {
                service: "test",
                name: name.to_owned(),
                source: "it is broken".into(),
            }),
        }
    }
}

#[tokio::test]
async fn the_bare_name_wins_over_the_prefixed_one_and_over_the_default() {
    let providers = [environment(&[
        ("SPIN_VARIABLE_PASSWORD", "prefixed"),
        ("PASSWORD", "bare"),
        ("SPIN_VARIABLE_TOKEN", "t"),
    ])];
    let variables = Variables::resolve(&app(), &providers);
    let text = variables.expand("{{api_url}}?{{ password }}&{{token}}", "here").await.unwrap();
    assert_eq!(text, "http://default.test?bare&t");
}

#[test]
fn a_prefix_of_ones_own_is_joined_with_an_underscore() {
    let values = |prefix: &str| {
        let environment = Arc::new(map(&[("APP_TOKEN", "1"), ("SPIN_VARIABLE__TOKEN", "2")]));
        let dotenv = map(&[("APP_TOKEN", "3"), ("APP_PASSWORD", "4")]);
        EnvironmentValues::new(environment, dotenv, Some(prefix.to_owned()))
    };
    assert_eq!(values("APP").get("token"), Some("1"));
    assert_eq!(values("APP").get("password"), Some("4"));
    // What the operator writes.
    assert_eq!(values("SPIN_VARIABLE_").get("token"), Some("2"));
}

#[tokio::test]
async fn providers_are_asked_in_their_order() {
    let fixed = Provider::Static(map(&[("token", "static"), ("password", "static")]));
    let both = |first: Provider, second: Provider| Variables::resolve(&app(), &[first, second]);
    let env = environment(&[("TOKEN", "env"), ("PASSWORD", "env")]);
    let expand = async |variables: Variables| variables.expand("{{token}}", "").await.unwrap();
    assert_eq!(expand(both(fixed.clone(), env.clone())).await, "static");
    assert_eq!(expand(both(env, fixed)).await, "env");
}

#[tokio::test]
async fn a_remote_provider_is_asked_for_each_call_and_only_for_what_it_may_know() {
    let remote = Arc::new(Counting::default());
    let providers = [
        Provider::Static(map(&[("api_url", "static")])),
        Provider::Remote(remote.clone()),
        environment(&[("TOKEN", "env")]),
    ];
    let variables = Variables::resolve(&app(), &providers);
    let own = variables
        .of_component(&component(&[
            ("p", "<{{ password }}>"),
            ("t", "{{token}}"),
            ("u", "{{api_url}}"),
        ]))
        .unwrap();
    assert_eq!(remote.asked.load(Ordering::Relaxed), 0);
    assert_eq!(own.get("u").await.unwrap().as_deref(), Some("static"));
    assert_eq!(remote.asked.load(Ordering::Relaxed), 0);
    assert_eq!(own.get("p").await.unwrap().as_deref(), Some("<remote 0>"));
    assert_eq!(own.get("p").await.unwrap().as_deref(), Some("<remote 1>"));
    assert_eq!(own.get("t").await.unwrap().as_deref(), Some("env"));
    assert_eq!(own.all().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_remote_provider_that_fails_is_an_error_and_no_reason_for_the_default() {
    let providers = [Provider::Remote(Arc::new(Counting::default()))];
    let variables = Variables::resolve(&app(), &providers);
    let error = variables.expand("{{ api_url }}", "").await.unwrap_err();
    assert!(http_client::chain(&error).contains("it is broken"), "{error}");
    let error = variables.expand("{{ token }}", "").await.unwrap_err();
    assert_eq!(error.to_string(), "no provider has a value for the variable \"token\"");
}

#[test]
fn all_required_variables_without_a_value_are_named() {
    let variables = Variables::resolve(&app(), &[environment(&[])]);
    let text = variables.check().unwrap_err().to_string();
    assert!(text.contains("password, token"), "{text}");
    assert!(text.contains("SPIN_VARIABLE_PASSWORD"), "{text}");
}

#[tokio::test]
async fn a_component_reads_its_own_names_only() {
    let providers = [environment(&[("TOKEN", "t"), ("PASSWORD", "p")])];
    let variables = Variables::resolve(&app(), &providers);
    let own = variables.of_component(&component(&[("key", "<{{ token }}>")])).unwrap();
    assert_eq!(own.get("key").await.unwrap().as_deref(), Some("<t>"));
    assert_eq!(own.get("token").await.unwrap(), None);
    assert!(!format!("{own:?} {variables:?} {providers:?}").contains("<t>"));
}

#[test]
fn every_template_that_cannot_be_resolved_is_reported() {
    let providers = [environment(&[("TOKEN", "t"), ("PASSWORD", "p")])];
    let variables = Variables::resolve(&app(), &providers);
    let component = component(&[("a", "{{ nobody }}"), ("b", "{{ open")]);
    assert_eq!(variables.of_component(&component).unwrap_err().len(), 2);
}

/// A server that answers each request, whose head it is given, on a connection of
/// its own.
async fn server(answer: fn(&str) -> (u16, &'static str)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 8192];
            let length = stream.read(&mut buffer).await.unwrap();
            let (status, body) = answer(&String::from_utf8_lossy(&buffer[..length]));
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

fn vault_answer(request: &str) -> (u16, &'static str) {
    if !request.contains("x-vault-token: hunter2\r\n") {
        return (403, r#"{"errors": ["permission denied"]}"#);
    }
    match request.split(' ').nth(1).unwrap() {
        "/v1/secret/data/app/password" => (200, r#"{"data": {"data": {"value": "s"}}}"#),
        "/v1/secret/data/app/other" => (200, r#"{"data": {"data": {"values": "s"}}}"#),
        _ => (404, r#"{"errors": []}"#),
    }
}

#[tokio::test]
async fn vault_is_asked_for_the_field_value_of_a_secret() {
    let url = server(vault_answer).await;
    let vault =
        |token: &str| Vault::new(&url, Secret::Inline(token.to_owned()), "secret", Some("app"));
    assert_eq!(vault("hunter2").get("password").await.unwrap().as_deref(), Some("s"));
    assert_eq!(vault("hunter2").get("nobody").await.unwrap(), None);
    let error = vault("hunter2").get("other").await.unwrap_err();
    assert!(http_client::chain(&error).contains("no field \"value\""));
    let error = vault("hunter3").get("password").await.unwrap_err();
    let text = http_client::chain(&error);
    assert!(text.contains("403") && text.contains("permission denied"), "{text}");
    assert!(!text.contains("hunter") && !format!("{error:?}").contains("hunter"), "{text}");
}

fn azure_answer(request: &str) -> (u16, &'static str) {
    if request.starts_with("POST /tenant/oauth2/v2.0/token ") {
        return if request.contains("client_secret=hunter2") {
            (200, r#"{"access_token": "the-token", "expires_in": 3600, "token_type": "Bearer"}"#)
        } else {
            (401, r#"{"error": "invalid_client", "error_description": "hunter"}"#)
        };
    }
    assert!(request.contains("authorization: Bearer the-token\r\n"), "{request}");
    match request.split(' ').nth(1).unwrap() {
        "/secrets/my-password?api-version=7.4" => (200, r#"{"value": "s", "id": "x"}"#),
        "/secrets/forbidden?api-version=7.4" => (403, r#"{"error": {"code": "Forbidden"}}"#),
        _ => (404, r#"{"error": {"code": "SecretNotFound"}}"#),
    }
}

#[tokio::test]
async fn a_key_vault_is_asked_with_a_token_of_the_identity() {
    let url = server(azure_answer).await;
    let vault = |secret: &str| {
        let identity = Identity::application(Application {
            authority: url.clone(),
            tenant_id: "tenant".into(),
            client_id: "client".into(),
            client_secret: Secret::Inline(secret.to_owned()),
        });
        AzureKeyVault::new(&url, identity)
    };
    let good = vault("hunter2");
    assert_eq!(good.get("my_password").await.unwrap().as_deref(), Some("s"));
    assert_eq!(good.get("nobody").await.unwrap(), None);
    let text = http_client::chain(&good.get("forbidden").await.unwrap_err());
    assert!(text.contains("403") && text.contains("Forbidden"), "{text}");
    let text = http_client::chain(&vault("wrong").get("my_password").await.unwrap_err());
    assert!(text.contains("invalid_client") && !text.contains("hunter"), "{text}");
}
