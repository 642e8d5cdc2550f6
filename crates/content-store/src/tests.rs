//! Against a containerd of a few lines, which answers over a real socket.

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::*;
use crate::wire::{self, method};

const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

/// What the containerd of a test has.
#[derive(Default, Clone)]
struct Fake {
    /// The image of container `c`.
    image: Option<String>,
    /// The target of image `app`.
    target: Option<Descriptor>,
    /// Where it says its content is.
    folder: Option<PathBuf>,
    blobs: HashMap<String, Vec<u8>>,
}

impl Fake {
    fn with_app() -> Self {
        let mut fake = Self { image: Some("app".into()), ..Self::default() };
        let wasm = fake.add(media_type::WASM_LAYER, WASM);
        let app = json!({
            "spin_lock_version": 1,
            "metadata": {"name": "hello"},
            "triggers": [{"id": "t", "trigger_type": "http",
                "trigger_config": {"component": "hello", "route": "/..."}}],
            "components": [{"id": "hello", "metadata": {},
                "source": {"content_type": "application/wasm", "digest": wasm.digest}}],
        });
        let app = fake.add_json(media_type::SPIN_APP, &app);
        let config = json!({"architecture": "wasm", "os": "wasip1"});
        let config = fake.add_json(media_type::IMAGE_CONFIG, &config);
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [wasm, app]});
        fake.target = Some(fake.add_json(media_type::IMAGE_MANIFEST, &manifest));
        fake
    }

    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        self.blobs.insert(digest.to_string(), bytes.to_vec());
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    fn add_json(&mut self, media_type: &str, document: &Value) -> Descriptor {
        self.add(media_type, document.to_string().as_bytes())
    }

    /// Answers to one call: the messages, or a gRPC status.
    fn answer(&self, path: &str, request: &[u8]) -> Result<Vec<Vec<u8>>, Code> {
        match path {
            method::GET_CONTAINER => {
                let id = wire::GetContainerRequest::decode(request).unwrap().id;
                let image = self.image.clone().filter(|_| id == "c").ok_or(Code::NotFound)?;
                let container = Some(wire::Container { image });
                Ok(vec![wire::GetContainerResponse { container }.encode_to_vec()])
            }
            method::GET_IMAGE => {
                let target = self.target.clone().ok_or(Code::NotFound)?;
                let target = Some(wire::Descriptor {
                    media_type: target.media_type,
                    digest: target.digest.to_string(),
                    size: target.size as i64,
                });
                let image = Some(wire::Image { name: "app".into(), target });
                Ok(vec![wire::GetImageResponse { image }.encode_to_vec()])
            }
            method::LIST_IMAGES => {
                let names = self.target.iter().map(|_| "app".to_owned());
                let images = names.map(|name| wire::Image { name, target: None }).collect();
                Ok(vec![wire::ListImagesResponse { images }.encode_to_vec()])
            }
            method::SUBSCRIBE => {
                let filters = wire::SubscribeRequest::decode(request).unwrap().filters;
                assert_eq!(filters[0], r#"topic=="/images/create",namespace=="k8s.io""#);
                let events = ["app", "app@sha256:1"].map(|name| {
                    let value = wire::ImageChanged { name: name.into() }.encode_to_vec();
                    wire::Envelope { event: Some(wire::Event { value }) }.encode_to_vec()
                });
                Ok(events.to_vec())
            }
            method::PLUGINS => {
                let root = self.folder.as_ref().map(|folder| folder.display().to_string());
                let exports = root.map(|root| ("root".to_owned(), root)).into_iter().collect();
                let plugins = vec![wire::Plugin { exports }];
                Ok(vec![wire::PluginsResponse { plugins }.encode_to_vec()])
            }
            method::READ_CONTENT => {
                let digest = wire::ReadContentRequest::decode(request).unwrap().digest;
                let blob = self.blobs.get(&digest).ok_or(Code::NotFound)?;
                // In pieces, as containerd does.
                let piece = |data: &[u8]| wire::ReadContentResponse { data: data.to_vec() };
                Ok(blob.chunks(5).map(|data| piece(data).encode_to_vec()).collect())
            }
            _ => Err(Code::Unimplemented),
        }
    }

    async fn respond(
        self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible>
    {
        assert_eq!(request.headers()["containerd-namespace"], "k8s.io");
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let answer = self.answer(&path, &body[5..]);
        let mut trailers = http::HeaderMap::new();
        let code = answer.as_ref().err().copied().unwrap_or(Code::Ok) as i32;
        trailers.insert("grpc-status", code.into());
        let messages = answer.unwrap_or_default().into_iter().map(|message| {
            let mut framed = BytesMut::new();
            framed.put_u8(0);
            framed.put_u32(message.len() as u32);
            framed.put_slice(&message);
            Ok::<_, Infallible>(Frame::data(framed.freeze()))
        });
        let frames: Vec<_> = messages.chain([Ok(Frame::trailers(trailers))]).collect();
        let response = http::Response::builder().header("content-type", "application/grpc");
        Ok(response.body(StreamBody::new(futures::stream::iter(frames))).unwrap())
    }

    /// Reads container `c` from a server with this content.
    async fn read(self) -> Result<Option<Artifact>, ContentStoreError> {
        self.read_with(None).await
    }

    async fn read_with(self, root: Option<&Path>) -> Result<Option<Artifact>, ContentStoreError> {
        let folder = tempfile::tempdir().unwrap();
        let address = self.listen(folder.path());
        let location = Location { address: &address, namespace: "k8s.io", container: "c", root };
        artifact_of(location).await
    }

    /// Answers at a socket in `folder`.
    fn listen(self, folder: &Path) -> PathBuf {
        let address = folder.join("containerd.sock");
        let listener = UnixListener::bind(&address).unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let fake = self.clone();
                let service =
                    hyper::service::service_fn(move |request| fake.clone().respond(request));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
            }
        });
        address
    }

    /// Writes the blobs to files as containerd does, and forgets them.
    fn move_to_files(&mut self, content: &Path) {
        let blobs = content.join("blobs/sha256");
        fs_err::create_dir_all(&blobs).unwrap();
        for (digest, bytes) in self.blobs.drain() {
            fs_err::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).unwrap();
        }
    }
}

