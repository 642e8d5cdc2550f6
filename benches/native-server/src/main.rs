//! An HTTP server that answers every request with one text.
//!
//! It stands for what a careful author puts into a `FROM scratch` image: one
//! static program, one thread, keep-alive. `LISTEN` is the address, `BODY` the
//! text.

use std::convert::Infallible;
use std::env;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = env::var("LISTEN").context("LISTEN says where to listen, as ADDRESS:PORT")?;
    let body = Bytes::from(env::var("BODY").unwrap_or_else(|_| "Hello, world!".to_owned()));
    let listener =
        TcpListener::bind(&address).await.with_context(|| format!("cannot listen on {address}"))?;
    // Process 1 of a pid namespace is not ended by a signal it does not handle.
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => serve(accepted?.0, body.clone()),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

fn serve(stream: tokio::net::TcpStream, body: Bytes) {
    tokio::spawn(async move {
        let answer = service_fn(|_| {
            let response = Response::new(Full::new(body.clone()));
            async move { Ok::<_, Infallible>(response) }
        });
        // A client that breaks off is its own affair.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    });
}
