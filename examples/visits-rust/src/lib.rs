//! Counts visits in the key-value store of the app, which outlives its instances.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;
use spin_sdk::wit::wasi::keyvalue::{atomics, store};

#[http_component]
fn visit(_request: Request) -> impl IntoResponse {
    let (status, text) = match count() {
        Ok(visits) => (200, format!("{visits} visits\n")),
        Err(error) => (500, format!("the visit was not counted: {error}\n")),
    };
    Response::builder().status(status).header("content-type", "text/plain").body(text).build()
}

/// How many visits there were, this one included. Visits at the same time are
/// each counted.
fn count() -> Result<i64, store::Error> {
    atomics::increment(&store::open("default")?, "visits", 1)
}
