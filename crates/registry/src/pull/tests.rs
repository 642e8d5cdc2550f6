use std::cell::RefCell;

use bytes::Bytes;

use super::*;
use crate::fake_registry::{Access, FakeRegistry, app, quick};
use crate::{Credentials, Options, Password};

const WASM: &[u8] = &[7; 100_000];

async fn pull(registry: &FakeRegistry, options: Options) -> Result<Pulled, RegistryError> {
    let layout = tempfile::tempdir().unwrap();
    pull_into(registry, options, layout.path()).await
}

async fn pull_into(
    registry: &FakeRegistry,
    options: Options,
    layout: &Path,
) -> Result<Pulled, RegistryError> {
    Registry::new(options).pull(&registry.reference("app:v1"), layout, &|_| {}).await
}

fn with_password(user: &str, password: &str) -> Options {
    Options {
        credentials: Credentials {
            explicit: Some((user.to_owned(), Password::new(password))),
            docker_config: None,
        },
        ..quick()
    }
}

fn stored(layout: &Path, bytes: &[u8]) -> bool {
    let path = layout.join("blobs/sha256").join(Digest::of(bytes).to_hex());
    fs_err::read(path).is_ok_and(|found| found == bytes)
}

#[tokio::test]
async fn an_app_arrives_whole_in_an_image_layout() {
    let registry = FakeRegistry::start().await;
    let manifest = registry.store_app(WASM);
    let layout = tempfile::tempdir().unwrap();
    let pulled = pull_into(&registry, quick(), layout.path()).await.unwrap();
    assert_eq!(pulled.descriptor.digest, Digest::of(&manifest));
    assert!(stored(layout.path(), &manifest) && stored(layout.path(), WASM));
    let index = fs_err::read_to_string(layout.path().join("index.json")).unwrap();
    assert!(index.contains(&Digest::of(&manifest).to_string()), "{index}");
    assert!(layout.path().join("oci-layout").exists());
}

#[tokio::test]
async fn progress_tells_the_plan_and_ends_at_the_whole_size() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    let layout = tempfile::tempdir().unwrap();
    let (planned, moved) = (RefCell::new(None), RefCell::new(0));
    let observer = |event: Event<'_>| match event {
        Event::Planned { blobs, bytes } => *planned.borrow_mut() = Some((blobs, bytes)),
        Event::Moved { digest, position, .. } if digest == Digest::of(WASM) => {
            *moved.borrow_mut() = position;
        }
        _ => {}
    };
    let reference = registry.reference("app:v1");
    Registry::new(quick()).pull(&reference, layout.path(), &observer).await.unwrap();
    let bytes: u64 = app(WASM).blobs.iter().map(|(_, blob)| blob.size()).sum();
    assert_eq!(*planned.borrow(), Some((3, bytes)));
    assert_eq!(*moved.borrow(), WASM.len() as u64);
}

#[tokio::test]
async fn blobs_that_are_there_already_are_not_fetched_again() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    let layout = tempfile::tempdir().unwrap();
    assert!(pull_into(&registry, quick(), layout.path()).await.unwrap().transferred > 0);
    let again = pull_into(&registry, quick(), layout.path()).await.unwrap();
    assert_eq!(again.transferred, 0);
    assert_eq!(registry.count("GET /v2/app/blobs/"), 3);
}

#[tokio::test]
async fn a_damaged_blob_of_an_earlier_pull_is_fetched_again() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    let layout = tempfile::tempdir().unwrap();
    pull_into(&registry, quick(), layout.path()).await.unwrap();
    let path = layout.path().join("blobs/sha256").join(Digest::of(WASM).to_hex());
    fs_err::write(&path, vec![8; WASM.len()]).unwrap();
    pull_into(&registry, quick(), layout.path()).await.unwrap();
    assert!(stored(layout.path(), WASM));
}

#[tokio::test]
async fn a_reference_by_digest_is_verified() {
    let registry = FakeRegistry::start().await;
    let manifest = registry.store_app(WASM);
    let reference = registry.reference(&format!("app@{}", Digest::of(&manifest)));
    let layout = tempfile::tempdir().unwrap();
    let client = Registry::new(quick());
    client.pull(&reference, layout.path(), &|_| {}).await.unwrap();

    let other = app(b"other").manifest_json.read_verified(u64::MAX).unwrap();
    let name = format!("app/{}", Digest::of(&manifest));
    registry.state().manifests.insert(name, (media_type::IMAGE_MANIFEST.into(), other.into()));
    let error = client.pull(&reference, layout.path(), &|_| {}).await.unwrap_err().to_string();
    assert!(error.contains(&Digest::of(&manifest).to_string()), "{error}");
}

