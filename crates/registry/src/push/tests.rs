use std::sync::Mutex;

use super::*;
use crate::fake_registry::{Access, FakeRegistry, app, quick};
use crate::{Credentials, Options, Password};

const WASM: &[u8] = &[7; 300_000];

async fn push(registry: &FakeRegistry, options: Options) -> Result<Pushed, RegistryError> {
    let reference = registry.reference("app:v1");
    Registry::new(options).push(&reference, &app(WASM), &|_| {}).await
}

#[tokio::test]
async fn what_is_pushed_is_pulled_back_equal() {
    let registry = FakeRegistry::start().await;
    let pushed = push(&registry, quick()).await.unwrap();
    let image = app(WASM);
    assert_eq!(pushed.digest, image.manifest_json.digest());
    assert_eq!(pushed.reference, format!("{}/app@{}", registry.address, pushed.digest));
    assert_eq!(pushed.transferred, image.blobs.iter().map(|(_, blob)| blob.size()).sum::<u64>());

    let layout = tempfile::tempdir().unwrap();
    let pulled = Registry::new(quick())
        .pull(&registry.reference("app:v1"), layout.path(), &|_| {})
        .await
        .unwrap();
    assert_eq!(pulled.descriptor.digest, pushed.digest);
    for (_, blob) in image.blobs {
        let path = layout.path().join("blobs/sha256").join(blob.digest().to_hex());
        assert_eq!(fs_err::read(path).unwrap(), blob.read_verified(u64::MAX).unwrap());
    }
}

#[tokio::test]
async fn blobs_that_the_registry_has_are_not_sent_again() {
    let registry = FakeRegistry::start().await;
    push(&registry, quick()).await.unwrap();
    assert_eq!(push(&registry, quick()).await.unwrap().transferred, 0);
    assert_eq!(registry.count("POST /v2/app/blobs/uploads/"), 3);
}

#[tokio::test]
async fn the_manifest_goes_last() {
    let registry = FakeRegistry::start().await;
    push(&registry, quick()).await.unwrap();
    assert_eq!(registry.state().log.last().unwrap(), "PUT /v2/app/manifests/v1");
}

#[tokio::test]
async fn passing_failures_are_outlived() {
    let registry = FakeRegistry::start().await;
    registry.state().failures =
        vec![("/blobs/uploads/", 500, 2), ("/blobs/sha256", 503, 1), ("/manifests/", 504, 2)];
    push(&registry, quick()).await.unwrap();
}

#[tokio::test]
async fn a_push_without_permission_says_how_to_sign_in() {
    let registry = FakeRegistry::start().await;
    registry.state().access = Access::Basic("me:secret".into());
    let error = push(&registry, quick()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("docker login"), "{error}");
}

#[tokio::test]
async fn a_push_signs_in_for_pushing() {
    let registry = FakeRegistry::start().await;
    registry.state().access = Access::Bearer("me:secret".into());
    let credentials =
        Credentials { explicit: Some(("me".into(), Password::new("secret"))), docker_config: None };
    push(&registry, Options { credentials, ..quick() }).await.unwrap();
    assert!(registry.count("pull%2Cpush") >= 1);
}

#[tokio::test]
async fn a_reference_without_a_tag_is_refused_before_anything_is_sent() {
    let registry = FakeRegistry::start().await;
    let image = app(WASM);
    let reference = registry.reference(&format!("app@{}", image.manifest_json.digest()));
    let error = Registry::new(quick()).push(&reference, &image, &|_| {}).await.unwrap_err();
    assert!(matches!(error, RegistryError::TagNeeded { .. }), "{error}");
    assert_eq!(registry.count("/v2/"), 0);
}

#[tokio::test]
async fn progress_reaches_the_end_of_every_blob() {
    let registry = FakeRegistry::start().await;
    let last = Mutex::new(0);
    let observer = |event: Event<'_>| {
        if let Event::Moved { digest, position, .. } = event
            && digest == Digest::of(WASM)
        {
            *last.lock().unwrap() = position;
        }
    };
    Registry::new(quick())
        .push(&registry.reference("app:v1"), &app(WASM), &observer)
        .await
        .unwrap();
    assert!(*last.lock().unwrap() > 0);
}
