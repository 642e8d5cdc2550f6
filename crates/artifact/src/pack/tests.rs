use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::layout::{Layout, LayoutWriter};
use crate::{assemble, assets, local};

const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

fn options(archive: bool) -> Options {
    Options { archive, created: UNIX_EPOCH + Duration::from_secs(1), ..Options::default() }
}

/// Writes an app with these components: id, files by path.
fn app_folder(components: &[(String, BTreeMap<String, Vec<u8>>)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut manifest = "spin_manifest_version = 2\n[application]\nname = \"packed\"\nversion = \
                        \"1.2.3\"\nauthors = [\"a\", \"b\"]\n[variables]\nv = { default = \"x\" }\n"
        .to_owned();
    for (id, files) in components {
        let mut wasm = WASM.to_vec();
        wasm.extend(id.repeat(50).bytes());
        fs_err::write(root.path().join(format!("{id}.wasm")), wasm).unwrap();
        let assets = root.path().join(format!("{id}-files"));
        fs_err::create_dir_all(&assets).unwrap();
        for (path, content) in files {
            let path = assets.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        write!(
            manifest,
            "[[trigger.http]]\nroute = \"/{id}\"\ncomponent = \"{id}\"\n[component.{id}]\nsource = \
             \"{id}.wasm\"\nvariables = {{ a = \"{{{{ v }}}}\" }}\nallowed_outbound_hosts = \
             [\"https://example.com\"]\nfiles = [{{ source = \"{id}-files\", destination = \"/\" \
             }}]\n"
        )
        .unwrap();
    }
    fs_err::write(root.path().join("spin.toml"), manifest).unwrap();
    root
}

/// Packs, writes a layout, reads it back.
fn round_trip(artifact: &Artifact, archive: bool, root: &Path) -> (Packed, Artifact) {
    let packed = pack(artifact, &options(archive)).unwrap();
    let target = root.join(format!("layout-{archive}"));
    let writer = LayoutWriter::create(&target).unwrap();
    for (_, blob) in &packed.blobs {
        writer.add(blob).unwrap();
    }
    writer.finish(Some("t"), &packed.manifest_json.read_verified(u64::MAX).unwrap()).unwrap();
    let layout = Layout::open(&target).unwrap();
    let read = assemble(&layout.image(None).unwrap(), &layout).unwrap().unwrap();
    (packed, read)
}

/// All files of a component, by path.
fn files_of(artifact: &Artifact, id: &str, root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mounts = assets::materialize(artifact, id, root).unwrap();
    let files = &artifact.components[id].files;
    files
        .iter()
        .map(|file| (file.path.clone(), fs_err::read(mounts[0].host.join(&file.path)).unwrap()))
        .collect()
}

/// An app without what packing changes: where it came from and its references.
fn comparable(artifact: &Artifact) -> Value {
    let mut app = artifact.app.clone();
    app.metadata.origin = None;
    for component in &mut app.components {
        let of_trigger = component.trigger_dependencies.values_mut().flatten();
        for dependency in component.dependencies.values_mut().chain(of_trigger) {
            dependency.source.content.inline = None;
        }
        for file in &mut component.files {
            file.content.inline = None;
        }
        component.source.content.inline = None;
    }
    serde_json::to_value(&app).unwrap()
}

fn check_round_trip(components: &[(String, BTreeMap<String, Vec<u8>>)]) {
    let root = app_folder(components);
    let artifact = local::load(root.path(), None).unwrap();
    for archive in [false, true] {
        let (packed, read) = round_trip(&artifact, archive, root.path());
        assert_eq!(comparable(&artifact), comparable(&read));
        for (id, files) in components {
            let content = &read.components[id];
            assert_eq!(
                content.wasm.read_verified(u64::MAX).unwrap(),
                artifact.components[id].wasm.read_verified(u64::MAX).unwrap()
            );
            let assets = root.path().join(format!("assets-{archive}"));
            assert_eq!(files_of(&read, id, &assets), *files);
        }
        let again = pack(&artifact, &options(archive)).unwrap();
        assert_eq!(again.manifest, packed.manifest, "packing is reproducible");
    }
}

fn one_component(files: &[(&str, &[u8])]) -> Vec<(String, BTreeMap<String, Vec<u8>>)> {
    let files = files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec()));
    vec![("main".to_owned(), files.collect())]
}

#[test]
fn an_image_has_the_form_that_spin_writes() {
    let components = one_component(&[
        ("small", b"hi"),
        ("large", &[b'l'; 129]),
        ("edge", &[b'e'; 128]),
        ("copy", &[b'l'; 129]),
    ]);
    let root = app_folder(&components);
    let artifact = local::load(root.path(), None).unwrap();
    let packed = pack(&artifact, &options(false)).unwrap();
    let types: Vec<_> =
        packed.manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [media_type::WASM_LAYER, media_type::DATA_LAYER, media_type::SPIN_APP]);
    assert_eq!(packed.blobs.len(), 4);

    let config: Value =
        serde_json::from_slice(&packed.blobs[0].1.read_verified(u64::MAX).unwrap()).unwrap();
    let locked = packed.manifest.layers.last().unwrap().digest.to_string();
    assert_eq!(
        config,
        json!({
            "architecture": "wasm", "os": "wasip1",
            "config": { "Labels": { "com.fermyon.spin.lockedAppDigest": locked } },
            "rootfs": { "type": "layers", "diff_ids": [] },
        })
    );
    assert_eq!(
        packed.manifest.annotations,
        BTreeMap::from(
            [
                ("authors", "a, b"),
                ("title", "packed"),
                ("version", "1.2.3"),
                ("created", "1970-01-01T00:00:01Z")
            ]
            .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
        )
    );
    let locked: Value =
        serde_json::from_slice(&packed.blobs[3].1.read_verified(u64::MAX).unwrap()).unwrap();
    assert_eq!(locked["metadata"].get("origin"), None);
    let files = locked["components"][0]["files"].as_array().unwrap();
    let inlined: Vec<_> = files
        .iter()
        .map(|file| (file["path"].as_str().unwrap(), file.get("inline").is_some()))
        .collect();
    assert_eq!(inlined, [("copy", false), ("edge", true), ("large", false), ("small", true)]);
    assert_eq!(files[3]["inline"], "aGk", "base64 without padding");
    let media_type: Value =
        serde_json::from_slice(&packed.manifest_json.read_verified(u64::MAX).unwrap()).unwrap();
    assert_eq!(media_type["mediaType"], media_type::IMAGE_MANIFEST);
    assert_eq!(media_type["schemaVersion"], 2);
}

