//! Reads variables over `spin:variables@3.0.0`, which is async, and asks language
//! models, as the query string of a request says.

use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_service;
use spin_sdk::llm::{self, InferencingModel};
use spin_sdk::variables;

#[http_service]
async fn handle(request: Request) -> spin_sdk::http::Result<impl IntoResponse> {
    let uri = request.uri().clone();
    let query = uri.query().unwrap_or_default();
    let result = match uri.path() {
        "/variable" => {
            variables::get(parameter(query, "name")).await.map_err(|error| format!("{error:?}"))
        }
        "/infer" => infer(parameter(query, "model"), parameter(query, "prompt")),
        other => Err(format!("no such behaviour: {other}")),
    };
    let (status, text) = match result {
        Ok(text) => (200, text),
        Err(text) => (500, text),
    };
    Ok(Response::builder().status(status).body(text).expect("a valid response"))
}

fn parameter<'q>(query: &'q str, name: &str) -> &'q str {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map_or("", |pair| pair.1)
}

fn infer(model: &str, prompt: &str) -> Result<String, String> {
    let made = llm::infer(InferencingModel::Other(model), prompt).map_err(|error| format!("{error:?}"))?;
    let usage = made.usage;
    Ok(format!("{} ({}+{})", made.text, usage.prompt_token_count, usage.generated_token_count))
}
