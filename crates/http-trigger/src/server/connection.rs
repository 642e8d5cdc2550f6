//! One connection, and the set of all.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::progress::Progress;
use crate::body::{RequestBody, ResponseBody};

/// How often the server looks for an idle connection when it needs a place.
const RETRY: Duration = Duration::from_millis(100);

/// All open connections.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    next: AtomicU64,
    draining: CancellationToken,
    cut: CancellationToken,
}

/// What a connection does.
pub(super) struct Activity {
    opened: Instant,
    /// Requests in flight.
    requests: AtomicUsize,
    /// Milliseconds after `opened` when the last request ended.
    idle_since: AtomicU64,
    /// Milliseconds after `opened` when the first byte of a head came; 0: none.
    head_since: AtomicU64,
    http2: AtomicBool,
    close: Notify,
}

impl Activity {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            close: Notify::new(),
        })
    }

    fn millis(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::SeqCst) == 0
    }

    /// Bytes came in.
    pub(super) fn received(&self) {
        if self.is_idle() && !self.http2.load(Ordering::Relaxed) {
            let now = self.millis().max(1);
            let _ = self.head_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn request(self: &Arc<Self>, version: Version) -> InFlight {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.head_since.store(0, Ordering::Relaxed);
        self.http2.store(version == Version::HTTP_2, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// How long it has had nothing to do; none if it has.
    fn idle_for(&self) -> Option<Duration> {
        let since = self.idle_since.load(Ordering::SeqCst);
        self.is_idle().then(|| Duration::from_millis(self.millis().saturating_sub(since)))
    }

    /// How long the head of a request has been on its way.
    fn head_for(&self) -> Option<Duration> {
        let since = self.head_since.load(Ordering::Relaxed);
        (since > 0 && self.is_idle())
            .then(|| Duration::from_millis(self.millis().saturating_sub(since)))
    }
}

/// A request that is in flight until this is dropped.
struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.millis(), Ordering::SeqCst);
        self.0.requests.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place for one more connection; idle ones make room.
    pub(super) async fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = Arc::clone(places).try_acquire_owned() {
                return Some(place);
            }
            self.close_longest_idle();
            let acquired = Arc::clone(places).acquire_owned();
            if let Ok(place) = tokio::time::timeout(RETRY, acquired).await {
                return place.ok();
            }
        }
    }

    /// Closes the connection that has been idle for longest, if any is idle.
    pub(super) fn close_longest_idle(&self) {
        let open = self.lock();
        let longest = open
            .values()
            .filter_map(|activity| Some((activity.idle_for()?, activity)))
            .max_by_key(|(idle, _)| *idle);
        if let Some((_, activity)) = longest {
            activity.close.notify_one();
        }
    }

    /// Idle connections close now, the others after their requests.
    pub(super) fn drain(&self) {
        self.draining.cancel();
    }

    /// All connections close now.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    fn enter(&self) -> (u64, Arc<Activity>) {
        let (id, activity) = (self.next.fetch_add(1, Ordering::Relaxed), Activity::new());
        self.lock().insert(id, Arc::clone(&activity));
        (id, activity)
    }

    fn leave(&self, id: u64) {
        self.lock().remove(&id);
    }
}

impl Server {
    /// Serves one connection until it is closed.
    pub(super) async fn connection(self: Arc<Self>, stream: TcpStream, client: SocketAddr) {
        // Costs latency if it fails, nothing else.
        let _ = stream.set_nodelay(true);
        let (id, activity) = self.connections.enter();
        let settings = &self.app.settings;
        let io = Progress::new(stream, Arc::clone(&activity), settings.stall_timeout);
        let service = service_fn(|request| {
            let (server, activity) = (Arc::clone(&self), Arc::clone(&activity));
            async move { Ok::<_, Infallible>(server.answer(request, client, &activity).await) }
        });
        let mut connection = std::pin::pin!(self.http.serve_connection(TokioIo::new(io), service));
        let mut look = tokio::time::interval(
            (settings.header_timeout.min(settings.idle_timeout) / 2).max(Duration::from_millis(10)),
        );
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut closing = false;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%client, error, "connection ended");
                    }
                    break;
                }
                () = self.connections.cut.cancelled() => break,
                () = self.connections.draining.cancelled(), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = activity.close.notified(), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = look.tick() => {
                    if activity.head_for().is_some_and(|time| time >= settings.header_timeout) {
                        break;
                    }
                    let idle = activity.idle_for().is_some_and(|time| time >= settings.idle_timeout);
                    if idle && closing {
                        // It was told and does not listen.
                        break;
                    }
                    if idle {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
        self.connections.leave(id);
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
        activity: &Arc<Activity>,
    ) -> Response<ResponseBody> {
        let in_flight = activity.request(request.version());
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body, self.app.settings.stall_timeout).boxed_unsync();
        let mut response = self.app.answer(parts, body, client).await;
        response.body_mut().hold(in_flight);
        response
    }
}
