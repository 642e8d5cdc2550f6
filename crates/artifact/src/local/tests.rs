use super::*;
use crate::artifact::Mount;

const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, content).unwrap();
}

fn manifest(component: &str) -> String {
    format!(
        "spin_manifest_version = 2\napplication.name = \"local\"\n[[trigger.http]]\nroute = \
         \"/...\"\ncomponent = \"main\"\n[component.main]\n{component}\n"
    )
}

/// An app folder with these files besides `app.wasm` and `spin.toml`.
fn folder(component: &str, files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "app.wasm", WASM);
    write(root.path(), "spin.toml", manifest(component));
    for file in files {
        write(root.path(), file, file);
    }
    root
}

fn paths(component: &str, files: &[&str]) -> Result<Vec<String>, String> {
    let root = folder(&format!("source = \"app.wasm\"\n{component}"), files);
    let artifact = load(root.path(), None).map_err(|error| error.to_string())?;
    let files = &artifact.components["main"].files;
    Ok(files.iter().map(|file| file.path.clone()).collect())
}

#[test]
fn an_app_is_loaded_from_its_folder_or_manifest() {
    let root = folder("source = \"app.wasm\"", &[]);
    for path in [root.path().to_owned(), root.path().join("spin.toml")] {
        let artifact = load(&path, None).unwrap();
        assert_eq!(artifact.app.name(), "local");
        let content = &artifact.components["main"];
        assert_eq!(content.kind, WasmKind::Component);
        assert_eq!(artifact.app.components[0].source.content.digest, Some(content.wasm.digest()));
        assert!(content.open_wasm().is_ok());
    }
}

