//! A WASI 0.3.0 guest: greets, echoes as a stream, counts the requests its
//! instance has served, and traps when asked to.

use std::sync::atomic::{AtomicU64, Ordering};

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_service;

static SERVED: AtomicU64 = AtomicU64::new(0);

#[http_service]
async fn handle(request: Request) -> spin_sdk::http::Result<impl IntoResponse> {
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    match request.uri().path() {
        "/echo" => Ok(Response::new(request.into_body()).into_response()?),
        "/count" => Ok(format!("{served}\n").into_response()?),
        "/panic" => panic!("asked to panic"),
        _ => Ok("Hello from WASI 0.3!\n".into_response()?),
    }
}