use tonic::Code;

#[tokio::test]
async fn an_artifact_is_read_over_grpc_where_files_cannot_be_had() {
    let artifact = Fake::with_app().read().await.unwrap().unwrap();
    assert_eq!(artifact.app.components[0].id, "hello");
    let wasm = artifact.components["hello"].wasm.read_verified(100).unwrap();
    assert_eq!(wasm, WASM);
}

#[tokio::test]
async fn blobs_are_files_of_the_content_store_where_containerd_says_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut fake = Fake::with_app();
    fake.move_to_files(folder.path());
    fake.folder = Some(folder.path().to_owned());
    let artifact = fake.read().await.unwrap().unwrap();
    let wasm = &artifact.components["hello"].wasm;
    assert!(wasm.path().unwrap().starts_with(folder.path()));
    assert_eq!(wasm.read_verified(100).unwrap(), WASM);
}

#[tokio::test]
async fn a_known_root_directory_is_used_without_asking() {
    let root = tempfile::tempdir().unwrap();
    let mut fake = Fake::with_app();
    fake.move_to_files(&root.path().join("io.containerd.content.v1.content"));
    assert!(fake.read_with(Some(root.path())).await.unwrap().is_some());
}

#[tokio::test]
async fn of_an_index_the_wasm_manifest_is_taken() {
    let mut fake = Fake::with_app();
    let mut spin = fake.target.take().unwrap();
    spin.platform = Some(Platform { architecture: "wasm".into(), os: "wasip1".into() });
    let mut other = Descriptor::new(media_type::IMAGE_MANIFEST, Digest::of(b"other"), 5);
    other.platform = Some(Platform { architecture: "amd64".into(), os: "linux".into() });
    let index = json!({"schemaVersion": 2, "manifests": [other, spin]});
    fake.target = Some(fake.add_json(media_type::IMAGE_INDEX, &index));
    assert!(fake.read().await.unwrap().is_some());
}

#[tokio::test]
async fn an_index_for_nobody_here_is_told_with_its_platforms() {
    let mut fake = Fake::with_app();
    let entry = |os: &str, architecture: &str| {
        let mut entry = Descriptor::new(media_type::IMAGE_MANIFEST, Digest::of(b"other"), 5);
        entry.platform = Some(Platform { architecture: architecture.into(), os: os.into() });
        entry
    };
    let entries = [entry("linux", "s390x"), entry("windows", "amd64")];
    let index = json!({"schemaVersion": 2, "manifests": entries});
    fake.target = Some(fake.add_json(media_type::IMAGE_INDEX, &index));
    let error = fake.read().await.unwrap_err().to_string();
    let expected = "image app is for linux/s390x, windows/amd64, neither for Wasm nor for this \
                    machine (linux/";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.contains("`spinlet push`"), "{error}");
}