#[tokio::test]
async fn passing_failures_are_outlived() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    registry.state().failures = vec![("/manifests/", 503, 2), ("/blobs/", 429, 3)];
    pull(&registry, quick()).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_keeps_failing_is_given_up_with_its_status() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    registry.state().failures = vec![("/manifests/", 502, 100)];
    let error = pull(&registry, quick()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Status { code: 502, .. }), "{error}");
    assert_eq!(registry.count("GET /v2/app/manifests/v1"), 4);
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_broke_off() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    registry.state().broken_transfers = 4;
    let layout = tempfile::tempdir().unwrap();
    pull_into(&registry, quick(), layout.path()).await.unwrap();
    assert!(stored(layout.path(), WASM));
}

#[tokio::test]
async fn a_registry_without_ranges_sends_the_whole_blob_again() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    registry.state().broken_transfers = 4;
    registry.state().no_ranges = true;
    let layout = tempfile::tempdir().unwrap();
    pull_into(&registry, quick(), layout.path()).await.unwrap();
    assert!(stored(layout.path(), WASM));
}

#[tokio::test]
async fn a_truncated_blob_is_reported_by_digest_and_leaves_nothing() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    let digest = Digest::of(WASM).to_string();
    registry.state().blobs.insert(digest.clone(), WASM[..500].to_vec().into());
    registry.state().no_ranges = true;
    let layout = tempfile::tempdir().unwrap();
    let error = pull_into(&registry, quick(), layout.path()).await.unwrap_err();
    let RegistryError::BlobTruncated { digest: named, expected, actual, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((named, *expected, *actual), (&digest, WASM.len() as u64, 500));
    assert_eq!(fs_err::read_dir(layout.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_pull_into_a_layout_keeps_whole_blobs_for_the_next_attempt() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    let digest = Digest::of(WASM).to_string();
    let whole = registry.state().blobs.insert(digest.clone(), WASM[..500].to_vec().into()).unwrap();
    let layout = tempfile::tempdir().unwrap();
    let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
    fs_err::write(layout.path().join("index.json"), empty).unwrap();
    pull_into(&registry, quick(), layout.path()).await.unwrap_err();
    assert_eq!(fs_err::read_to_string(layout.path().join("index.json")).unwrap(), empty);

    registry.state().blobs.insert(digest, whole);
    let pulled = pull_into(&registry, quick(), layout.path()).await.unwrap();
    assert_eq!(pulled.transferred, WASM.len() as u64);
}

#[tokio::test]
async fn a_blob_with_other_content_is_refused_at_once() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    let digest = Digest::of(WASM).to_string();
    for content in [vec![9; WASM.len()], vec![7; WASM.len() + 1]] {
        registry.state().blobs.insert(digest.clone(), content.into());
        registry.state().log.clear();
        let error = pull(&registry, quick()).await.unwrap_err();
        assert!(matches!(error, RegistryError::BlobCorrupt { .. }), "{error}");
        assert!(error.to_string().contains(&digest), "{error}");
        assert_eq!(registry.count(&format!("GET /v2/app/blobs/{digest}")), 1);
    }
}

#[tokio::test]
async fn a_missing_layer_is_reported_by_digest() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    let digest = Digest::of(WASM).to_string();
    registry.state().blobs.remove(&digest);
    let error = pull(&registry, quick()).await.unwrap_err();
    assert!(matches!(&error, RegistryError::BlobMissing { digest: named, .. } if *named == digest));
}

#[tokio::test]
async fn a_missing_tag_is_not_asked_for_twice() {
    let registry = FakeRegistry::start().await;
    let error = pull(&registry, quick()).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    assert_eq!(registry.count("/manifests/"), 1);
}

#[tokio::test]
async fn basic_credentials_are_sent_and_wrong_ones_are_explained() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    registry.state().access = Access::Basic("me:secret".into());
    pull(&registry, with_password("me", "secret")).await.unwrap();

    let error = pull(&registry, with_password("me", "wrong")).await.unwrap_err().to_string();
    assert!(error.contains("check the password of user me"), "{error}");
    assert!(!error.contains("wrong"), "{error}");
    let error = pull(&registry, quick()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("docker login {}", registry.address)), "{error}");
}

#[tokio::test]
async fn a_bearer_token_is_fetched_with_the_password() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    registry.state().access = Access::Bearer("me:secret".into());
    pull(&registry, with_password("me", "secret")).await.unwrap();
    assert_eq!(registry.count("GET /token"), 1, "one token serves the whole pull");

    let error = pull(&registry, with_password("me", "wrong")).await.unwrap_err().to_string();
    assert!(error.contains("incorrect username or password"), "{error}");
}

