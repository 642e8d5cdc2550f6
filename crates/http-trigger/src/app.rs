//! An app that is ready to answer requests.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use app::{LockedApp, Problems};
use bytes::Bytes;
use host::{AppHost, ChainTarget, ChainedHandler, ChainedResponse};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use telemetry::SpanContext;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trigger::{AppParts, chain};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::asker::Asker;
use crate::body::ResponseBody;
use crate::error::StartError;
use crate::guest::{Call, Guest, GuestShared, Origin, Slots};
use crate::record::Record;
use crate::request::{self, Matched};
use crate::routes::Routes;
use crate::settings::HttpSettings;
use crate::trigger_config::{self, Executor, HttpTrigger, StaticResponse, Target};

/// What is answered before routes are looked at.
const WELL_KNOWN: &str = "/.well-known/spin/";

/// An app that is ready to be served.
pub struct HttpApp {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    routes: Routes<Answerer>,
    /// Components with a trigger, by id: whom requests inside the app can reach.
    guests: HashMap<String, Arc<Guest>>,
    base: String,
    info: Bytes,
    /// Where the server listens, once it does.
    pub(crate) address: OnceLock<SocketAddr>,
    requests: Arc<Semaphore>,
    draining: AtomicBool,
    pub(crate) shared: Arc<GuestShared>,
    pub(crate) host: Arc<AppHost>,
    pub(crate) settings: HttpSettings,
}

/// Who answers for a route.
#[derive(Clone)]
enum Answerer {
    Guest { id: String, guest: Arc<Guest> },
    Static(StaticResponse),
}

impl HttpApp {
    /// Makes everything ready: reads triggers and routes, links the components,
    /// and finds their handlers. Afterwards nothing but the listener can fail.
    ///
    /// # Errors
    ///
    /// [`StartError`]; everything that is wrong with the app in one.
    pub fn new(parts: &AppParts<'_>, settings: HttpSettings) -> Result<Self, StartError> {
        let AppParts { app, host, .. } = *parts;
        let mut problems = Problems::default();
        let base = trigger_config::base(app, &mut problems);
        let triggers = trigger_config::triggers(app, &mut problems);
        let shared = Arc::new(GuestShared {
            slots: Slots::new(settings.max_instances),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            reuse: settings.reuse,
            request_timeout: settings.request_timeout,
        });
        let mut guests = HashMap::new();
        for (id, executor) in needed(&triggers) {
            match guest(&id, executor, parts, &shared) {
                Ok(guest) => drop(guests.insert(id, Arc::new(guest))),
                Err(problem) => problems.push(problem),
            }
        }
        let routes = routes(&base, triggers, &guests, &mut problems);
        let routes = problems.into_result(routes).map_err(StartError::App)?;
        let inner = Arc::new(Inner {
            routes: routes.unwrap_or_default(),
            guests,
            base,
            info: info(app),
            address: OnceLock::new(),
            requests: Arc::new(Semaphore::new(settings.max_requests)),
            draining: AtomicBool::new(false),
            shared,
            host: Arc::clone(host),
            settings,
        });
        let weak: Weak<Inner> = Arc::downgrade(&inner);
        inner.host.set_chained_handler(weak);
        Ok(Self { inner })
    }

    /// The routes in the order of the manifest: component id (or `static
    /// response`) and route, a wildcard marked.
    pub fn routes(&self) -> Vec<(String, String)> {
        let described = self.inner.routes.iter().map(|(route, answerer)| {
            let name = match answerer {
                Answerer::Guest { id, .. } => id.clone(),
                Answerer::Static(_) => "static response".to_owned(),
            };
            let path = route.based().strip_suffix("/...").unwrap_or(route.based());
            let path = if path.is_empty() { "/" } else { path };
            let mark = if route.is_wildcard() { " (wildcard)" } else { "" };
            (name, format!("{path}{mark}"))
        });
        described.collect()
    }
}

