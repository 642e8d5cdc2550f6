use std::cell::RefCell;

use serde_json::{Value, json};

use super::*;

const MODULE: &[u8] = b"\0asm\x01\0\0\0a module";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0a component";

/// An image in memory that notes which blobs were asked for.
#[derive(Default)]
struct Memory {
    blobs: BTreeMap<Digest, Blob>,
    asked: RefCell<Vec<Digest>>,
}

impl Memory {
    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let blob = Blob::from_bytes(bytes);
        let descriptor = Descriptor::new(media_type, blob.digest(), blob.size());
        self.blobs.insert(blob.digest(), blob);
        descriptor
    }

    fn json(&mut self, media_type: &str, json: &Value) -> Descriptor {
        self.add(media_type, json.to_string().as_bytes())
    }
}

impl BlobSource for Memory {
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, BoxError> {
        self.asked.borrow_mut().push(descriptor.digest);
        self.blobs.get(&descriptor.digest).cloned().ok_or_else(|| "not stored".into())
    }
}

fn image(config: Descriptor, layers: Vec<Descriptor>) -> Image {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        annotations: BTreeMap::new(),
    };
    let digest = Digest::of(serde_json::to_vec(&manifest).unwrap());
    Image { reference: Some("registry.test/apps/hello:v1".to_owned()), digest, manifest }
}

fn app(components: &Value) -> Value {
    json!({
        "spin_lock_version": 0,
        "metadata": { "name": "hello", "trigger": { "type": "http", "base": "/" } },
        "triggers": [{ "id": "t", "trigger_type": "http",
            "trigger_config": { "component": "main", "route": "/..." } }],
        "components": components,
    })
}

fn source(digest: Digest) -> Value {
    json!({ "content_type": "application/wasm", "digest": digest })
}

fn image_config(memory: &mut Memory, os: &str) -> Descriptor {
    let config = json!({ "architecture": "wasm", "os": os,
        "rootfs": { "type": "layers", "diff_ids": [] }, "history": [] });
    memory.json(media_type::IMAGE_CONFIG, &config)
}

#[test]
fn the_first_generation_has_its_app_in_the_configuration() {
    let mut memory = Memory::default();
    let wasm = memory.add(media_type::WASM_LAYER, MODULE);
    let file = memory.add(media_type::DATA_LAYER, b"content");
    let locked = app(&json!([{ "id": "main", "source": source(wasm.digest),
        "files": [{ "path": "a/b.txt", "digest": file.digest }] }]));
    let config = memory.json(media_type::SPIN_APP, &locked);
    let artifact = assemble(&image(config, vec![wasm, file]), &memory).unwrap().unwrap();
    assert_eq!(artifact.app.name(), "hello");
    assert_eq!(
        artifact.app.metadata.origin.as_deref(),
        Some("vnd.fermyon.origin-oci:registry.test/apps/hello:v1")
    );
    let main = &artifact.components["main"];
    assert_eq!(main.kind, WasmKind::Module);
    assert_eq!(main.files[0].size(), Some(7));
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut main.open_wasm().unwrap(), &mut bytes).unwrap();
    assert_eq!(bytes, MODULE);
}

#[test]
fn the_second_generation_has_its_app_in_the_last_layer() {
    for os in ["wasip1", "Wasip1", "wasi"] {
        let mut memory = Memory::default();
        let config = image_config(&mut memory, os);
        let wasm = memory.add(media_type::WASM_LAYER, COMPONENT);
        let dependency = memory.add(media_type::WASM_LAYER, b"\0asm\x0d\0\x01\0dependency");
        let odd = memory.add("application/x-unheard-of", b"odd");
        let locked = app(&json!([{ "id": "main", "source": source(wasm.digest),
            "files": [
                { "path": "inline", "inline": "aGk", "digest": Digest::of(b"hi") },
                { "path": "odd", "digest": odd.digest },
            ],
            "dependencies": { "a:b": { "source": source(dependency.digest), "export": null } } }]));
        let unused = Descriptor::new(media_type::DATA_LAYER, Digest::of(b"unused"), 6);
        let locked = memory.json(media_type::SPIN_APP, &locked);
        let layers = vec![wasm, dependency, odd, unused.clone(), locked];
        let artifact = assemble(&image(config, layers), &memory).unwrap().unwrap();
        let main = &artifact.components["main"];
        assert_eq!(main.kind, WasmKind::Component);
        assert_eq!(main.dependencies.len(), 1);
        assert_eq!(main.files.len(), 2);
        assert_eq!(main.files[0].size(), Some(2));
        assert!(!memory.asked.borrow().contains(&unused.digest), "unused blobs are not fetched");
    }
}

