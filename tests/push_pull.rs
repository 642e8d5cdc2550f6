//! Apps on their way to registries and back.

use anyhow::{Result, ensure};
use fs_err as fs;
use integration_tests::artifact;
use integration_tests::http::{get, request};
use integration_tests::registry::{Demands, PASSWORD, Registry, USER};
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;
use serde_json::Value;

fn behaviours() -> Result<String> {
    Ok(guest("behaviours")?.display().to_string())
}

/// The manifest of an artifact as the registry has it.
fn manifest(registry: &Registry, name: &str) -> Result<Value> {
    let accept = [("accept", "application/vnd.oci.image.manifest.v1+json")];
    let target = format!("/v2/{name}/manifests/v1");
    let response = request(registry.address(), "GET", &target, &accept, b"")?;
    ensure!(response.status == 200, "{}", response.text());
    Ok(serde_json::from_slice(&response.body)?)
}

fn media_types(manifest: &Value) -> Vec<&str> {
    let layers = manifest["layers"].as_array().into_iter().flatten();
    layers.filter_map(|layer| layer["mediaType"].as_str()).collect()
}

#[test]
fn an_artifact_has_the_form_that_spin_gives_it() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    spinlet.run(&["push", &behaviours()?, &registry.reference("plain")])?;
    let plain = manifest(&registry, "plain")?;
    assert_eq!(plain["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    // The only file is short enough to be inlined in the locked app.
    assert_eq!(media_types(&plain), [artifact::WASM_LAYER, artifact::APP_LAYER]);
    assert_eq!(plain["annotations"]["org.opencontainers.image.title"], "behaviours");

    let config = plain["config"]["digest"].as_str().unwrap_or_default();
    let config = get(registry.address(), &format!("/v2/plain/blobs/{config}"))?;
    let config: Value = serde_json::from_slice(&config.body)?;
    assert_eq!(config["architecture"], "wasm");
    assert!(config["os"].as_str().is_some_and(|os| os.eq_ignore_ascii_case("wasip1")));
    let locked = &plain["layers"][1]["digest"];
    assert_eq!(&config["config"]["Labels"]["com.fermyon.spin.lockedAppDigest"], locked);
    Ok(())
}

#[test]
fn files_go_into_an_archive_layer_when_asked_to() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    let reference = registry.reference("archived");
    spinlet.run(&["push", &behaviours()?, &reference, "--archive-layers"])?;
    let archived = manifest(&registry, "archived")?;
    let archive = "application/vnd.wasm.content.bundle.v1.tar+gzip";
    assert!(media_types(&archived).contains(&archive), "{archived:#}");
    let served = spinlet.up(&reference, &[])?;
    assert_eq!(served.get("/b/file?path=/data/greeting.txt")?.text(), "served from a file\n");
    Ok(())
}

#[test]
fn what_was_pushed_is_pulled_and_pushed_again_unchanged() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    let (first, second) = (registry.reference("first"), registry.reference("second"));
    spinlet.run(&["push", &behaviours()?, &first])?;
    let layout = spinlet.folder().join("layout").display().to_string();
    spinlet.run(&["pull", &first, "--output", &layout])?;
    assert!(fs::metadata(format!("{layout}/oci-layout"))?.is_file());
    let served = spinlet.up(&layout, &[])?;
    assert_eq!(served.get("/b/hello")?.text(), "hello\n");

    spinlet.run(&["push", &behaviours()?, &second])?;
    let layers = |name: &str| -> Result<Value> { Ok(manifest(&registry, name)?["layers"].clone()) };
    assert_eq!(layers("first")?, layers("second")?);
    Ok(())
}

#[test]
fn a_password_is_found_where_docker_login_keeps_it() -> Result<()> {
    let registry = Registry::start_with(Demands { password: true, tls: false })?;
    let reference = registry.reference("guarded");
    let stranger = Spinlet::new()?.with_env("DOCKER_CONFIG", "/nonexistent");
    let finished = stranger.finish(&["push", &behaviours()?, &reference])?;
    ensure!(!finished.status.success(), "a stranger may push");
    let said = finished.stderr.to_lowercase();
    assert!(
        said.contains("password") || said.contains("login") || said.contains("credential"),
        "{said}"
    );

    let friend = Spinlet::new()?.with_env("DOCKER_CONFIG", registry.docker_config()?);
    friend.run(&["push", &behaviours()?, &reference])?;
    let served = friend.up(&reference, &[])?;
    assert_eq!(served.get("/b/hello")?.text(), "hello\n");

    let explicit = ["--username", USER, "--password", PASSWORD];
    let inspect = ["inspect", &reference].into_iter().chain(explicit).collect::<Vec<_>>();
    assert!(stranger.run(&inspect)?.contains("behaviours"));
    ensure!(!said.contains(PASSWORD), "the password is shown");
    Ok(())
}

#[test]
fn a_registry_with_its_own_authority_is_trusted_only_when_told_so() -> Result<()> {
    let registry = Registry::start_with(Demands { password: true, tls: true })?;
    let spinlet = Spinlet::new()?.with_env("DOCKER_CONFIG", registry.docker_config()?);
    let reference = registry.reference("private");
    let finished = spinlet.finish(&["push", &behaviours()?, &reference])?;
    ensure!(!finished.status.success(), "an unknown authority is trusted");
    assert!(finished.stderr.to_lowercase().contains("certificate"), "{}", finished.stderr);

    let authority = registry.authority().display().to_string();
    spinlet.run(&["push", &behaviours()?, &reference, "--ca-file", &authority])?;
    let served = spinlet.up(&reference, &["--ca-file", &authority])?;
    assert_eq!(served.get("/b/hello")?.text(), "hello\n");
    Ok(())
}

#[test]
fn inspect_tells_what_an_app_is_made_of() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    let reference = registry.reference("inspected");
    spinlet.run(&["push", &behaviours()?, &reference])?;
    for subject in [behaviours()?, reference] {
        let table = spinlet.run(&["inspect", &subject])?;
        for word in ["behaviours", "/b/...", "greeting"] {
            assert!(table.contains(word), "{word} is not in\n{table}");
        }
        let json: Value = serde_json::from_str(&spinlet.run(&["inspect", "--json", &subject])?)?;
        assert!(json.to_string().contains("/b/..."), "{json:#}");
    }
    Ok(())
}

#[test]
fn native_code_in_an_image_is_refused() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    let native = b"\x7fELF\x02\x01\x01\0 not for wasm engines".as_slice();
    let app = artifact::locked_app(&artifact::digest(native)).to_string();
    let layers = [(artifact::WASM_LAYER, native), (artifact::APP_LAYER, app.as_bytes())];
    let reference = artifact::push(&registry, "native", &layers)?;
    let finished = spinlet.finish(&["up", &reference])?;
    ensure!(!finished.status.success(), "native code is served");
    let said = finished.stderr.to_lowercase();
    assert!(said.contains("native") || said.contains("compiled"), "{said}");
    Ok(())
}

#[test]
fn an_app_that_is_not_there_is_reported_with_its_reference() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, Registry::start()?);
    let reference = registry.reference("absent");
    let finished = spinlet.finish(&["pull", &reference])?;
    ensure!(!finished.status.success(), "an absent app is pulled");
    assert!(finished.stderr.contains("absent"), "{}", finished.stderr);
    let log = registry.log();
    ensure!(log.matches("/v2/absent/manifests/v1").count() <= 3, "asked too often:\n{log}");
    Ok(())
}