/// The components that triggers name, and how they are run: as the last trigger
/// of each says.
fn needed(triggers: &[HttpTrigger]) -> BTreeMap<String, Executor> {
    let mut components = BTreeMap::new();
    for trigger in triggers {
        if let Target::Component { id, executor } = &trigger.target {
            components.insert(id.clone(), executor.clone());
        }
    }
    components
}

/// Links a component and finds its handler; the problem as a text otherwise.
fn guest(
    id: &str,
    executor: Executor,
    parts: &AppParts<'_>,
    shared: &Arc<GuestShared>,
) -> Result<Guest, String> {
    Guest::new(&parts.link(id)?, executor, Arc::clone(shared))
        .map_err(|error| format!("component {id:?} {}", chain(&error)))
}

fn routes(
    base: &str,
    triggers: Vec<HttpTrigger>,
    guests: &HashMap<String, Arc<Guest>>,
    problems: &mut Problems,
) -> Option<Routes<Answerer>> {
    let has_answer = |trigger: &HttpTrigger| match &trigger.target {
        Target::Static(_) => true,
        Target::Component { id, .. } => guests.contains_key(id),
    };
    if !triggers.iter().all(has_answer) {
        let patterns = triggers.into_iter().filter_map(|trigger| Some((trigger.route?, ())));
        let errors = Routes::new(base, patterns).err().into_iter().flatten();
        problems.extend(errors.map(|error| error.to_string()));
        return None;
    }
    let routes = triggers.into_iter().filter_map(|trigger| {
        let answerer = match trigger.target {
            Target::Static(response) => Answerer::Static(response),
            Target::Component { id, .. } => {
                let guest = Arc::clone(guests.get(&id)?);
                Answerer::Guest { id, guest }
            }
        };
        Some((trigger.route?, answerer))
    });
    let (routes, unused) = match Routes::new(base, routes) {
        Ok(routes) => routes,
        Err(errors) => {
            problems.extend(errors.iter().map(ToString::to_string));
            return None;
        }
    };
    for (route, _) in unused {
        tracing::warn!(route, "this route is a duplicate and never used");
    }
    for (route, _) in routes.iter().filter(|(route, _)| route.is_below(WELL_KNOWN)) {
        tracing::warn!(route = route.based(), "routes below {WELL_KNOWN} are never reached");
    }
    Some(routes)
}

/// The answer to `/.well-known/spin/info`.
fn info(app: &LockedApp) -> Bytes {
    let mut info = serde_json::Map::new();
    info.insert("name".to_owned(), app.metadata.name.clone().into());
    if let Some(version) = &app.metadata.version {
        info.insert("version".to_owned(), version.clone().into());
    }
    if let Some(digest) = app.metadata.other.get("oci_image_digest") {
        info.insert("oci_image_digest".to_owned(), digest.clone());
    }
    serde_json::to_vec_pretty(&info).unwrap_or_default().into()
}

