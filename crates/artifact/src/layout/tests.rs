use std::io::Write;

use super::*;
use crate::oci::Platform;

const LAYER: &[u8] = b"layer";

fn manifest_json(config: &Blob, layer: &Blob) -> Vec<u8> {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::new(media_type::IMAGE_CONFIG, config.digest(), config.size()),
        layers: vec![Descriptor::new(media_type::DATA_LAYER, layer.digest(), layer.size())],
        annotations: std::collections::BTreeMap::new(),
    };
    serde_json::to_vec(&manifest).unwrap()
}

fn write_image(target: &Path, name: Option<&str>, config: &[u8]) -> Result<Digest, LayoutError> {
    let (config, layer) = (Blob::from_bytes(config), Blob::from_bytes(LAYER));
    let writer = LayoutWriter::create(target)?;
    writer.add(&config)?;
    writer.add(&layer)?;
    writer.finish(name, &manifest_json(&config, &layer))
}

fn tar_of(folder: &Path) -> PathBuf {
    let path = folder.with_extension("tar");
    let mut builder = tar::Builder::new(fs_err::File::create(&path).unwrap());
    builder.append_dir_all(".", folder).unwrap();
    builder.finish().unwrap();
    path
}

#[test]
fn what_is_written_can_be_read_from_the_folder_and_from_a_tar() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("layout");
    let digest = write_image(&target, Some("hello:v1"), b"{}").unwrap();
    for path in [target.clone(), tar_of(&target)] {
        assert!(Layout::is_layout(&path));
        let layout = Layout::open(&path).unwrap();
        assert_eq!(layout.names(), ["hello:v1"]);
        let digest_text = digest.to_string();
        for reference in [None, Some("hello:v1"), Some(digest_text.as_str())] {
            let image = layout.image(reference).unwrap();
            assert_eq!(image.digest, digest);
            let layer = layout.blob(&image.manifest.layers[0]).unwrap();
            assert_eq!(layer.read_verified(100).unwrap(), LAYER);
        }
        assert_eq!(layout.image(None).unwrap().reference.as_deref(), Some("hello:v1"));
    }
    assert_eq!(fs_err::read_dir(root.path()).unwrap().count(), 2, "no temporary folder is left");
}

#[test]
fn a_second_image_is_added_and_a_name_moves() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("layout");
    write_image(&target, Some("a"), b"{}").unwrap();
    write_image(&target, Some("b"), b"{ }").unwrap();
    let moved = write_image(&target, Some("a"), b"{  }").unwrap();
    let layout = Layout::open(&target).unwrap();
    assert_eq!(layout.names(), ["b", "a"]);
    assert_eq!(layout.image(Some("a")).unwrap().digest, moved);
    let error = layout.image(None).unwrap_err().to_string();
    assert!(error.contains("several images") && error.contains("b, a"), "{error}");
    assert!(layout.image(Some("c")).unwrap_err().to_string().contains("no image \"c\""));
}

