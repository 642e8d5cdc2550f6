//! An OCI registry on loopback for tests: in memory, with the faults that real
//! registries and networks have.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use app::Digest;
use artifact::pack::Packed;
use artifact::{Blob, Descriptor, ImageManifest, media_type};
use base64::Engine as _;
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;

use crate::{Options, Reference, RetryPolicy, parse_reference};

type Body = BoxBody<Bytes, std::io::Error>;

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Access {
    #[default]
    Open,
    Basic(String),
    /// Tokens are given for `user:password`, or for a refresh token.
    Bearer(String),
}

/// What the registry holds and how it misbehaves.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) access: Access,
    pub(crate) manifests: BTreeMap<String, (String, Bytes)>,
    pub(crate) blobs: BTreeMap<String, Bytes>,
    /// Answer so many requests whose path contains the text with the status.
    pub(crate) failures: Vec<(&'static str, u16, u32)>,
    /// Break the connection in the middle of so many blobs.
    pub(crate) broken_transfers: u32,
    /// Serve blobs without regard to ranges.
    pub(crate) no_ranges: bool,
    /// Every request: `METHOD path`.
    pub(crate) log: Vec<String>,
    /// `Authorization` headers seen.
    pub(crate) authorizations: Vec<String>,
}

pub(crate) struct FakeRegistry {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeRegistry {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, Infallible>(answer(request, &shared, address).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, state, server }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        parse_reference(&format!("{}/{name}", self.address)).unwrap()
    }

    /// Stores an app of one component under `app:v1` and gives its manifest.
    pub(crate) fn store_app(&self, wasm: &[u8]) -> Bytes {
        self.store_image(&app(wasm))
    }

    /// Stores an image under `app:v1` and gives its manifest.
    pub(crate) fn store_image(&self, image: &Packed) -> Bytes {
        let manifest = Bytes::from(image.manifest_json.read_verified(u64::MAX).unwrap());
        let mut state = self.state();
        for (_, blob) in &image.blobs {
            let bytes = blob.read_verified(u64::MAX).unwrap();
            state.blobs.insert(blob.digest().to_string(), bytes.into());
        }
        let named = (media_type::IMAGE_MANIFEST.to_owned(), manifest.clone());
        state.manifests.insert("app/v1".to_owned(), named.clone());
        state.manifests.insert(format!("app/{}", Digest::of(&manifest)), named);
        manifest
    }

    pub(crate) fn count(&self, entry: &str) -> usize {
        self.state().log.iter().filter(|line| line.contains(entry)).count()
    }
}

/// Options that do not make a test wait.
pub(crate) fn quick() -> Options {
    Options {
        retry: RetryPolicy {
            attempts: 4,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(4),
        },
        ..Options::default()
    }
}

/// The image of an app with one layer of Wasm.
pub(crate) fn app(wasm: &[u8]) -> Packed {
    image(wasm, br#"{"spin_lock_version":0}"#)
}

/// An image with this Wasm and this locked app.
pub(crate) fn image(wasm: &[u8], locked_app: &[u8]) -> Packed {
    let blob = |kind: &str, bytes: &[u8]| {
        let blob = Blob::from_bytes(bytes);
        (Descriptor::new(kind, blob.digest(), blob.size()), blob)
    };
    let blobs = vec![
        blob(media_type::IMAGE_CONFIG, b"{}"),
        blob(media_type::WASM_LAYER, wasm),
        blob(media_type::SPIN_APP, locked_app),
    ];
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: None,
        config: blobs[0].0.clone(),
        layers: blobs[1..].iter().map(|(descriptor, _)| descriptor.clone()).collect(),
        annotations: BTreeMap::new(),
    };
    let manifest_json = Blob::from_bytes(serde_json::to_vec(&manifest).unwrap());
    Packed { manifest, manifest_json, blobs }
}

