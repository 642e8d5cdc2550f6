//! A server on a thread of its own, and the client that asks it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

/// A server; its thread lives as long as the process.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    thread: i32,
}

/// How a server tells that it listens.
#[derive(Debug)]
pub struct Serving(mpsc::Sender<(SocketAddr, i32)>);

impl Serving {
    /// It listens here, on this thread.
    pub fn at(self, address: SocketAddr) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        // Whoever started it has given up otherwise.
        let _ = self.0.send((address, thread));
    }
}

impl Server {
    /// Starts a server on a thread with an event loop of its own, and waits until it
    /// listens.
    ///
    /// # Errors
    /// Fails when it ends before it listens; the reason is on standard error.
    pub fn start<F>(
        name: &'static str,
        serve: impl FnOnce(Serving) -> F + Send + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<()>>,
    {
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let served =
                event_loop().and_then(|event_loop| event_loop.block_on(serve(Serving(sender))));
            if let Err(error) = served {
                tracing::error!("{name}: {error:#}");
            }
        })?;
        let (address, thread) = receiver
            .recv_timeout(Duration::from_mins(1))
            .with_context(|| format!("the server {name} does not listen"))?;
        Ok(Self { address, thread })
    }

    /// The processor time that its thread has used so far.
    ///
    /// # Errors
    /// Fails when the kernel keeps no account of threads.
    pub fn processor_time(&self) -> Result<Duration> {
        let path = format!("/proc/self/task/{}/schedstat", self.thread);
        let text = fs_err::read_to_string(path)?;
        let nanoseconds = text.split(' ').next().context("an empty account")?.parse()?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Client {
    event_loop: Runtime,
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Fails when the server does not accept.
    pub fn connect(server: &Server) -> Result<Self> {
        let event_loop = event_loop()?;
        let sender = event_loop.block_on(async {
            let stream = TcpStream::connect(server.address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok::<_, wasmtime::Error>(sender)
        })?;
        Ok(Self { event_loop, sender, host: server.address.to_string() })
    }

    /// Asks once and reads the whole answer.
    ///
    /// # Errors
    /// Fails when the connection breaks and for any status but 200.
    pub fn get(&mut self) -> Result<Bytes> {
        let request = Request::get("/").header("host", &self.host).body(Empty::new())?;
        let Self { event_loop, sender, .. } = self;
        event_loop.block_on(async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            ensure!(response.status() == 200, "the status is {}", response.status());
            Ok(response.into_body().collect().await?.to_bytes())
        })
    }
}

fn event_loop() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