impl Inner {
    /// From now on health fails, and idle instances end.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.shared.draining.cancel();
    }

    /// Answers a request from `client`; every request gets an answer.
    pub(crate) async fn answer(
        &self,
        mut parts: Parts,
        body: WasiBody,
        client: SocketAddr,
    ) -> Response<ResponseBody> {
        if let Some(name) = parts.uri.path().strip_prefix(WELL_KNOWN) {
            return self.well_known(name);
        }
        let telemetry = self.host.telemetry();
        let mut record = Record::begin(self.settings.access_log, telemetry, client, &parts);
        let head = parts.method == Method::HEAD;
        let mut response = if parts.method == Method::CONNECT {
            status(StatusCode::METHOD_NOT_ALLOWED)
        } else {
            match request::make_absolute(&mut parts) {
                Ok(()) => self.route(parts, body, client, Asker::Client(record.as_mut())).await,
                Err(error) => {
                    tracing::debug!(%client, "{error}");
                    bad_request(parts.version)
                }
            }
        };
        if head || has_no_body(response.status()) {
            response.body_mut().not_sent();
        }
        if let Some(mut record) = record {
            record.answered(response.status());
            response.body_mut().tell(record);
        }
        response
    }

    fn well_known(&self, name: &str) -> Response<ResponseBody> {
        match name {
            "health" if self.draining.load(Ordering::SeqCst) => {
                status(StatusCode::SERVICE_UNAVAILABLE)
            }
            "health" => Response::new(ResponseBody::full(Bytes::from_static(b"OK"))),
            "info" => {
                let mut response = Response::new(ResponseBody::full(self.info.clone()));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    /// Answers a request whose URL is absolute, by its route.
    async fn route(
        &self,
        mut parts: Parts,
        body: WasiBody,
        client: SocketAddr,
        mut asker: Asker<'_>,
    ) -> Response<ResponseBody> {
        let path = parts.uri.path().to_owned();
        let Some(found) = self.routes.find(&path) else { return status(StatusCode::NOT_FOUND) };
        let (guest, id) = match found.target {
            Answerer::Static(response) => {
                asker.matched(found.route.based(), "");
                return fixed(response);
            }
            Answerer::Guest { id, guest } => (guest, id),
        };
        asker.matched(found.route.based(), id);
        request::describe(&mut parts, &Matched::by_route(&found, client), &self.base);
        self.ask(guest, http::Request::from_parts(parts, body), &asker).await
    }

    /// Has `guest` answer, within the limits.
    async fn ask(
        &self,
        guest: &Guest,
        request: http::Request<WasiBody>,
        asker: &Asker<'_>,
    ) -> Response<ResponseBody> {
        if !request::is_text(request.headers()) {
            return status(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() else {
            return busy();
        };
        let deadline = self.settings.request_timeout.map(|limit| Instant::now() + limit);
        let origin = Origin::at_depth(asker.depth());
        match guest.call(Call { request, origin, deadline }, asker.span()).await {
            Ok(mut response) => {
                response.body_mut().hold(permit);
                response
            }
            Err(error) if error.status() == StatusCode::SERVICE_UNAVAILABLE => busy(),
            Err(error) => status(error.status()),
        }
    }

    /// Answers a request from inside the app.
    async fn chained(
        self: Arc<Self>,
        target: ChainTarget,
        request: http::Request<WasiBody>,
        depth: u32,
    ) -> Result<Response<WasiBody>, Error> {
        let (mut parts, body) = request.into_parts();
        // The host has put it there, if traces go anywhere.
        let traces = self.host.telemetry().traces();
        let span = traces.then(|| SpanContext::of_headers(&parts.headers)).flatten();
        let asker = Asker::Component { depth, span };
        let response = match target {
            ChainTarget::App => {
                let client = request::internal_client();
                if let Some(address) = self.address.get() {
                    request::send_to(&mut parts, *address);
                }
                if let Some(name) = parts.uri.path().strip_prefix(WELL_KNOWN) {
                    self.well_known(name)
                } else {
                    self.route(parts, body, client, asker).await
                }
            }
            ChainTarget::Component(id) => {
                let guest = self.guests.get(&id).ok_or(Error::DestinationNotFound)?;
                let path = parts.uri.path().to_owned();
                request::describe(&mut parts, &Matched::by_name(&path), &self.base);
                self.ask(guest, http::Request::from_parts(parts, body), &asker).await
            }
        };
        Ok(response.map(BodyExt::boxed_unsync))
    }
}

impl ChainedHandler for Inner {
    fn call(
        self: Arc<Self>,
        target: ChainTarget,
        request: http::Request<WasiBody>,
        depth: u32,
    ) -> ChainedResponse {
        Box::pin(self.chained(target, request, depth))
    }
}

/// An empty response.
fn status(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response
}

/// 503, with when to try again.
fn busy() -> Response<ResponseBody> {
    let mut response = status(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// 400, after which the connection is not used any more.
fn bad_request(version: Version) -> Response<ResponseBody> {
    let mut response = status(StatusCode::BAD_REQUEST);
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn fixed(fixed: &StaticResponse) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(fixed.body.clone()));
    *response.status_mut() = fixed.status;
    response.headers_mut().clone_from(&fixed.headers);
    response
}

/// Whether responses with this status end with their head.
fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || status.is_informational()
}
