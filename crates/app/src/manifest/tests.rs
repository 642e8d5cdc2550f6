use serde_json::json;

use super::*;
use crate::{ContentRef, Inherit, LockedSource};

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text.as_bytes())
}

const V2: &str = r#"
spin_manifest_version = 2

[application]
name = "maximal"
version = "9.9.9"
description = "all of it"
authors = ["a <a@example.com>", "b"]
targets = ["spin-up:3.2"]
[application.trigger.http]
base = "/base"
[application.tool.lint]
level = "savage"

[variables]
one = { default = "1", description = "first" }
two = { required = true, secret = true }

[[trigger.http]]
route = "/..."
component = "main"
executor = { type = "http" }

[component.main]
source = "main.wasm"
description = "mine"
variables = { both = "{{ one }}-{{two}}" }
environment = { KEY = "value" }
files = ["assets/*", { source = "static", destination = "/www" }]
exclude_files = ["**/secret"]
allowed_http_hosts = ["example.com"]
allowed_outbound_hosts = ["https://{{ one }}.test", "http://other.spin.internal"]
key_value_stores = ["default", "snake_case"]
sqlite_databases = ["default"]
ai_models = ["llama2-chat"]
targets = []
tool.clean = { command = "x" }
profile.debug = { source = "debug.wasm" }
build = { command = "cargo build", workdir = "w", watch = ["src/**"] }
[component.main.dependencies]
"a:b/c@1.0.0" = { path = "dep.wasm", export = "x", inherit_configuration = ["files"] }
"d:e" = ">=0.1.0"
"f:g" = { component = "other" }
plain-name = { package = "h:i", version = "1.0.0", registry = "r.test", inherit_configuration = true }

