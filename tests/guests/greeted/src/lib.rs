//! Answers with what its dependency says.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_component;

wit_bindgen::generate!({ path: "wit", world: "greeted" });

#[http_component]
fn handle(request: Request) -> impl IntoResponse {
    let variables = std::env::vars().count();
    let greeting = acme::greeter::greeting::greet(request.query());
    http_response(format!("{greeting}; the component itself: {variables}\n"))
}

fn http_response(text: String) -> spin_sdk::http::Response {
    spin_sdk::http::Response::builder().status(200).body(text).build()
}