#[test]
fn given_annotations_win() {
    let root = app_folder(&one_component(&[]));
    let artifact = local::load(root.path(), None).unwrap();
    let title = "org.opencontainers.image.title".to_owned();
    let mut options = options(false);
    options.annotations.insert(title.clone(), "mine".to_owned());
    assert_eq!(pack(&artifact, &options).unwrap().manifest.annotations[&title], "mine");
    options.infer_annotations = false;
    assert_eq!(pack(&artifact, &options).unwrap().manifest.annotations.len(), 1);
}

#[test]
fn an_archive_replaces_the_layers_of_files() {
    let components = one_component(&[("a/b/large", &[1; 500]), ("small", b"s")]);
    let root = app_folder(&components);
    let artifact = local::load(root.path(), None).unwrap();
    let (packed, read) = round_trip(&artifact, true, root.path());
    let types: Vec<_> =
        packed.manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [media_type::WASM_LAYER, media_type::ARCHIVE_LAYER, media_type::SPIN_APP]);
    let content = &read.components["main"].files[0].content;
    assert!(matches!(content, FileContent::Archived));
    let error = pack(&read, &options(false)).unwrap_err();
    assert!(error.to_string().contains("archive layer"), "{error}");
}

#[test]
fn too_many_layers_become_archives() {
    let files: Vec<_> =
        (0..600).map(|n| (format!("f{n}"), vec![(n % 256) as u8; 200 + n])).collect();
    let components = vec![("main".to_owned(), files.into_iter().collect())];
    let root = app_folder(&components);
    let artifact = local::load(root.path(), None).unwrap();
    let packed = pack(&artifact, &options(false)).unwrap();
    assert_eq!(packed.manifest.layers.len(), 3);
}

#[test]
fn what_is_not_composed_yet_reads_back_with_its_parts_and_composed_without() {
    let root = app_folder(&one_component(&[]));
    for part in ["dep", "outer", "inner"] {
        let wasm = [WASM, part.repeat(60).as_bytes()].concat();
        fs_err::write(root.path().join(format!("{part}.wasm")), wasm).unwrap();
    }
    let path = root.path().join("spin.toml");
    let manifest = fs_err::read_to_string(&path).unwrap().replace(
        "component = \"main\"\n",
        "component = \"main\"\ndependencies.middleware = [{ path = \"outer.wasm\" }, { path = \
         \"inner.wasm\", inherit_configuration = true }]\n",
    ) + "dependencies = { \"a:b\" = { path = \"dep.wasm\" } }\n";
    fs_err::write(&path, manifest).unwrap();
    let mut artifact = local::load(root.path(), None).unwrap();
    let (packed, read) = round_trip(&artifact, false, root.path());
    assert_eq!(packed.manifest.layers.len(), 5);
    assert_eq!(comparable(&artifact), comparable(&read));
    assert_eq!(read.app.lock_version(), 1);
    let digest_of = |artifact: &Artifact| artifact.uncomposed().next().unwrap().1.digest();
    assert_eq!(digest_of(&artifact), digest_of(&read));

    artifact.set_composed("main", Blob::from_bytes([WASM, b"whole"].concat()));
    let again = root.path().join("again");
    let (packed, read) = round_trip(&artifact, false, &again);
    assert_eq!(packed.manifest.layers.len(), 2);
    assert_eq!(comparable(&artifact), comparable(&read));
    assert!(read.uncomposed().next().is_none());
    assert_eq!(read.app.lock_version(), 0);
}

#[test]
fn a_file_that_changes_while_it_is_packed_is_noticed() {
    let root = app_folder(&one_component(&[("large", &[1; 500])]));
    let artifact = local::load(root.path(), None).unwrap();
    fs_err::write(root.path().join("main-files/large"), [2; 500]).unwrap();
    assert!(pack(&artifact, &options(true)).is_err());
    let packed = pack(&artifact, &options(false)).unwrap();
    let blob = &packed.blobs[2].1;
    assert!(matches!(blob.read_verified(u64::MAX), Err(BlobError::Digest { .. })));
}

fn some_files() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    let name = "[a-z][a-z0-9 .é-]{0,8}";
    let path = prop_oneof![
        name.prop_map(|name| format!("f-{name}")),
        (name, name).prop_map(|(folder, name)| format!("d-{folder}/f-{name}")),
        (1..20_usize, name)
            .prop_map(|(depth, name)| format!("{}f-{name}", "d-long-name/".repeat(depth))),
    ];
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        Just(vec![7; 127]),
        Just(vec![7; 128]),
        Just(vec![7; 129]),
        Just(vec![0; 100_000]),
    ];
    prop::collection::btree_map(path, content, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_reads_back_equal(
        first in some_files(),
        second in prop::option::of(some_files()),
    ) {
        let mut components = vec![("main".to_owned(), first)];
        components.extend(second.map(|files| ("other".to_owned(), files)));
        check_round_trip(&components);
    }
}