async fn answer(
    request: Request<Incoming>,
    state: &Mutex<State>,
    address: SocketAddr,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let mut state = state.lock().unwrap();
    state.log.push(format!("{} {}", parts.method, parts.uri));
    let authorization = parts.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    state.authorizations.extend(authorization.clone());
    for (pattern, status, left) in &mut state.failures {
        if *left > 0 && path.contains(*pattern) {
            *left -= 1;
            return plain(*status, "planned failure");
        }
    }
    if path == "/token" {
        return token(&state.access, authorization.as_deref(), &body);
    }
    if let Some(refusal) = refuse(&state.access, authorization.as_deref(), address) {
        return refusal;
    }
    let Some(rest) = path.strip_prefix("/v2/") else { return plain(404, "") };
    if rest.is_empty() {
        return plain(200, "{}");
    }
    if let Some((repository, name)) = rest.split_once("/manifests/") {
        return manifests(&mut state, &parts, format!("{repository}/{name}"), body);
    }
    match rest.split_once("/blobs/") {
        Some((repository, "uploads/")) => {
            header(plain(202, ""), "location", &format!("/v2/{repository}/blobs/uploads/one"))
        }
        Some((repository, upload)) if upload.starts_with("uploads/") => {
            let digest = Digest::of(&body).to_string();
            let asked = parts.uri.query().unwrap_or_default().replace("%3A", ":");
            if asked != format!("digest={digest}") {
                return plain(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#);
            }
            let location = format!("/v2/{repository}/blobs/{digest}");
            state.blobs.insert(digest, body);
            header(plain(201, ""), "location", &location)
        }
        Some((_, digest)) => blob(&mut state, &parts, digest),
        None => plain(404, ""),
    }
}

fn manifests(
    state: &mut State,
    parts: &http::request::Parts,
    name: String,
    body: Bytes,
) -> Response<Body> {
    if parts.method == Method::PUT {
        let kind = parts.headers["content-type"].to_str().unwrap().to_owned();
        state.manifests.insert(name, (kind, body));
        return header(plain(201, ""), "location", "/v2/x");
    }
    match state.manifests.get(&name) {
        Some((kind, bytes)) => header(full(200, bytes.clone()), "content-type", kind),
        None => plain(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#),
    }
}

fn blob(state: &mut State, parts: &http::request::Parts, digest: &str) -> Response<Body> {
    let Some(bytes) = state.blobs.get(digest).cloned() else {
        return plain(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"unknown"}]}"#);
    };
    if parts.method == Method::HEAD {
        return plain(200, "");
    }
    let range = parts.headers.get("range").and_then(|range| {
        range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    let (status, bytes) = match range {
        Some(from) if !state.no_ranges => (206, bytes.slice(from..)),
        _ => (200, bytes),
    };
    if state.broken_transfers > 0 && bytes.len() > 1 {
        state.broken_transfers -= 1;
        return broken(status, &bytes);
    }
    full(status, bytes)
}

/// Half of the bytes, then the end of the connection. The pause lets the first
/// half reach the client before the reset discards it.
fn broken(status: u16, bytes: &Bytes) -> Response<Body> {
    let half = bytes.slice(..bytes.len() / 2);
    let frames =
        futures::stream::iter([Ok(Frame::data(half))]).chain(futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Err(std::io::Error::other("planned"))
        }));
    let response = Response::builder().status(status).header("content-length", bytes.len());
    response.body(BodyExt::boxed(StreamBody::new(frames_sync(frames)))).unwrap()
}

/// The server wants bodies that may be shared between threads.
fn frames_sync(
    frames: impl futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + 'static,
) -> impl futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync {
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    tokio::spawn(frames.for_each(move |frame| {
        let _ = sender.unbounded_send(frame);
        std::future::ready(())
    }));
    receiver
}

fn refuse(access: &Access, given: Option<&str>, address: SocketAddr) -> Option<Response<Body>> {
    let (wanted, challenge) = match access {
        Access::Open => return None,
        Access::Basic(pair) => (basic(pair), r#"Basic realm="test""#.to_owned()),
        Access::Bearer(_) => (
            "Bearer issued".to_owned(),
            format!(r#"Bearer realm="http://{address}/token",service="test""#),
        ),
    };
    if given == Some(wanted.as_str()) {
        return None;
    }
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    Some(header(plain(401, body), "www-authenticate", &challenge))
}

fn token(access: &Access, given: Option<&str>, body: &[u8]) -> Response<Body> {
    let Access::Bearer(pair) = access else { return plain(404, "") };
    let refresh = String::from_utf8_lossy(body);
    if given == Some(basic(pair).as_str()) {
        return plain(200, r#"{"token":"issued"}"#);
    }
    if refresh.contains("grant_type=refresh_token") && refresh.contains("refresh_token=stored") {
        return plain(200, r#"{"access_token":"issued"}"#);
    }
    plain(401, r#"{"details":"incorrect username or password"}"#)
}

fn basic(pair: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn plain(status: u16, text: &str) -> Response<Body> {
    full(status, Bytes::copy_from_slice(text.as_bytes()))
}

fn full(status: u16, bytes: Bytes) -> Response<Body> {
    let mut response =
        Response::new(BodyExt::boxed(Full::new(bytes).map_err(|never| match never {})));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn header(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}
