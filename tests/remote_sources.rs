//! Wasm that a `spin.toml` names elsewhere: packages of a registry, and URLs.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use fs_err as fs;
use integration_tests::artifact;
use integration_tests::containerd::{Containerd, Version};
use integration_tests::http;
use integration_tests::http_server::serve_file;
use integration_tests::linux_image::push_folder;
use integration_tests::registry::Registry;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;

fn wasm(name: &str) -> Result<Vec<u8>> {
    let file = guest(name)?.join(format!("target/wasm32-wasip1/release/{name}.wasm"));
    Ok(fs::read(file)?)
}

/// A registry with the guests as packages below `team/`, as `wkg publish` pushes them.
fn packages() -> Result<Registry> {
    let registry = Registry::start()?;
    let config = r#"{"architecture":"wasm","os":"wasip2","component":{"exports":[],"imports":[]}}"#;
    for (name, tag) in [("greeted", "1.0.0"), ("greeter", "0.9.0"), ("greeter", "1.2.0")] {
        let content = if tag == "0.9.0" { b"\0asm\x0d\0\x01\0".to_vec() } else { wasm(name)? };
        let repository = format!("team/acme/{name}");
        let layers = [("application/wasm", content.as_slice())];
        artifact::push_manifest(&registry, (&repository, tag), config, &layers)?;
    }
    Ok(registry)
}

/// A folder with nothing but a manifest.
fn app(folder: &Path, name: &str, component: &str, dependency: &str) -> Result<PathBuf> {
    let app = folder.join(name);
    fs::create_dir(&app)?;
    fs::write(
        app.join("spin.toml"),
        format!(
            r#"
spin_manifest_version = 2
application = {{ name = "{name}" }}

[[trigger.http]]
route = "/..."
component = "greeted"

[component.greeted]
source = {component}
environment = {{ FROM_THE_MANIFEST = "yes" }}
dependencies = {{ "acme:greeter/greeting@1.0.0" = {dependency} }}
"#
        ),
    )?;
    Ok(app)
}

#[test]
fn packages_and_urls_are_fetched_by_every_command() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, packages()?);
    let at = registry.address();
    let known =
        serve_file(format!(r#"{{"oci":{{"registry":"{at}","namespacePrefix":"team/"}}}}"#).into())?;
    let package = |name: &str, version: &str| {
        format!(r#"{{ registry = "{known}", package = "acme:{name}", version = "{version}" }}"#)
    };
    let url = |name: &str| -> Result<String> {
        let (content, digest) = (wasm(name)?, artifact::digest(&wasm(name)?));
        Ok(format!(r#"{{ url = "http://{}/a.wasm", digest = "{digest}" }}"#, serve_file(content)?))
    };
    let newest = package("greeter", "^1");
    let apps = [
        app(spinlet.folder(), "packages", &package("greeted", "1.0.0"), &newest)?,
        app(spinlet.folder(), "urls", &url("greeted")?, &url("greeter")?)?,
    ];
    for app in &apps {
        let name = app.file_name().unwrap_or_default().display().to_string();
        let reference = registry.reference(&name);
        let app = app.display().to_string();
        let served = spinlet.up(&app, &[])?;
        let greeting = served.get("/?Ada")?.text();
        ensure!(greeting.contains("Hello, Ada!"), "{greeting}");
        let report = spinlet.run(&["inspect", &app])?;
        ensure!(report.contains("greeted"), "{report}");
        let diagnosis = spinlet.run(&["doctor", &app])?;
        ensure!(diagnosis.contains("Everything is there"), "{diagnosis}");
        spinlet.run(&["push", &app, &reference])?;
        let pulled = spinlet.up(&reference, &[])?;
        assert_eq!(pulled.get("/?Ada")?.text(), greeting);
    }
    Ok(())
}

#[test]
fn packages_that_nobody_has_are_all_named_before_anything_is_served() -> Result<()> {
    let (spinlet, registry) = (Spinlet::new()?, packages()?);
    let at = registry.address();
    let of = |package: &str, version: &str| {
        format!(r#"{{ registry = "{at}", package = "{package}", version = "{version}" }}"#)
    };
    let app = app(spinlet.folder(), "app", &of("acme:nobody", "1.0.0"), &of("team:x", "^2"))?;
    for command in ["up", "inspect", "doctor"] {
        let finished = spinlet.finish(&[command, &app.display().to_string()])?;
        ensure!(!finished.status.success(), "{command} succeeds");
        for expected in [
            format!("component \"greeted\": cannot fetch package acme:nobody =1.0.0 of {at}"),
            "does not have 1.0.0".to_owned(),
            "dependency \"acme:greeter/greeting@1.0.0\": cannot fetch package team:x ^2".to_owned(),
        ] {
            ensure!(finished.stderr.contains(&expected), "{expected}: {}", finished.text());
        }
    }
    Ok(())
}

#[test]
fn a_container_fetches_the_packages_of_its_manifest() -> Result<()> {
    let (containerd, registry) = (Containerd::start(Version::V2)?, packages()?);
    let folder = tempfile::tempdir()?;
    let of = |package: &str, version: &str| {
        let at = registry.address();
        format!(r#"{{ registry = "{at}", package = "team:{package}", version = "{version}" }}"#)
    };
    let config = r#"{"architecture":"wasm","os":"wasip2"}"#;
    for name in ["greeted", "greeter"] {
        let content = wasm(name)?;
        let layers = [("application/wasm", content.as_slice())];
        artifact::push_manifest(&registry, (&format!("team/{name}"), "1.0.0"), config, &layers)?;
    }
    let app = app(folder.path(), "app", &of("greeted", "1.0.0"), &of("greeter", "=1.0.0"))?;
    let image = push_folder(&registry, "by-package", &app)?;
    containerd.pull(&image)?;
    let address = containerd.run(&image, "app", &[])?;
    let greeting = http::get(address, "/?Ada")?.text();
    ensure!(greeting.contains("Hello, Ada!"), "{greeting}");
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    Ok(())
}