#[test]
fn an_incomplete_image_does_not_become_visible() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("layout");
    let (config, layer) = (Blob::from_bytes(*b"{}"), Blob::from_bytes(LAYER));
    let writer = LayoutWriter::create(&target).unwrap();
    writer.add(&config).unwrap();
    let error = writer.finish(None, &manifest_json(&config, &layer)).unwrap_err();
    assert!(error.to_string().contains(&layer.digest().to_string()), "{error}");
    assert!(!target.exists());
    assert_eq!(fs_err::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_blob_that_is_not_what_was_promised_is_not_added() {
    let root = tempfile::tempdir().unwrap();
    let writer = LayoutWriter::create(&root.path().join("layout")).unwrap();
    let digest = Digest::of(b"good");
    for content in [&b"evil"[..], b"goo"] {
        let mut blob = writer.blob(digest, 4).unwrap();
        blob.write_all(content).unwrap();
        assert!(matches!(blob.finish(), Err(LayoutError::Blob(_))));
        assert!(!writer.has(digest, 4));
    }
    assert!(writer.blob(digest, 4).unwrap().write_all(b"longer").is_err());
    let damaged = Blob::promised_bytes(digest, 4, *b"evil");
    assert!(writer.add(&damaged).is_err());
    writer.add(&Blob::from_bytes(*b"good")).unwrap();
    assert!(writer.has(digest, 4));
}

#[test]
fn other_folders_and_files_are_refused() {
    let root = tempfile::tempdir().unwrap();
    fs_err::write(root.path().join("precious"), b"x").unwrap();
    let error = LayoutWriter::create(root.path()).unwrap_err();
    assert!(matches!(error, LayoutError::NotLayout { .. }), "{error}");
    assert!(matches!(Layout::open(root.path()), Err(LayoutError::NotLayout { .. })));
    let file = root.path().join("x.tar");
    fs_err::write(&file, [0x1f, 0x8b, 8, 0]).unwrap();
    assert!(Layout::open(&file).unwrap_err().to_string().contains("compressed"));
    fs_err::write(&file, [0; 1024]).unwrap();
    assert!(Layout::open(&file).unwrap_err().to_string().contains("no index.json"));
    assert!(matches!(Layout::open(&root.path().join("gone")), Err(LayoutError::Io { .. })));
}

#[test]
fn a_damaged_layout_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("layout");
    let digest = write_image(&target, None, b"{}").unwrap();
    let layout = Layout::open(&target).unwrap();
    let image = layout.image(None).unwrap();
    fs_err::remove_file(blob_path(&target, image.manifest.layers[0].digest)).unwrap();
    let error = layout.blob(&image.manifest.layers[0]).unwrap_err().to_string();
    assert!(error.contains("has no blob"), "{error}");
    let path = blob_path(&target, digest);
    let mut json = fs_err::read(&path).unwrap();
    json[20] ^= 1;
    fs_err::write(&path, json).unwrap();
    assert!(matches!(layout.image(None), Err(LayoutError::Blob(BlobError::Digest { .. }))));
}

#[test]
fn the_wasm_image_of_an_index_is_chosen() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("layout");
    let wasm = write_image(&target, Some("wasm"), b"{}").unwrap();
    let amd = write_image(&target, Some("amd"), b"{ }").unwrap();
    let entry = |digest: Digest, architecture: &str| {
        let size = fs_err::metadata(blob_path(&target, digest)).unwrap().len();
        let mut entry = Descriptor::new(media_type::IMAGE_MANIFEST, digest, size);
        let architecture = architecture.to_owned();
        entry.platform = Some(Platform { architecture, os: "wasip1".to_owned() });
        entry
    };
    let index = ImageIndex {
        schema_version: 2,
        media_type: None,
        manifests: vec![entry(amd, "amd64"), entry(wasm, "wasm")],
        annotations: std::collections::BTreeMap::new(),
    };
    let index = Blob::from_bytes(serde_json::to_vec(&index).unwrap());
    fs_err::write(blob_path(&target, index.digest()), index.read_verified(9999).unwrap()).unwrap();
    // An index whose only entry is the index.
    let top = ImageIndex {
        schema_version: 2,
        media_type: None,
        manifests: vec![Descriptor::new(media_type::IMAGE_INDEX, index.digest(), index.size())],
        annotations: std::collections::BTreeMap::new(),
    };
    fs_err::write(target.join("index.json"), serde_json::to_vec(&top).unwrap()).unwrap();
    assert_eq!(Layout::open(&target).unwrap().image(None).unwrap().digest, wasm);
}

#[test]
fn an_image_is_packed_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("layout");
    let digest = write_image(&target, Some("hello:v1"), b"{}").unwrap();
    for path in [target.clone(), tar_of(&target)] {
        let packed = Layout::open(&path).unwrap().packed(None).unwrap();
        assert_eq!(packed.manifest_json.digest(), digest);
        let contents: Vec<_> =
            packed.blobs.iter().map(|(_, blob)| blob.read_verified(100).unwrap()).collect();
        assert_eq!(contents, [b"{}".as_slice(), LAYER]);
    }
}
