//! Images as docker builds them: with an app in their root filesystem, and without.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::artifact;
use integration_tests::containerd::{Containerd, Version};
use integration_tests::http;
use integration_tests::http_server::serve_file;
use integration_tests::leak_check::Traces;
use integration_tests::linux_image::push_folder;
use integration_tests::process::free_address;
use integration_tests::registry::Registry;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;
use tempfile::TempDir;

/// Manifests of one app in both versions.
const VERSION_1: &str = r#"spin_manifest_version = "1"
    name = "built-by-docker"
    trigger = { type = "http", base = "/" }
    [[component]]
    id = "behaviours"
    source = "wasm/behaviours.wasm"
    files = [{ source = "assets", destination = "/data" }]
    [component.trigger]
    route = "/b/...""#;
const VERSION_2: &str = r#"spin_manifest_version = 2
    [application]
    name = "built-by-docker"
    [[trigger.http]]
    route = "/b/..."
    component = "behaviours"
    [component.behaviours]
    source = "wasm/behaviours.wasm"
    files = [{ source = "assets", destination = "/data" }]"#;

/// A root filesystem with this manifest, if there is one, and with the Wasm that the
/// manifests above name, if it is to be there.
fn root(manifest: Option<&str>, with_wasm: bool) -> Result<TempDir> {
    let root = tempfile::tempdir()?;
    let write = |path: &str, content: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, content)
    };
    write("assets/greeting.txt", b"from the image")?;
    if let Some(manifest) = manifest {
        write("spin.toml", manifest.as_bytes())?;
    }
    if with_wasm {
        let wasm = guest("behaviours")?.join("target/wasm32-wasip1/release/behaviours.wasm");
        write("wasm/behaviours.wasm", &fs::read(wasm)?)?;
    }
    Ok(root)
}

#[test]
fn an_app_in_the_root_filesystem_of_an_image_is_served() -> Result<()> {
    let (containerd, registry) = (Containerd::start(Version::V2)?, Registry::start()?);
    let before = Traces::now(&containerd)?;
    for (name, manifest) in [("version-1", VERSION_1), ("version-2", VERSION_2)] {
        let image = push_folder(&registry, name, root(Some(manifest), true)?.path())?;
        containerd.pull(&image)?;
        let address = containerd.run(&image, name, &[])?;
        let file = http::get(address, "/b/file?path=/data/greeting.txt")?;
        assert_eq!((file.status, file.text().as_str()), (200, "from the image"), "{name}");
        let headers = http::get(address, "/b/headers")?.text();
        assert!(headers.contains("spin-matched-route: /b/..."), "{headers}");
        assert_eq!(containerd.stop(name, "SIGTERM")?, 0);
    }
    before.nothing_new(&containerd)
}

#[test]
fn what_is_no_app_is_told_with_what_to_do() -> Result<()> {
    let (containerd, registry) = (Containerd::start(Version::V2)?, Registry::start()?);
    let image = |name: &str, manifest: Option<&str>, with_wasm| {
        push_folder(&registry, name, root(manifest, with_wasm)?.path())
    };
    let package = artifact::push(&registry, "text", &[("application/wasm", b"no Wasm at all")])?;
    let broken = VERSION_2.replace("route", "rout");
    let cases = [
        (image("nothing", None, true)?, &["is no Spin app", "/spin.toml", "`spinlet push`"][..]),
        (
            image("no-wasm", Some(VERSION_2), false)?,
            &["component \"behaviours\"", "the image has no /wasm/behaviours.wasm; copy it there"],
        ),
        (image("broken", Some(&broken), true)?, &["rout"]),
        (package, &["does not start like a Wasm binary; push the .wasm file that was built"]),
    ];
    let before = Traces::now(&containerd)?;
    for (image, expected) in cases {
        containerd.pull(&image)?;
        let listen = format!("SPIN_HTTP_LISTEN_ADDR={}", free_address()?);
        let finished = containerd.try_run(&image, "bad", &["--net-host", "--env", &listen])?;
        ensure!(!finished.status.success(), "{image} starts");
        let said = finished.text();
        for part in expected {
            ensure!(said.contains(part), "{image} must say {part:?}:\n{said}");
        }
        ensure!(!said.contains("panicked"), "{said}");
        containerd.try_ctr(&["task", "delete", "-f", "bad"])?;
        containerd.try_ctr(&["container", "delete", "bad"])?;
        before.nothing_new(&containerd).with_context(|| image.clone())?;
    }
    Ok(())
}

#[test]
fn wasm_by_url_is_downloaded_when_the_app_starts() -> Result<()> {
    let wasm = guest("behaviours")?.join("target/wasm32-wasip1/release/behaviours.wasm");
    let wasm = fs::read(wasm)?;
    let digest = artifact::digest(&wasm);
    let server = serve_file(wasm)?;
    let source = |digest: &str| {
        let source = format!("{{ url = \"http://{server}/b.wasm\", digest = \"{digest}\" }}");
        VERSION_2.replace("\"wasm/behaviours.wasm\"", &source)
    };
    let (containerd, registry) = (Containerd::start(Version::V2)?, Registry::start()?);
    let folder = root(Some(&source(&digest)), false)?;
    let image = push_folder(&registry, "by-url", folder.path())?;
    containerd.pull(&image)?;
    let address = containerd.run(&image, "app", &[])?;
    assert_eq!(http::get(address, "/b/hello")?.text(), "hello\n");
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    // And without a container.
    let spinlet = Spinlet::new()?;
    fs::write(folder.path().join("spin.toml"), source(&artifact::digest(b"something else")))?;
    let app = folder.path().display().to_string();
    let listen = free_address()?.to_string();
    let finished = spinlet.finish(&["up", &app, "--listen", &listen])?;
    ensure!(finished.stderr.contains(&digest), "{}", finished.text());
    Ok(())
}