#[tokio::test]
async fn an_ordinary_image_is_no_artifact_and_its_layers_are_not_read() {
    let mut fake = Fake { image: Some("app".into()), ..Fake::default() };
    let config = json!({"architecture": "amd64", "os": "linux"});
    let config = fake.add_json(media_type::IMAGE_CONFIG, &config);
    let layer = Descriptor::new(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        Digest::of(b"not in the store"),
        7,
    );
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    fake.target = Some(fake.add_json(media_type::IMAGE_MANIFEST, &manifest));
    assert!(fake.read().await.unwrap().is_none());
}

#[tokio::test]
async fn a_container_without_an_image_is_no_artifact() {
    let fake = Fake { image: Some(String::new()), ..Fake::default() };
    assert!(fake.read().await.unwrap().is_none());
}

#[tokio::test]
async fn an_image_that_is_gone_is_named() {
    let fake = Fake { target: None, ..Fake::with_app() };
    let error = fake.read().await.unwrap_err();
    assert_eq!(error.to_string(), "containerd no longer has image app; pull it again");
}

#[tokio::test]
async fn an_unknown_container_is_named() {
    let error = Fake::default().read().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot ask containerd for container c");
}

#[tokio::test]
async fn a_missing_blob_is_reported_by_digest() {
    let mut fake = Fake::with_app();
    let digest = Digest::of(WASM).to_string();
    fake.blobs.remove(&digest);
    let error = fake.read().await.unwrap_err();
    assert!(error.to_string().contains(&digest), "{error}");
}

#[tokio::test]
async fn a_blob_with_other_content_than_promised_is_refused() {
    let mut fake = Fake::with_app();
    let digest = fake.target.as_ref().unwrap().digest.to_string();
    for byte in fake.blobs.get_mut(&digest).unwrap() {
        if *byte == b'2' {
            *byte = b'3';
        }
    }
    let error = fake.read().await.unwrap_err();
    assert!(matches!(error, ContentStoreError::Blob(BlobError::Digest { .. })), "{error:?}");
}

#[tokio::test]
async fn nobody_at_the_socket_is_an_error_that_names_it() {
    let location = Location {
        address: Path::new("/nonexistent/containerd.sock"),
        namespace: "k8s.io",
        container: "c",
        root: None,
    };
    let error = artifact_of(location).await.unwrap_err().to_string();
    assert_eq!(error, "cannot connect to containerd at /nonexistent/containerd.sock");
}

#[tokio::test]
async fn an_image_is_read_once_under_whichever_name_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let address = Fake::with_app().listen(folder.path());
    let mut images = Images::connect(&address, "k8s.io").await.unwrap();
    let mut pulled = images.pulled();
    assert_eq!(images.names().await.unwrap(), ["app"]);
    let artifact = images.unread_artifact("app").await.unwrap().unwrap();
    assert_eq!(artifact.code().keys().copied().collect::<Vec<_>>(), [Digest::of(WASM)]);
    for name in ["app", "app@sha256:1"] {
        assert_eq!(pulled.next().await.unwrap().as_deref(), Some(name));
        assert!(images.unread_artifact(name).await.unwrap().is_none());
    }
    assert_eq!(pulled.next().await.unwrap(), None);
}

#[tokio::test]
async fn an_image_that_is_gone_again_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let address = Fake { target: None, ..Fake::with_app() }.listen(folder.path());
    let mut images = Images::connect(&address, "k8s.io").await.unwrap();
    assert!(images.unread_artifact("app").await.unwrap().is_none());
}

#[tokio::test]
async fn an_image_whose_blobs_come_later_is_read_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut fake = Fake::with_app();
    let content = tempfile::tempdir().unwrap();
    fake.move_to_files(content.path());
    fake.folder = Some(content.path().to_owned());
    let late = content.path().join("blobs/sha256").join(Digest::of(WASM).to_hex());
    let aside = content.path().join("late");
    fs_err::rename(&late, &aside).unwrap();
    let address = fake.listen(folder.path());
    let mut images = Images::connect(&address, "k8s.io").await.unwrap();
    images.unread_artifact("app").await.unwrap_err();
    fs_err::rename(&aside, &late).unwrap();
    assert!(images.unread_artifact("app").await.unwrap().is_some());
}
