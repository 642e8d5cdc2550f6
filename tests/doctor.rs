//! `spinlet doctor`: what an app needs, before it is started.

use anyhow::{Context as _, Result};
use fs_err as fs;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;
use serde_json::Value;

#[test]
fn an_app_that_could_be_served_is_found_to_have_everything() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let app = guest("behaviours")?.display().to_string();
    let report = spinlet.run(&["doctor", &app])?;
    for line in ["trigger", "http", "greeting", "its default", "import", "wasi:http/types@0.2.0"] {
        assert!(report.contains(line), "{line:?} is not in\n{report}");
    }
    assert!(report.ends_with("Everything is there: the app can be served.\n"), "{report}");
    Ok(())
}

#[test]
fn what_is_missing_is_marked_and_the_exit_code_says_so() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let wasm = guest("hello-rust")?.join("target/wasm32-wasip1/release/hello_rust.wasm");
    fs::copy(wasm, spinlet.folder().join("hello.wasm"))?;
    let manifest = spinlet.folder().join("spin.toml");
    fs::write(
        &manifest,
        r#"spin_manifest_version = 2
           [application]
           name = "needy"
           [variables]
           token = { required = true, secret = true }
           [[trigger.http]]
           route = "/..."
           component = "hello"
           [component.hello]
           source = "hello.wasm"
           variables = { token = "{{ token }}" }
           allowed_outbound_hosts = ["https://api.example.com"]"#,
    )?;
    let app = manifest.display().to_string();
    let finished = spinlet.finish(&["doctor", &app, "--json"])?;
    assert_eq!(finished.status.code(), Some(1), "{}", finished.text());
    let report: Value = serde_json::from_str(&finished.stdout)?;
    assert_eq!(report.get("ready"), Some(&Value::Bool(false)));
    let problem = report.get("problem").and_then(Value::as_str).context("no problem")?;
    assert!(problem.contains("token"), "{problem}");
    let needs = report.get("needs").and_then(Value::as_array).context("no needs")?;
    let here = |name: &str| {
        let need = needs.iter().find(|need| need.get("name").is_some_and(|found| found == name));
        need.and_then(|need| need.get("here")).and_then(Value::as_str).unwrap_or("not listed")
    };
    assert!(here("token").starts_with("no: "), "{}", here("token"));
    assert_eq!(here("https://api.example.com"), "may be reached");

    let given = spinlet.run(&["doctor", &app, "--variable", "token=secret"])?;
    assert!(given.contains("yes, from SPIN_VARIABLE_TOKEN"), "{given}");
    assert!(!given.contains("secret"), "{given}");
    Ok(())
}

#[test]
fn a_configuration_gives_what_labels_models_and_variables_need() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let wasm = guest("hello-rust")?.join("target/wasm32-wasip1/release/hello_rust.wasm");
    fs::copy(wasm, spinlet.folder().join("hello.wasm"))?;
    let manifest = spinlet.folder().join("spin.toml");
    fs::write(
        &manifest,
        r#"spin_manifest_version = 2
           [application]
           name = "needy"
           [variables]
           token = { required = true }
           [[trigger.http]]
           route = "/..."
           component = "hello"
           [component.hello]
           source = "hello.wasm"
           variables = { token = "{{ token }}" }
           key_value_stores = ["default", "cache"]
           sqlite_databases = ["orders"]
           ai_models = ["llama"]"#,
    )?;
    let config = spinlet.folder().join("config.toml");
    fs::write(
        &config,
        "[key_value_store.cache]\ntype = 'redis'\nurl = 'redis://:hunter2@h'\n\
         [sqlite_database.orders]\ntype = 'spin'\n\
         [llm_compute]\ntype = 'remote_http'\nurl = 'http://models.test'\nauth_token = 'hunter2'\n\
         [[variables_provider]]\ntype = 'static'\nvalues = { token = 'hunter2' }",
    )?;
    let (app, config) = (manifest.display().to_string(), config.display().to_string());
    let report = spinlet.run(&["doctor", &app, "--runtime-config-file", &config])?;
    for line in [
        "cache yes, in Redis",
        "default yes, in the folder of the app",
        "orders yes, in memory",
        "whatever http://models.test has",
        "yes, from the runtime configuration",
        "Everything is there",
    ] {
        // Without the spaces between columns.
        let words = report.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(line), "{line:?} is not in\n{report}");
    }
    assert!(!report.contains("hunter2"), "{report}");

    let without = spinlet.finish(&["doctor", &app, "--variable", "token=x"])?;
    assert_eq!(without.status.code(), Some(1), "{}", without.text());
    for line in [
        "no: the runtime configuration has no [key_value_store.cache]",
        "no: the runtime configuration has no [sqlite_database.orders]",
        "no: no server is named under [llm_compute]",
    ] {
        assert!(without.stdout.contains(line), "{line:?} is not in\n{}", without.stdout);
    }
    Ok(())
}
