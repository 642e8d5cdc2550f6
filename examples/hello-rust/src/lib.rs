//! Answers every request with a greeting.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;

#[http_component]
fn hello(request: Request) -> impl IntoResponse {
    println!("hello-rust: {} {}", request.method(), request.path());
    Response::builder()
        .status(200)
        .header("content-type", "text/plain")
        .body("Hello from Rust!\n")
        .build()
}