#[tokio::test]
async fn docker_credentials_of_every_kind_open_the_door() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    let address = registry.address;
    let cases = [
        // base64 of "me:secret"
        (Access::Basic("me:secret".into()), r#"{"auth": "bWU6c2VjcmV0"}"#),
        (Access::Bearer("me:secret".into()), r#"{"auth": "bWU6c2VjcmV0"}"#),
        (Access::Bearer("me:secret".into()), r#"{"identitytoken": "stored"}"#),
        (Access::Bearer("me:secret".into()), r#"{"registrytoken": "issued"}"#),
    ];
    for (access, entry) in cases {
        registry.state().access = access;
        let folder = tempfile::tempdir().unwrap();
        let json = format!(r#"{{"auths": {{"{address}": {entry}}}}}"#);
        fs_err::write(folder.path().join("config.json"), json).unwrap();
        let mut options = quick();
        options.credentials.docker_config = Some(folder.path().to_owned());
        pull(&registry, options).await.unwrap_or_else(|error| panic!("{entry}: {error}"));
    }
}

#[tokio::test]
async fn an_identity_token_that_has_expired_asks_for_a_new_login() {
    let registry = FakeRegistry::start().await;
    registry.store_app(WASM);
    registry.state().access = Access::Bearer("me:secret".into());
    let folder = tempfile::tempdir().unwrap();
    let json = format!(r#"{{"auths": {{"{}": {{"identitytoken": "old"}}}}}}"#, registry.address);
    fs_err::write(folder.path().join("config.json"), json).unwrap();
    let mut options = quick();
    options.credentials.docker_config = Some(folder.path().to_owned());
    let error = pull(&registry, options).await.unwrap_err().to_string();
    assert!(error.contains("sign in again with `docker login"), "{error}");
}

#[tokio::test]
async fn a_mirror_serves_and_the_registry_itself_is_the_way_out() {
    let (origin, mirror) = (FakeRegistry::start().await, FakeRegistry::start().await);
    let (_, host) = (origin.store_app(WASM), origin.address);
    mirror.store_app(WASM);
    let options = || Options {
        mirrors: vec![format!("{host}={}", mirror.address).parse().unwrap()],
        ..quick()
    };
    let pulled = pull(&origin, options()).await.unwrap();
    assert_eq!(pulled.registry, mirror.address.to_string());
    assert_eq!(origin.count("/v2/"), 0);
    assert!(mirror.count(&format!("ns={host}")) > 0);

    mirror.state().manifests.clear();
    let pulled = pull(&origin, options()).await.unwrap();
    assert_eq!(pulled.registry, host.to_string());
}

#[tokio::test]
async fn an_ordinary_image_is_refused_before_its_layers_are_fetched() {
    let registry = FakeRegistry::start().await;
    let manifest = registry.store_app(WASM);
    let text = String::from_utf8(manifest.to_vec()).unwrap();
    let text = text
        .replace(media_type::WASM_LAYER, "application/vnd.oci.image.layer.v1.tar+gzip")
        .replace(media_type::SPIN_APP, "application/vnd.oci.image.layer.v1.tar+gzip");
    let named = (media_type::IMAGE_MANIFEST.to_owned(), text.into());
    registry.state().manifests.insert("app/v1".into(), named);
    let error = pull(&registry, quick()).await.unwrap_err().to_string();
    assert!(error.contains("an ordinary container image, not a Spin app; push one"), "{error}");
    assert_eq!(registry.count("/blobs/"), 0);
}

#[tokio::test]
async fn an_index_leads_to_the_app_in_it() {
    let registry = FakeRegistry::start().await;
    let manifest = registry.store_app(WASM);
    let entry = |digest: Digest, os: &str, architecture: &str| {
        serde_json::json!({
            "mediaType": media_type::IMAGE_MANIFEST, "digest": digest, "size": 1,
            "platform": {"os": os, "architecture": architecture},
        })
    };
    let index = |entries: &[serde_json::Value]| {
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": entries,
        });
        (media_type::IMAGE_INDEX.to_owned(), Bytes::from(serde_json::to_vec(&index).unwrap()))
    };
    let other = Digest::of(b"other");
    let with_wasm =
        index(&[entry(other, "linux", "amd64"), entry(Digest::of(&manifest), "wasip1", "wasm")]);
    registry.state().manifests.insert("app/v1".into(), with_wasm);
    assert_eq!(pull(&registry, quick()).await.unwrap().descriptor.digest, Digest::of(&manifest));

    let without = index(&[entry(other, "linux", "amd64"), entry(other, "linux", "arm64")]);
    registry.state().manifests.insert("app/v1".into(), without);
    let error = pull(&registry, quick()).await.unwrap_err().to_string();
    let expected = "an image for linux/amd64, linux/arm64 with none for Wasm; push the app";
    assert!(error.contains(expected), "{error}");
}

#[tokio::test]
async fn a_wrong_port_is_one_clear_sentence() {
    let reference = {
        let gone = FakeRegistry::start().await;
        gone.reference("app:v1")
    };
    tokio::task::yield_now().await;
    let layout = tempfile::tempdir().unwrap();
    let error = Registry::new(quick()).pull(&reference, layout.path(), &|_| {}).await.unwrap_err();
    assert!(
        error.to_string().contains("connection refused; check its address and port"),
        "{error}"
    );
}
