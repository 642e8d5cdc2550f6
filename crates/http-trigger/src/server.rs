//! Listening, accepting, draining.

mod accept;
mod connection;
mod progress;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use trigger::{Ended, ShutdownSignal, flush};

use crate::app::{HttpApp, Inner};
use crate::error::BindError;
use accept::{AcceptError, Backoff};
use connection::Connections;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 4096;
/// Requests at a time over one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 250;
/// Bytes of one request's body that a client may send ahead over HTTP/2.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes of all bodies together.
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Requests a client may reset before they were looked at; one more closes the
/// connection. Against floods of resets.
const HTTP2_RESETS: usize = 20;
/// Requests we may reset because of a client's errors, likewise.
const HTTP2_LOCAL_RESETS: usize = 256;
/// Bytes of the head of a request.
const MAX_HEAD: u32 = 64 * 1024;
/// Headers of a request.
const MAX_HEADERS: usize = 100;

/// A server that listens: clients can connect, nothing is answered yet.
pub struct BoundServer {
    app: HttpApp,
    listener: TcpListener,
    address: SocketAddr,
}

impl HttpApp {
    /// Listens on `address`, `host:port`; of several addresses the first. When
    /// this returns, clients can connect.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub async fn bind(self, address: &str) -> Result<BoundServer, BindError> {
        let resolve = |source| BindError::Resolve { address: address.to_owned(), source };
        let wanted = tokio::net::lookup_host(address)
            .await
            .map_err(resolve)?
            .next()
            .ok_or_else(|| resolve(std::io::ErrorKind::NotFound.into()))?;
        let listener = listen(wanted).map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => BindError::InUse { address: wanted },
            _ => BindError::Listen { address: wanted, source },
        })?;
        let address = listener.local_addr().unwrap_or(wanted);
        Ok(BoundServer::new(self, listener, address))
    }

    /// Takes over a socket that listens already, for example one that was bound
    /// while the process still had the privilege to. Must be called on the tokio
    /// runtime that will serve.
    ///
    /// # Errors
    ///
    /// [`BindError::TakeOver`] when it is no listening TCP socket.
    pub fn listen_on(self, listener: std::net::TcpListener) -> Result<BoundServer, BindError> {
        let taken = listener.set_nonblocking(true).and_then(|()| {
            let address = listener.local_addr()?;
            Ok((TcpListener::from_std(listener)?, address))
        });
        let (listener, address) = taken.map_err(BindError::TakeOver)?;
        Ok(BoundServer::new(self, listener, address))
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier server on this port must not keep us from it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl BoundServer {
    fn new(app: HttpApp, listener: TcpListener, address: SocketAddr) -> Self {
        // An app is served once.
        app.inner.address.get_or_init(|| address);
        Self { app, listener, address }
    }

    /// The addresses clients can connect to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    /// As [`HttpApp::routes`].
    pub fn routes(&self) -> Vec<(String, String)> {
        self.app.routes()
    }

    /// Answers requests until `signal` says otherwise. Asked to drain, it fails
    /// health, accepts no connection any more (after
    /// [`HttpSettings::drain_delay`](crate::HttpSettings::drain_delay)), closes idle
    /// ones, and finishes requests in flight. What guests wrote to stdout and stderr has
    /// been written when this returns.
    ///
    /// Nothing that a client or a guest does ends it.
    pub async fn serve(self, mut signal: ShutdownSignal) -> Ended {
        let server = Arc::new(Server::new(Arc::clone(&self.app.inner)));
        let deadline = tokio::select! {
            deadline = signal.asked() => deadline,
            () = server.accept(&self.listener) => None,
        };
        let ended = match deadline {
            Some(deadline) => server.drain(self.listener, deadline, &mut signal).await,
            None => Ended::Cut,
        };
        server.end().await;
        ended
    }
}

/// A running server.
struct Server {
    app: Arc<Inner>,
    http: auto::Builder<TokioExecutor>,
    connections: Connections,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Server {
    fn new(app: Arc<Inner>) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        // The limits on time are kept per connection, see `connection`: hyper's
        // own counts an idle connection as one that sends no head.
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(app.settings.idle_timeout + app.settings.header_timeout)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD as usize);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(MAX_HEAD)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .max_local_error_reset_streams(HTTP2_LOCAL_RESETS)
            .keep_alive_interval(app.settings.stall_timeout)
            .keep_alive_timeout(app.settings.stall_timeout);
        Self {
            places: Arc::new(Semaphore::new(app.settings.max_connections)),
            app,
            http,
            connections: Connections::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts connections; never ends.
    async fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut backoff = Backoff::default();
        loop {
            let place = self.connections.place(&self.places).await;
            match listener.accept().await {
                Ok((stream, client)) => {
                    backoff.reset();
                    let server = Arc::clone(self);
                    self.tasks.spawn(async move {
                        server.connection(stream, client).await;
                        drop(place);
                    });
                }
                Err(error) => match AcceptError::of(&error) {
                    AcceptError::Connection => {}
                    AcceptError::Resources => {
                        self.connections.close_longest_idle();
                        backoff.wait(&error).await;
                    }
                },
            }
        }
    }

    /// Finishes what is in flight.
    async fn drain(
        self: &Arc<Self>,
        listener: TcpListener,
        deadline: Instant,
        signal: &mut ShutdownSignal,
    ) -> Ended {
        self.app.drain();
        let delay = deadline.min(Instant::now() + self.app.settings.drain_delay);
        tokio::select! {
            () = tokio::time::sleep_until(delay) => {}
            () = self.accept(&listener) => {}
            () = signal.cut() => return Ended::Cut,
        }
        drop(listener);
        self.connections.drain();
        self.tasks.close();
        self.app.shared.tasks.close();
        let finished = async {
            self.tasks.wait().await;
            self.app.shared.tasks.wait().await;
        };
        tokio::select! {
            () = finished => Ended::Drained,
            () = tokio::time::sleep_until(deadline) => Ended::Cut,
            () = signal.cut() => Ended::Cut,
        }
    }

    /// Ends everything that is left.
    async fn end(&self) {
        self.app.drain();
        self.connections.cut();
        self.app.shared.cut.cancel();
        self.tasks.close();
        self.app.shared.tasks.close();
        // Instances end now and flush their last lines; a second is plenty.
        let ended = async {
            self.tasks.wait().await;
            self.app.shared.tasks.wait().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
        flush(&self.app.host).await;
    }
}
