//! A guest of WASI 0.3.0-rc-2026-03-15, as Spin 4.0 ran them: echoes as a stream,
//! fetches, tells its environment and the time, and counts the requests its
//! instance has served.

use std::sync::atomic::{AtomicU64, Ordering};

use spin_sdk::http::{IntoResponse, Request, Response, get};
use spin_sdk::http_service;

static SERVED: AtomicU64 = AtomicU64::new(0);

#[http_service]
async fn handle(request: Request) -> spin_sdk::http::Result<impl IntoResponse> {
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    let query = request.uri().query().unwrap_or_default().to_owned();
    match request.uri().path() {
        "/echo" => Ok(Response::new(request.into_body()).into_response()?),
        "/count" => Ok(format!("{served}\n").into_response()?),
        "/environment" => Ok(std::env::var(query).unwrap_or_default().into_response()?),
        "/fetch" => match get(&query).await {
            Ok(response) => Ok(response.into_response()?),
            Err(error) => Ok(format!("{error:?}").into_response()?),
        },
        _ => Ok("Hello from the candidate of WASI 0.3!\n".into_response()?),
    }
}
