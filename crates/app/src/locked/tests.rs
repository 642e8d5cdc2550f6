use serde_json::json;

use super::*;
use crate::Digest;

/// As Spin 1.x wrote it.
fn first_generation() -> Value {
    json!({
        "spin_lock_version": 0,
        "metadata": {
            "name": "old", "version": "1.0.0", "description": null, "authors": "one person",
            "origin": "file:///a", "bindle_version": "1.0.0+x",
            "trigger": { "type": "http", "base": "/base" },
        },
        "variables": { "greeting": { "default": "hi", "required": false } },
        "triggers": [{
            "id": "trigger--Old_One", "trigger_type": "http",
            "trigger_config": { "component": "Old_One", "executor": null, "route": "/..." },
        }],
        "components": [{
            "id": "Old_One",
            "metadata": { "allowed_http_hosts": ["example.com"], "unknown": 1 },
            "source": { "content_type": "application/wasm", "digest": Digest::of(b"w") },
            "env": { "A": "b" },
            "files": [{ "path": "a/b.txt", "digest": Digest::of(b"f"), "inline": "Zg" }],
            "config": { "message": "{{ greeting }}!" },
        }],
        "some_new_thing": {},
    })
}

fn read(json: &Value) -> Result<LockedApp, LockedAppError> {
    LockedApp::from_json(json.to_string().as_bytes())
}

#[test]
fn the_first_generation_is_read() {
    let app = read(&first_generation()).unwrap();
    assert_eq!(app.name(), "old");
    assert_eq!(app.metadata.authors, ["one person"]);
    let settings = app.trigger_settings("http").unwrap();
    assert_eq!(Value::Object(settings), json!({ "base": "/base" }));
    assert_eq!(app.trigger_settings("redis"), None);
    let component = app.component("Old_One").unwrap();
    assert_eq!(
        component.allowed_outbound_hosts().unwrap(),
        ["http://example.com", "https://example.com"]
    );
    assert_eq!(component.files[0].content.inline.as_deref(), Some(&b"f"[..]));
    assert!(app.variables["greeting"].default.is_some());
    app.check_templates().unwrap();
}

#[test]
fn settings_of_later_generations_shadow_the_old_form() {
    let mut json = first_generation();
    json["metadata"]["triggers"] = json!({ "redis": { "address": "redis://a" } });
    let app = read(&json).unwrap();
    assert_eq!(app.trigger_settings("http"), None);
    assert_eq!(app.trigger_settings("redis").unwrap()["address"], "redis://a");
}

#[test]
fn what_is_written_reads_back_equal() {
    let app = read(&first_generation()).unwrap();
    let again = LockedApp::from_json(&app.to_json().unwrap()).unwrap();
    assert_eq!(app, again);
    let text = String::from_utf8(app.to_json().unwrap()).unwrap();
    assert!(text.starts_with("{\"spin_lock_version\":0,\"metadata\""), "{text}");
    assert!(text.contains("\"inline\":\"Zg\""), "no padding: {text}");
    assert!(!text.contains("\"description\""), "{text}");
}

#[test]
fn dependencies_and_requirements_are_kept() {
    let mut json = first_generation();
    json["spin_lock_version"] = json!(1);
    json["must_understand"] = json!(["host_requirements", "component_host_requirements"]);
    json["host_requirements"] = json!({ "local_service_chaining": "required", "x": "optional" });
    json["components"][0]["host_requirements"] = json!({ "middleware": "required" });
    json["components"][0]["dependencies"] = json!({
        "a:b/c@1.0.0": {
            "source": { "content_type": "application/wasm", "digest": Digest::of(b"d") },
            "export": null, "inherit": "All",
        },
        "plain": {
            "source": { "content_type": "application/wasm", "digest": Digest::of(b"e") },
            "export": "x", "inherit": { "Some": ["files"] },
        },
    });
    let app = read(&json).unwrap();
    assert_eq!(app.lock_version(), 1);
    let dependencies = &app.components[0].dependencies;
    assert_eq!(dependencies["a:b/c@1.0.0"].inherit, Inherit::All);
    assert_eq!(dependencies["plain"].inherit, Inherit::Some(vec!["files".to_owned()]));
    assert_eq!(LockedApp::from_json(&app.to_json().unwrap()).unwrap(), app);

    let lacking = app.unsupported_requirements(&["local_service_chaining"]);
    assert_eq!(lacking.len(), 1);
    assert_eq!(lacking[0].to_string(), "middleware (component \"Old_One\")");
    assert_eq!(app.unsupported_requirements(&[]).len(), 2);
}