#[test]
fn a_package_becomes_an_app_that_answers_everything() {
    let package_config = json!({ "created": "2024-01-01T00:00:00Z", "os": "wasip2" });
    for layer_type in [media_type::WASM_PACKAGE, media_type::WASM_LAYER] {
        let mut memory = Memory::default();
        let config = memory.json(media_type::WASM_PACKAGE_CONFIG, &package_config);
        let wasm = memory.add(layer_type, COMPONENT);
        let artifact = assemble(&image(config, vec![wasm.clone()]), &memory).unwrap().unwrap();
        assert_eq!(artifact.app.name(), "hello");
        let trigger = artifact.app.triggers_of("http").next().unwrap();
        assert_eq!(trigger.trigger_config["route"], "/...");
        let id = trigger.component().unwrap();
        assert_eq!(artifact.components[id].wasm.digest(), wasm.digest);
    }
}

#[test]
fn a_package_of_several_layers_is_refused() {
    let mut memory = Memory::default();
    let config = memory.json(media_type::WASM_PACKAGE_CONFIG, &json!({}));
    let layers = vec![
        memory.add(media_type::WASM_PACKAGE, COMPONENT),
        memory.add(media_type::WASM_PACKAGE, MODULE),
    ];
    let error = assemble(&image(config, layers), &memory).unwrap_err();
    assert_eq!(error.to_string(), "expected single layer in OCI package, found 2 layers");
}

#[test]
fn an_ordinary_image_is_none() {
    let mut memory = Memory::default();
    let config = memory.json(media_type::IMAGE_CONFIG, &json!({ "architecture": "amd64" }));
    let layer = memory.add("application/vnd.oci.image.layer.v1.tar+gzip", b"tar");
    assert!(assemble(&image(config, vec![layer]), &memory).unwrap().is_none());
}

#[test]
fn native_code_is_refused_wherever_wasm_is_expected() {
    for native in [&b"\x7fELF\x02\x01\x01\xc8precompiled"[..], b"MZ\x90\0something"] {
        for (media_type, name) in
            [(media_type::WASM_LAYER, "wasm"), (media_type::DATA_LAYER, "data")]
        {
            let mut memory = Memory::default();
            let config = image_config(&mut memory, "wasip1");
            let wasm = memory.add(media_type, native);
            let locked = app(&json!([{ "id": "main", "source": source(wasm.digest) }]));
            let locked = memory.json(media_type::SPIN_APP, &locked);
            let error = assemble(&image(config, vec![wasm.clone(), locked]), &memory).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("native code"), "{name}: {text}");
            let named = match name {
                "wasm" => wasm.digest.to_string(),
                _ => "component \"main\"".to_owned(),
            };
            assert!(text.contains(&named), "{name}: {text}");
        }
    }
    // Also where no component uses it.
    let mut memory = Memory::default();
    let config = image_config(&mut memory, "wasip1");
    let wasm = memory.add(media_type::WASM_LAYER, COMPONENT);
    let native = memory.add(media_type::WASM_LAYER, b"\x7fELF\x02\x01\x01\xc8");
    let locked = app(&json!([{ "id": "main", "source": source(wasm.digest) }]));
    let locked = memory.json(media_type::SPIN_APP, &locked);
    let error = assemble(&image(config, vec![wasm, native.clone(), locked]), &memory).unwrap_err();
    assert!(error.to_string().contains(&native.digest.to_string()), "{error}");

    let mut memory = Memory::default();
    let config = memory.json(media_type::WASM_PACKAGE_CONFIG, &json!({}));
    let layer = memory.add(media_type::WASM_PACKAGE, b"\x7fELF\x02\x01\x01\xc8");
    let error = assemble(&image(config, vec![layer]), &memory).unwrap_err();
    assert!(error.to_string().contains("native code"), "{error}");
}

#[test]
fn every_missing_layer_is_reported_by_digest() {
    let mut memory = Memory::default();
    let config = image_config(&mut memory, "wasip1");
    let (wasm, file) = (Digest::of(b"wasm"), Digest::of(b"file"));
    let locked = app(&json!([{ "id": "main", "source": source(wasm), "files": [
        { "path": "missing", "digest": file },
        { "path": "elsewhere", "source": "file:///etc/passwd" },
        { "path": "empty" },
        { "path": "wrong", "inline": "aGk", "digest": file },
    ] }]));
    let locked = memory.json(media_type::SPIN_APP, &locked);
    let text = assemble(&image(config, vec![locked]), &memory).unwrap_err().to_string();
    for part in [wasm.to_string(), file.to_string(), "/etc/passwd".into(), "\"empty\"".into()] {
        assert!(text.contains(&part), "{part} in {text}");
    }
    assert!(text.contains("inline content has the digest"), "{text}");
}

