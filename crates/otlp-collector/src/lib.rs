//! A collector of OpenTelemetry for tests. It takes OTLP as Protobuf over HTTP and
//! over gRPC, both on one loopback port, with TLS if it has a certificate, and
//! remembers everything.

mod received;
mod service;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use opentelemetry_proto::tonic as proto;
pub use received::{Logged, Measured, Received, Request, Spanned, text_of};

/// A collector; ends with the value.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    is_secure: bool,
    state: Arc<Mutex<State>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    received: Received,
    /// Refuse this many requests, as one that is busy does.
    refusals: usize,
}

impl Collector {
    /// Starts a collector.
    ///
    /// # Errors
    /// Fails when there is no port left.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// Starts a collector with TLS. Both files are PEM.
    ///
    /// # Errors
    /// Fails when a file cannot be used, or there is no port left.
    pub fn start_secured(certificate: &Path, key: &Path) -> Result<Self> {
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Result<Self> {
        let is_secure = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("otlp-collector".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, tls, shared) => {}
                    _ = ended => {}
                }
            });
        });
        let thread = Some(thread.context("cannot start a thread")?);
        Ok(Self { address, is_secure, state, end: Some(end), thread })
    }

    /// Where it is, for either protocol.
    pub fn url(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Everything it was sent so far.
    pub fn received(&self) -> Received {
        lock(&self.state).received.clone()
    }

    /// Has it refuse the next requests, as one that is busy does.
    pub fn refuse(&self, requests: usize) {
        lock(&self.state).refusals = requests;
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // The thread ends when it sees that this is gone.
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            match tls {
                None => connection(stream, state).await,
                Some(tls) => {
                    // A client that does not trust it is no failure of the collector.
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, state).await;
                    }
                }
            }
        });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    state: Arc<Mutex<State>>,
) {
    let answer = service_fn(move |request| service::answer(request, Arc::clone(&state)));
    let server = auto::Builder::new(TokioExecutor::new());
    // A client that goes away in the middle is no failure of the collector.
    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
}
