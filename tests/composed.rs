//! Apps whose components are composed with others: middleware of triggers and
//! dependencies, from a `spin.toml`, and pushed either way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use fs_err as fs;
use integration_tests::artifact;
use integration_tests::http::request;
use integration_tests::process::output_of;
use integration_tests::registry::Registry;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::guest;
use serde_json::Value;

/// A copy of a guest beside the Wasm of another one.
fn copy(spinlet: &Spinlet, name: &str, other: &str) -> Result<PathBuf> {
    let app = spinlet.folder().join("app");
    let mut copy = Command::new("cp");
    output_of(copy.arg("-r").arg(guest(name)?).arg(&app), Duration::from_secs(20))?;
    let wasm = guest(other)?.join(format!("target/wasm32-wasip1/release/{other}.wasm"));
    fs::copy(wasm, app.join(format!("{other}.wasm")))?;
    Ok(app)
}

/// A guest behind two of the same middleware, of which the inner one has the
/// environment of the component; `/plain` is without.
fn with_middleware(spinlet: &Spinlet) -> Result<PathBuf> {
    let app = copy(spinlet, "wasi-p3", "middleware")?;
    fs::write(
        app.join("spin.toml"),
        r#"
spin_manifest_version = 2
application = { name = "shop" }

[[trigger.http]]
route = "/..."
component = "shop"
dependencies.middleware = [
    { path = "middleware.wasm" },
    { component = "stamp", inherit_configuration = ["environment"] },
]

[[trigger.http]]
route = "/plain"
component = "shop"

[component.shop]
source = "target/wasm32-wasip1/release/wasi_p3.wasm"
environment = { NAME = "shop" }

[component.stamp]
source = "middleware.wasm"
"#,
    )?;
    Ok(app)
}

fn expect_middleware(served: &Served) -> Result<()> {
    let response = served.get("/")?;
    assert_eq!(response.text(), "Hello from WASI 0.3!\n");
    // The first in the list is the outermost: it is the last to see the response.
    assert_eq!(response.all("x-passed"), ["shop", "nobody"]);
    assert_eq!(served.get("/stop")?.text(), "stopped by nobody\n");
    assert!(served.get("/plain")?.all("x-passed").is_empty());
    let echoed = request(served.address(), "POST", "/echo", &[("host", "h")], b"a body")?;
    assert_eq!((echoed.text().as_str(), echoed.all("x-passed").len()), ("a body", 2));
    Ok(())
}

/// The locked app of an artifact in a registry, and the media types of its layers.
fn pushed(registry: &Registry, name: &str) -> Result<(Value, Vec<String>)> {
    let get = |target: String| {
        let accept = [("accept", "application/vnd.oci.image.manifest.v1+json")];
        let response = request(registry.address(), "GET", &target, &accept, b"")?;
        ensure!(response.status == 200, "{target}: {}", response.text());
        Ok(serde_json::from_slice::<Value>(&response.body)?)
    };
    let manifest = get(format!("/v2/{name}/manifests/v1"))?;
    let layers = manifest.get("layers").and_then(Value::as_array).cloned().unwrap_or_default();
    let types =
        layers.iter().filter_map(|layer| layer.get("mediaType")?.as_str().map(str::to_owned));
    let digest = layers.last().and_then(|layer| layer.get("digest")?.as_str()).unwrap_or_default();
    Ok((get(format!("/v2/{name}/blobs/{digest}"))?, types.collect()))
}

fn push(spinlet: &Spinlet, app: &Path, reference: &str, more: &[&str]) -> Result<String> {
    let app = app.display().to_string();
    spinlet.run(&[&["push", &app, reference], more].concat())
}

#[test]
fn middleware_of_a_manifest_handles_requests_first_wherever_it_is_composed() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    let app = with_middleware(&spinlet)?;
    expect_middleware(&spinlet.up(&app.display().to_string(), &[])?)?;

    let composed = registry.reference("composed");
    push(&spinlet, &app, &composed, &[])?;
    let (locked, types) = pushed(&registry, "composed")?;
    assert_eq!(locked["spin_lock_version"], 0);
    let component = |locked: &Value| {
        let all = locked["components"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["id"] == "shop-for-shop-http-trigger").unwrap_or_default()
    };
    assert!(component(&locked)["trigger_dependencies"].is_null(), "{locked:#}");
    // The component alone, the whole, and the middleware, which is a component, too.
    assert_eq!(
        types,
        [artifact::WASM_LAYER, artifact::WASM_LAYER, artifact::WASM_LAYER, artifact::APP_LAYER]
    );
    expect_middleware(&spinlet.up(&composed, &[])?)?;

    let parts = registry.reference("parts");
    push(&spinlet, &app, &parts, &["--compose=false"])?;
    let (locked, types) = pushed(&registry, "parts")?;
    assert_eq!(locked["spin_lock_version"], 1);
    assert_eq!(locked["must_understand"], serde_json::json!(["component_host_requirements"]));
    let component = component(&locked);
    assert_eq!(component["host_requirements"]["middleware"], "required");
    assert_eq!(component["metadata"]["resolve-trigger-dependencies-using"], "http");
    let middleware = &component["trigger_dependencies"]["middleware"];
    assert_eq!(middleware.as_array().map(Vec::len), Some(2));
    assert_eq!(middleware[1]["inherit"]["Some"][0], "environment");
    assert_eq!(types, [artifact::WASM_LAYER, artifact::WASM_LAYER, artifact::APP_LAYER]);
    expect_middleware(&spinlet.up(&parts, &[])?)
}

#[test]
fn dependencies_are_composed_by_push_unless_it_is_told_otherwise() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    let app = copy(&spinlet, "greeted", "greeter")?;
    let answer = "Hello, Ada! variables: 0, files: false; the component itself: 1\n";
    for (name, more, wasm_layers, has_dependencies) in
        [("whole", &[][..], 1, false), ("parts", &["--compose=false"], 2, true)]
    {
        let reference = registry.reference(name);
        push(&spinlet, &app, &reference, more)?;
        let (locked, types) = pushed(&registry, name)?;
        let count = types.iter().filter(|kind| *kind == artifact::WASM_LAYER).count();
        assert_eq!(count, wasm_layers, "{name}");
        let dependencies = &locked["components"][0]["dependencies"];
        assert_eq!(dependencies.is_object(), has_dependencies, "{locked:#}");
        assert_eq!(spinlet.up(&reference, &[])?.get("/?Ada")?.text(), answer, "{name}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_composed_is_named_before_anything_is_pushed() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    let app = copy(&spinlet, "greeted", "greeter")?;
    let manifest = app.join("spin.toml");
    let text = fs::read_to_string(&manifest)?.replace(
        "component = \"greeted\"",
        "component = \"greeted\"\ndependencies.middleware = [{ path = \"greeter.wasm\" }]",
    );
    fs::write(&manifest, text)?;
    let (app, reference) = (app.display().to_string(), registry.reference("wrong"));
    let finished = spinlet.finish(&["push", &app, &reference])?;
    let text = finished.text();
    ensure!(!finished.status.success(), "it was pushed: {text}");
    for part in ["component \"greeted\" cannot be composed", "middleware 1 does not import"] {
        ensure!(text.contains(part), "{part} is not in {text}");
    }
    let target = "/v2/wrong/manifests/v1";
    assert_eq!(request(registry.address(), "GET", target, &[], b"")?.status, 404);
    Ok(())
}