#[test]
fn a_blob_that_cannot_be_fetched_is_named() {
    let mut memory = Memory::default();
    let config = image_config(&mut memory, "wasip1");
    let wasm = Descriptor::new(media_type::WASM_LAYER, Digest::of(b"gone"), 4);
    let locked = app(&json!([{ "id": "main", "source": source(wasm.digest) }]));
    let locked = memory.json(media_type::SPIN_APP, &locked);
    let error = assemble(&image(config, vec![wasm.clone(), locked]), &memory).unwrap_err();
    assert!(error.to_string().contains(&wasm.digest.to_string()), "{error}");
}

#[test]
fn a_damaged_app_or_component_is_refused() {
    let mut memory = Memory::default();
    let config = image_config(&mut memory, "wasip1");
    let wasm = memory.add(media_type::WASM_LAYER, COMPONENT);
    let locked = app(&json!([{ "id": "main", "source": source(wasm.digest) }]));
    let locked = memory.json(media_type::SPIN_APP, &locked);
    let image = image(config, vec![wasm.clone(), locked.clone()]);

    let changed =
        Blob::promised_bytes(wasm.digest, wasm.size, b"\0asm\x0d\0\x01\0A component".to_vec());
    memory.blobs.insert(wasm.digest, changed);
    let artifact = assemble(&image, &memory).unwrap().unwrap();
    let error = artifact.components["main"].open_wasm().unwrap_err();
    assert!(error.to_string().contains("other content"), "{error}");

    let truncated = Blob::promised_bytes(locked.digest, locked.size, b"{}".to_vec());
    memory.blobs.insert(locked.digest, truncated);
    assert!(matches!(assemble(&image, &memory), Err(ArtifactError::Blob(_))));
}

#[test]
fn sizes_beyond_the_limits_are_refused_before_anything_is_read() {
    let mut memory = Memory::default();
    let config = image_config(&mut memory, "wasip1");
    let wasm = Descriptor::new(media_type::WASM_LAYER, Digest::of(b"w"), limits::WASM_BYTES + 1);
    let locked = app(&json!([{ "id": "main", "source": source(wasm.digest) }]));
    let locked = memory.json(media_type::SPIN_APP, &locked);
    let error = assemble(&image(config.clone(), vec![wasm, locked]), &memory).unwrap_err();
    assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");

    let locked = Descriptor::new(media_type::SPIN_APP, Digest::of(b"l"), u64::MAX);
    memory.blobs.insert(locked.digest, Blob::promised_bytes(locked.digest, u64::MAX, *b"l"));
    let error = assemble(&image(config, vec![locked]), &memory).unwrap_err();
    assert!(error.to_string().contains("more than the"), "{error}");
}

#[test]
fn retaining_components_drops_their_content_as_well() {
    let mut memory = Memory::default();
    let config = image_config(&mut memory, "wasip1");
    let wasm = memory.add(media_type::WASM_LAYER, COMPONENT);
    let component = |id: &str| json!({ "id": id, "source": source(wasm.digest) });
    let locked =
        memory.json(media_type::SPIN_APP, &app(&json!([component("main"), component("other")])));
    let image = image(config, vec![wasm, locked]);
    let mut artifact = assemble(&image, &memory).unwrap().unwrap();
    assert!(artifact.retain_components("nobody").is_err());
    assert_eq!(artifact.components.len(), 2);
    artifact.retain_components("main").unwrap();
    assert_eq!(artifact.components.keys().collect::<Vec<_>>(), ["main"]);
}

#[test]
fn the_app_alone_is_read_without_a_look_at_its_wasm() {
    let mut memory = Memory::default();
    let config = image_config(&mut memory, "wasip1");
    let wasm = Descriptor::new(media_type::WASM_LAYER, Digest::of(COMPONENT), 8);
    let locked = app(&json!([{ "id": "main", "source": source(wasm.digest) }]));
    let locked = memory.json(media_type::SPIN_APP, &locked);
    let app = read_app(&image(config, vec![wasm, locked.clone()]), &memory).unwrap().unwrap();
    assert_eq!(app.name(), "hello");
    assert_eq!(*memory.asked.borrow(), [locked.digest]);

    let config = memory.json(media_type::WASM_PACKAGE_CONFIG, &json!({}));
    let layer = Descriptor::new(media_type::WASM_PACKAGE, Digest::of(COMPONENT), 8);
    let app = read_app(&image(config, vec![layer.clone()]), &memory).unwrap().unwrap();
    assert_eq!(app.components[0].source.content.digest, Some(layer.digest));
}