#[test]
fn patterns_keep_paths_and_placements_move_files() {
    let files = ["a/x.txt", "a/deep/y.txt", "a/.hidden", "b/z.html", "single"];
    assert_eq!(paths(r#"files = ["a/*"]"#, &files).unwrap(), ["a/.hidden", "a/x.txt"]);
    assert_eq!(
        paths(r#"files = ["a/**/*"]"#, &files).unwrap(),
        ["a/.hidden", "a/deep/y.txt", "a/x.txt"]
    );
    assert_eq!(
        paths(r#"files = ["**/*.html", "./single"]"#, &files).unwrap(),
        ["b/z.html", "single"]
    );
    assert_eq!(
        paths(r#"files = ["a"]"#, &files).unwrap(),
        ["a/.hidden", "a/deep/y.txt", "a/x.txt"]
    );
    assert_eq!(paths(r#"files = ["[ab]/?.*"]"#, &files).unwrap(), ["a/x.txt", "b/z.html"]);
    assert_eq!(
        paths(
            r#"files = [{ source = "b", destination = "/" }, { source = "a/deep/", destination = "/www/" }, { source = "single", destination = "/one/s" }]"#,
            &files
        )
        .unwrap(),
        ["one/s", "www/y.txt", "z.html"]
    );
}

#[test]
fn exclusions_apply_to_patterns_and_folders_below_as_well() {
    let files = ["a/x", "a/secret/y", "a/secret/deep/z", "b/x"];
    assert_eq!(
        paths(
            "files = [\"**/*\"]\nexclude_files = [\"*/secret/*\", \"*.toml\", \"*.wasm\"]",
            &files
        )
        .unwrap(),
        ["a/x", "b/x"]
    );
    assert_eq!(
        paths(
            "files = [{ source = \"a\", destination = \"/\" }]\nexclude_files = [\"a/secret/**\"]",
            &files
        )
        .unwrap(),
        ["x"]
    );
}

#[test]
fn every_bad_file_is_reported() {
    let error = paths(
        r#"files = ["missing.txt", "a/..", ".", { source = "gone", destination = "/" }, { source = "a/x", destination = "/" }, { source = "a", destination = "/../../up" }]"#,
        &["a/x"],
    )
    .unwrap_err();
    for part in ["missing.txt", "\"..\"", "\".\"", "gone", "must name a file", "up/x"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn links_between_folders_do_not_go_round_in_circles() {
    let root = folder("source = \"app.wasm\"\nfiles = [\"a/**/*\"]", &["a/x"]);
    std::os::unix::fs::symlink("..", root.path().join("a/up")).unwrap();
    let artifact = load(root.path(), None).unwrap();
    let paths: Vec<_> =
        artifact.components["main"].files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a/up/app.wasm", "a/up/spin.toml", "a/x"]);
}

#[test]
fn sources_elsewhere_need_a_resolver() {
    let component = format!(
        "source = {{ url = \"https://example.com/a.wasm\", digest = \"{}\" }}",
        app::Digest::of(WASM)
    );
    let root = folder(&component, &[]);
    let error = load(root.path(), None).unwrap_err();
    assert!(matches!(error, LocalError::Remote { .. }));
    assert!(error.to_string().contains("https://example.com/a.wasm"), "{error}");
    let resolver = |_: &Source| Ok(Blob::from_bytes(WASM));
    assert!(load(root.path(), Some(&resolver)).is_ok());
    let failing = |_: &Source| Err("no network".into());
    assert!(load(root.path(), Some(&failing)).unwrap_err().to_string().contains("no network"));
}

#[test]
fn everything_that_is_missing_is_reported_at_once() {
    let root = folder(
        "source = \"gone.wasm\"\nfiles = [\"gone.txt\"]\n[component.native]\nsource = \
         \"native.wasm\"\n[component.folder]\nsource = \"sub\"",
        &["sub/x"],
    );
    write(root.path(), "native.wasm", b"\x7fELF\x02\x01\x01\0");
    let error = load(root.path(), None).unwrap_err().to_string();
    for part in ["gone.wasm", "gone.txt", "native code", "not a regular file"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn dependencies_stay_in_the_model() {
    let root = folder(
        "source = \"app.wasm\"\ndependencies = { \"a:b\" = { path = \"dep.wasm\" }, \"c:d\" = { \
         component = \"main\" } }",
        &[],
    );
    write(root.path(), "dep.wasm", WASM);
    let artifact = load(root.path(), None).unwrap();
    assert_eq!(artifact.components["main"].dependencies.len(), 2);
    let dependency = &artifact.app.components[0].dependencies["a:b"];
    assert_eq!(dependency.source.content.digest, Some(app::Digest::of(WASM)));
}

#[test]
fn a_bare_component_becomes_an_app() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "Hello_World.wasm", WASM);
    let artifact = load_wasm(&root.path().join("Hello_World.wasm")).unwrap();
    assert_eq!(artifact.app.name(), "Hello_World");
    assert_eq!(artifact.app.triggers[0].component(), Some("hello-world"));
    assert_eq!(artifact.components.len(), 1);
    write(root.path(), "text.wasm", b"hello");
    assert!(load_wasm(&root.path().join("text.wasm")).is_err());
    assert!(load_wasm(&root.path().join("gone.wasm")).is_err());
}

#[test]
fn a_manifest_in_a_root_filesystem_mounts_folders() {
    let root = folder(
        "source = \"/bin/app.wasm\"\nfiles = [{ source = \"static\", destination = \"/\" }, { \
         source = \"/linked\", destination = \"/www\" }]",
        &["static/x", "real/y"],
    );
    write(root.path(), "bin/app.wasm", WASM);
    // Absolute links of an image are meant inside the image.
    std::os::unix::fs::symlink("/real", root.path().join("linked")).unwrap();
    let artifact = load_rootfs(root.path(), None).unwrap().unwrap();
    let content = &artifact.components["main"];
    assert_eq!(
        content.mounts,
        [
            Mount { host: root.path().join("static"), guest: "/".to_owned() },
            Mount { host: root.path().join("real"), guest: "/www".to_owned() },
        ]
    );
    assert!(content.open_wasm().is_ok());
    assert!(content.files.is_empty());
}

#[test]
fn a_root_filesystem_cannot_reach_outside() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "app.wasm", WASM);
    write(outside.path(), "secrets/key", b"k");
    let secrets = outside.path().join("secrets");
    for (source, mount) in [
        ("escape.wasm".to_owned(), "escape".to_owned()),
        (
            "../../../../../../..".to_owned() + outside.path().join("app.wasm").to_str().unwrap(),
            format!("../../../../../../..{}", secrets.display()),
        ),
        ("/proc/self/exe".to_owned(), "/proc/self/root".to_owned()),
    ] {
        let root = folder(
            &format!(
                "source = {source:?}\nfiles = [{{ source = {mount:?}, destination = \"/\" }}]"
            ),
            &[],
        );
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, root.path().join(name)).unwrap();
        };
        link(&outside.path().join("app.wasm"), "escape.wasm");
        link(&secrets, "escape");
        let error = load_rootfs(root.path(), None).unwrap_err().to_string();
        assert!(error.contains("only folders can be mounted"), "{error}");
        assert!(error.contains("the image has no"), "{error}");
    }
    // The manifest itself is found only inside, too.
    let root = tempfile::tempdir().unwrap();
    write(outside.path(), "spin.toml", manifest("source = \"app.wasm\""));
    std::os::unix::fs::symlink(outside.path().join("spin.toml"), root.path().join("spin.toml"))
        .unwrap();
    assert!(load_rootfs(root.path(), None).unwrap().is_none());
}

#[test]
fn a_root_filesystem_mounts_only_folders() {
    let root = folder(
        "source = \"app.wasm\"\nexclude_files = [\"x\"]\nfiles = [\"*.txt\", \"one.txt\", { source \
         = \"a\", destination = \"/../up\" }]",
        &["one.txt", "a/x"],
    );
    let error = load_rootfs(root.path(), None).unwrap_err().to_string();
    for part in ["exclude_files", "*.txt", "one.txt", "/up"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(load_rootfs(tempfile::tempdir().unwrap().path(), None).unwrap().is_none());
}

#[test]
fn wasm_that_an_image_lacks_is_named_with_what_to_do() {
    let root = folder("source = \"build/gone.wasm\"", &[]);
    let error = load_rootfs(root.path(), None).unwrap_err().to_string();
    let path = root.path().join("build/gone.wasm").display().to_string();
    let expected = format!("component \"main\": the image has no {path}; copy it there");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn a_fifo_in_a_root_filesystem_does_not_block() {
    let root = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.path().join("spin.toml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(load_rootfs(root.path(), None).unwrap_err().to_string().contains("spin.toml"));
}