[component.other]
source = { url = "https://example.com/o.wasm", digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
[component.third]
source = { package = "a:b", version = "1.0.0" }
"#;

#[test]
fn every_field_of_version_2_is_read() {
    let manifest = parse(V2).unwrap();
    assert_eq!(manifest.triggers[0].id, "main-http-trigger");
    let main = &manifest.components["main"];
    assert_eq!(main.files.len(), 2);
    assert_eq!(
        main.allowed_outbound_hosts,
        [
            "https://{{ one }}.test",
            "http://other.spin.internal",
            "http://example.com",
            "https://example.com"
        ]
    );
    assert_eq!(main.dependencies["a:b/c@1.0.0"].inherit, Inherit::Some(vec!["files".to_owned()]));
    assert_eq!(main.dependencies["plain-name"].inherit, Inherit::All);
    assert_eq!(
        main.dependencies["d:e"].source,
        DependencySource::Wasm(Source::Registry {
            registry: None,
            package: PackageName::parse("d:e").unwrap(),
            version: VersionReq::parse(">=0.1.0").unwrap()
        })
    );
    assert!(matches!(manifest.components["other"].source, Source::Url { .. }));
    assert!(matches!(
        &manifest.components["third"].source,
        Source::Registry { version, .. } if version.to_string().starts_with('=')
    ));
}

#[test]
fn packages_that_no_registry_can_have_are_refused() {
    let error = |source: &str, dependency: &str| {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = \"x\"\n[trigger]\n\
             [component.a]\nsource = {source}\ndependencies = {{ \"a:b/c\" = {dependency} }}"
        );
        parse(&text).unwrap_err().to_string()
    };
    let fine = "{ version = \"^1.2\" }";
    for (source, expected) in [
        (r#"{ package = "a", version = "1.0.0" }"#, "\"a\" is no package"),
        (r#"{ package = "a:B/..", version = "1.0.0" }"#, "is no package"),
        (r#"{ package = "a:b", version = "^1.0.0" }"#, "\"^1.0.0\" is no version"),
        (r#"{ package = "a:b", version = "1.0.0", registry = "https://x" }"#, "is no registry"),
    ] {
        let error = error(source, fine);
        assert!(error.contains("component \"a\"") && error.contains(expected), "{error}");
    }
    let error = error("\"a.wasm\"", "\"newest\"");
    assert!(error.contains("dependency \"a:b/c\": \"newest\" is no requirement"), "{error}");
}

#[test]
fn a_manifest_becomes_the_locked_app_that_spin_writes() {
    let manifest = parse(V2).unwrap();
    let app = manifest.lock(|id, _| {
        let content = ContentRef { source: Some(format!("file:///{id}")), ..ContentRef::default() };
        (LockedSource::wasm(content), Vec::new())
    });
    let json: Value = serde_json::from_slice(&app.to_json().unwrap()).unwrap();
    assert_eq!(json["spin_lock_version"], 1);
    assert_eq!(json["must_understand"], json!(["component_host_requirements"]));
    assert_eq!(
        json["metadata"],
        json!({
            "name": "maximal", "version": "9.9.9", "description": "all of it",
            "authors": ["a <a@example.com>", "b"],
            "triggers": { "http": { "base": "/base" } },
            "trigger": { "type": "http", "base": "/base" },
        })
    );
    assert_eq!(
        json["variables"],
        json!({ "one": { "default": "1", "description": "first" }, "two": { "secret": true } })
    );
    assert_eq!(
        json["triggers"],
        json!([{
            "id": "main-http-trigger", "trigger_type": "http",
            "trigger_config": {
                "component": "main", "route": "/...", "executor": { "type": "http" },
            },
        }])
    );
    let main = &json["components"][0];
    assert_eq!(main["id"], "main");
    assert_eq!(main["host_requirements"], json!({ "local_service_chaining": "required" }));
    assert_eq!(main["metadata"]["databases"], json!(["default"]));
    assert_eq!(
        main["metadata"]["build"],
        json!({ "command": "cargo build", "workdir": "w", "watch": ["src/**"] })
    );
    assert_eq!(main["config"], json!({ "both": "{{ one }}-{{two}}" }));
    assert_eq!(json["components"][1].get("metadata"), None);
    app.check_templates().unwrap();
}

#[test]
fn inline_components_and_missing_ids_are_normalised() {
    let manifest = parse(
        r#"
        spin_manifest_version = 2
        application.name = "normal"
        [[trigger.http]]
        component = "hello"
        [[trigger.http]]
        id = "admin-handler"
        component = { source = "admin.wasm" }
        [[trigger.http]]
        component = { source = "other.wasm" }
        [[trigger.http]]
        component = "hello"
        [[trigger.example]]
        components.hello = "hello"
        components.inline1 = { source = "inline1.wasm" }
        components.inline2 = [{ source = "inline2.wasm" }]
        [component.hello]
        source = "hello.wasm"
        "#,
    )
    .unwrap();
    let triggers: Vec<_> = manifest
        .triggers
        .iter()
        .map(|trigger| (trigger.id.as_str(), trigger.config.get("component").cloned()))
        .collect();
    assert_eq!(
        triggers,
        [
            ("example-trigger1", None),
            ("hello-http-trigger", Some(json!("hello"))),
            ("admin-handler", Some(json!("admin-handler-component"))),
            ("http-trigger1", Some(json!("http-trigger1-component"))),
            ("http-trigger2", Some(json!("hello"))),
        ]
    );
    assert_eq!(
        manifest.triggers[0].config["components"],
        json!({
            "hello": ["hello"],
            "inline1": ["inline-component1"],
            "inline2": ["inline-component2"],
        })
    );
    assert_eq!(
        manifest.components["admin-handler-component"].source,
        Source::Path("admin.wasm".to_owned())
    );
}

#[test]
fn version_1_becomes_version_2() {
    let manifest = parse(
        r#"
        spin_version = "1"
        name = "old"
        version = "1.0.0"
        authors = ["x"]
        trigger = { type = "http", base = "/b" }
        [variables]
        object = { default = "teapot" }
        [[component]]
        id = "Under_Score"
        source = "a.wasm"
        allowed_http_hosts = ["self", "example.com"]
        config = { message = "I'm a {{object}}" }
        [component.trigger]
        route = "/..."
        [[component]]
        id = "plain"
        source = "b.wasm"
        allowed_outbound_hosts = ["https://a.test"]
        allowed_http_hosts = ["insecure:allow-all"]
        "#,
    )
    .unwrap();
    assert_eq!(manifest.application.trigger_settings["http"]["base"], "/b");
    assert_eq!(manifest.triggers[0].id, "trigger-under-score");
    assert_eq!(manifest.triggers[0].config["component"], "under-score");
    assert_eq!(manifest.triggers[0].config["route"], "/...");
    assert_eq!(
        manifest.components["under-score"].allowed_outbound_hosts,
        [
            "redis://*:*",
            "mysql://*:*",
            "postgres://*:*",
            "http://self",
            "http://example.com",
            "https://example.com"
        ]
    );
    assert_eq!(
        manifest.components["plain"].allowed_outbound_hosts,
        ["https://a.test", "http://*:*", "https://*:*", "http://self"]
    );
    assert_eq!(manifest.components["under-score"].variables["message"], "I'm a {{object}}");
}

#[test]
fn the_version_must_be_a_known_one_in_its_own_type() {
    for version in ["2.0", "\"2\"", "1", "3", "\"0\""] {
        let error = parse(&format!("spin_manifest_version = {version}")).unwrap_err();
        assert!(matches!(error, ManifestError::Version { .. }), "{version}: {error}");
    }
    assert!(parse("").unwrap_err().to_string().starts_with("no version"));
    assert!(matches!(Manifest::parse(b"\xff"), Err(ManifestError::Encoding(_))));
}

#[test]
fn an_unknown_field_is_reported_with_its_line() {
    let text = "spin_manifest_version = 2\n[application]\nname = \"x\"\nnam = 1\n[trigger]\n";
    let error = parse(text).unwrap_err().to_string();
    assert!(error.starts_with("line 4, `nam`: unknown field `nam`"), "{error}");
}

#[test]
fn what_is_inherited_is_said_once() {
    let read = |inherits: &str, dependency: &str| {
        parse(&format!(
            "spin_manifest_version = 2\n[application]\nname = \"x\"\n[trigger]\n\
             [component.a]\nsource = \"a.wasm\"\n{inherits}\n\
             dependencies = {{ \"a:b\" = {{ path = \"b.wasm\"{dependency} }} }}"
        ))
    };
    let of = |manifest: &Manifest| manifest.components["a"].dependencies["a:b"].inherit.clone();
    let all = "dependencies_inherit_configuration = true";
    assert_eq!(of(&read("", "").unwrap()), Inherit::default());
    assert_eq!(of(&read(all, "").unwrap()), Inherit::All);
    assert_eq!(of(&read("", ", inherit_configuration = true").unwrap()), Inherit::All);
    let error = read(all, ", inherit_configuration = false").unwrap_err().to_string();
    assert!(error.contains("exclude each other"), "{error}");
    let error = read("", ", environment = { A = \"b\" }").unwrap_err().to_string();
    assert!(error.contains("unknown field \"environment\""), "{error}");
}

#[test]
fn fields_that_do_not_fit_are_all_reported() {
    let error = parse(
        r#"spin_manifest_version = 2
        [application]
        name = 5
        versio = "1"
        [variables]
        a = { requird = true }
        [[trigger.http]]
        component = "x"
        [component.x]
        sorce = "x.wasm"
        files = "x"
        [component.y]
        source = "y.wasm"
        build = { command = "make", watch = [1], wat = 1 }
        "#,
    );
    let error = error.unwrap_err().to_string();
    for part in [
        "line 3, `name`: invalid type: integer `5`",
        "line 4, `versio`: unknown field",
        "line 6, `a`: unknown field `requird`",
        "line 10, `sorce`: unknown field",
        "line 11, `files`: invalid type: string \"x\", expected a sequence",
        "line 9, `[component.x]`: missing field `source`",
        "line 14, `build`: invalid type: integer `1`",
        "line 14, `build`: unknown field `wat`",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(error.matches("; ").count(), 7, "{error}");

    // Those of a component in its trigger, whose line is not known.
    let error = parse(
        r#"spin_manifest_version = 2
        application = { name = "x" }
        [[trigger.http]]
        component = "y"
        [[trigger.http]]
        component = { files = "x", bogus = 1, key_value_stores = [2] }
        [component.y]
        source = "y.wasm"
        "#,
    );
    let error = error.unwrap_err().to_string();
    for part in [
        "component of http trigger 2: `files`: invalid type: string",
        "component of http trigger 2: unknown field `bogus`",
        "component of http trigger 2: `key_value_stores`: invalid type: integer `2`",
        "component of http trigger 2: missing field `source`",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }

    // Where only fields are unknown, the rest is looked at, too.
    let error = parse(
        "spin_manifest_version = 2\nx = 1\n[application]\nname = \"\"\ny = 1\n[trigger]\n\
         [component.c]\nsource = { path = \"c\", digest = 1 }\n",
    );
    let error = error.unwrap_err().to_string();
    for part in ["unknown field `x`", "unknown field `y`", "no name", "`source` must be a path"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error = parse("a = \nb = \n").unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("line 2"), "{error}");
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let error = parse(
        r#"
        spin_manifest_version = 2
        application.name = ""
        variables.Upper = { default = "x" }
        variables.both = { default = "x", required = true }
        variables.none = {}
        trigger.http = [
          { id = "same", component = "nobody" },
          { id = "same", component = { source = "x", bogus = 1 } },
          { id = "n", component = 1 },
        ]
        [component.bad_id]
        source = { url = "u", digest = "sha256:short" }
        files = [{ source = "x" }, 1]
        allowed_http_hosts = ["ftp://x"]
        key_value_stores = ["b@d"]
        variables = { a = "{{ undeclared }}", b = "{{" }
        dependencies = { plain = "1.0.0", "a:b" = { path = "x", what = 1 } }
        "#,
    )
    .unwrap_err();
    let ManifestError::Invalid(problems) = error else { panic!("{error}") };
    let text = problems.to_string();
    for part in [
        "no name",
        "Upper",
        "\"both\"",
        "\"none\"",
        "nobody",
        "bogus",
        "used twice",
        "\"n\"",
        "bad_id",
        "short",
        "destination",
        "patterns",
        "ftp://x",
        "b@d",
        "undeclared",
        "{{",
        "must name a `package`",
        "\"what\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_bare_component_answers_every_request() {
    let manifest = Manifest::single_component("My App");
    assert_eq!(manifest.application.name, "My App");
    assert_eq!(manifest.triggers[0].config["route"], "/...");
    assert_eq!(manifest.triggers[0].config["component"], "my-app");
    assert!(manifest.components.contains_key("my-app"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = parse(&text);
    }
}

const MIDDLEWARE: &str = r#"
spin_manifest_version = 2
application = { name = "m" }
[[trigger.http]]
route = "/one"
component = "one"
dependencies.middleware = [{ path = "outer.wasm", inherit_configuration = true }, { component = "other" }]
[[trigger.http]]
route = "/two"
component = "two"
dependencies.middleware = [{ path = "outer.wasm" }]
[[trigger.http]]
id = "second"
route = "/two/again"
component = "two"
dependencies.middleware = [{ component = "other" }]
[[trigger.http]]
route = "/two/plain"
component = "two"
[component.one]
source = "one.wasm"
[component.two]
source = "two.wasm"
[component.other]
source = "other.wasm"
"#;

#[test]
fn what_triggers_compose_belongs_to_components_of_their_own() {
    let manifest = parse(MIDDLEWARE).unwrap();
    let started: Vec<_> = manifest.triggers.iter().filter_map(Trigger::component).collect();
    assert_eq!(started, ["one", "two-for-two-http-trigger", "two-for-second", "two"]);
    let of = |id: &str| &manifest.components[id].trigger_dependencies;
    assert_eq!(of("one").by_role["middleware"].len(), 2);
    assert_eq!(of("one").by_role["middleware"][0].inherit, Inherit::All);
    assert_eq!(of("two-for-second").by_role["middleware"].len(), 1);
    assert_eq!(*of("two"), TriggerDependencies::default());

    let app = manifest.lock(|_, _| (LockedSource::default(), Vec::new()));
    let json: Value = serde_json::from_slice(&app.to_json().unwrap()).unwrap();
    assert_eq!(json["spin_lock_version"], 1);
    assert_eq!(json["must_understand"], json!(["component_host_requirements"]));
    let one = &json["components"][0];
    assert_eq!(one["id"], "one");
    assert_eq!(one["host_requirements"], json!({ "middleware": "required" }));
    assert_eq!(one["metadata"], json!({ "resolve-trigger-dependencies-using": "http" }));
    assert_eq!(one["trigger_dependencies"]["middleware"][0]["inherit"], "All");
    assert_eq!(one["trigger_dependencies"]["middleware"][1]["export"], Value::Null);
    let trigger = json["triggers"][0]["trigger_config"].clone();
    assert_eq!(trigger, json!({ "component": "one", "route": "/one" }));
}

#[test]
fn middleware_that_cannot_be_used_is_named() {
    for (list, expected) in [
        ("{ path = \"x\" }", "must be a list"),
        ("[\"1.0.0\"]", "must name a `package`"),
        ("[{ path = \"x\", export = \"e\" }]", "cannot choose an `export`"),
        ("[{ component = \"nobody\" }]", "\"nobody\", which does not exist"),
        ("[{ path = \"x\", what = 1 }]", "unknown field \"what\""),
    ] {
        let text = MIDDLEWARE.replace("[{ component = \"other\" }]", list);
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{list}: {error}");
    }
}