#[test]
fn later_versions_and_unknown_obligations_are_refused() {
    let mut json = first_generation();
    json["spin_lock_version"] = json!(2);
    assert!(matches!(read(&json), Err(LockedAppError::TooNew { .. })));
    json["spin_lock_version"] = json!(1);
    json["must_understand"] = json!(["quantum"]);
    assert!(read(&json).unwrap_err().to_string().contains("quantum"));
}

#[test]
fn other_documents_are_told_apart() {
    assert!(!LockedApp::is_locked_app(br#"{"architecture":"wasm"}"#));
    assert!(!LockedApp::is_locked_app(b"[]"));
    assert!(LockedApp::is_locked_app(first_generation().to_string().as_bytes()));
    assert!(matches!(LockedApp::from_json(b"{}"), Err(LockedAppError::NotLockedApp)));
    assert!(matches!(LockedApp::from_json(b"{"), Err(LockedAppError::Json(_))));
}

#[test]
fn every_broken_rule_is_reported_at_once() {
    let mut json = first_generation();
    json["variables"]["Bad"] = json!({});
    json["components"][0]["id"] = json!("../x");
    json["components"][0]["files"] = json!([
        { "path": "../../etc/passwd" }, { "path": "/abs" }, { "path": "a//b" }, { "path": "" },
        { "path": "./a" }, { "path": "f" }, { "path": "f/g" }, { "path": "nul\u{0}" },
    ]);
    let Err(LockedAppError::Invalid(problems)) = read(&json) else { panic!("must be refused") };
    let text = problems.to_string();
    for part in
        ["Bad", "../x", "/etc/passwd", "/abs", "a//b", "is empty", "./a", "both", "NUL", "Old_One"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn members_that_do_not_fit_are_all_named() {
    let mut json = first_generation();
    json["components"][0]["source"]["digest"] = json!("sha256:../../x");
    json["triggers"][0]["trigger_type"] = json!(1);
    json["variables"]["v"] = json!("text");
    let text = read(&json).unwrap_err().to_string();
    for part in ["component \"Old_One\"", "trigger \"trigger--Old_One\"", "variable \"v\""] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn duplicate_components_and_dangling_triggers_are_refused() {
    let mut json = first_generation();
    let component = json["components"][0].clone();
    json["components"].as_array_mut().unwrap().push(component);
    json["triggers"][0]["trigger_config"]["component"] = json!("nobody");
    let text = read(&json).unwrap_err().to_string();
    assert!(text.contains("used twice") && text.contains("nobody"), "{text}");
}

#[test]
fn templates_name_only_declared_variables() {
    let mut json = first_generation();
    json["components"][0]["config"] = json!({ "a": "{{ missing }}", "b": "{{", "c": "plain" });
    let problems = read(&json).unwrap().check_templates().unwrap_err();
    assert_eq!(problems.iter().count(), 2, "{problems}");
}

#[test]
fn a_trigger_table_becomes_a_type() {
    #[derive(Deserialize)]
    struct Route {
        route: String,
    }
    let app = read(&first_generation()).unwrap();
    let trigger = app.triggers_of("http").next().unwrap();
    assert_eq!(trigger.config::<Route>().unwrap().route, "/...");
    assert_eq!(trigger.component(), Some("Old_One"));
    assert_eq!(app.trigger_types(), ["http"]);
    assert!(trigger.config::<Vec<u8>>().unwrap_err().to_string().contains("trigger--Old_One"));
}

proptest::proptest! {
    #[test]
    fn an_accepted_path_stays_below_its_root(path in "[a./\\\\\u{0}]{0,12}") {
        if check_file_path(&path).is_ok() {
            let joined = std::path::Path::new("/root").join(&path);
            proptest::prop_assert!(joined.starts_with("/root"));
            proptest::prop_assert!(joined.components().all(|c| c != std::path::Component::ParentDir));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = LockedApp::from_json(&bytes);
    }
}
