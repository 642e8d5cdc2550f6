//! Reads variables and asks language models as the query string of a request says,
//! over `fermyon:spin@2.0.0` and `wasi:config`.

use spin_sdk::http::{Request, Response};
use spin_sdk::http_component;
use spin_sdk::llm::{self, EmbeddingModel, InferencingModel};
use spin_sdk::variables;
use spin_sdk::wit::wasi::config::store;

#[http_component]
fn handle(request: Request) -> Response {
    let query = request.query();
    let result = match request.path() {
        "/variable" => variables::get(parameter(query, "name")).map_err(|error| format!("{error:?}")),
        "/wasi/get" => wasi_get(parameter(query, "name")),
        "/wasi/all" => wasi_all(),
        "/infer" => infer(parameter(query, "model"), parameter(query, "prompt")),
        "/embed" => embed(parameter(query, "model"), parameter(query, "text")),
        other => Err(format!("no such behaviour: {other}")),
    };
    let (status, text) = match result {
        Ok(text) => (200, text),
        Err(text) => (500, text),
    };
    Response::new(status, text)
}

fn parameter<'q>(query: &'q str, name: &str) -> &'q str {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map_or("", |pair| pair.1)
}

fn wasi_get(name: &str) -> Result<String, String> {
    let value = store::get(name).map_err(|error| format!("{error:?}"))?;
    Ok(value.unwrap_or_else(|| "none".to_owned()))
}

fn wasi_all() -> Result<String, String> {
    let mut all = store::get_all().map_err(|error| format!("{error:?}"))?;
    all.sort();
    Ok(all.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","))
}

fn infer(model: &str, prompt: &str) -> Result<String, String> {
    let made = llm::infer(InferencingModel::Other(model), prompt).map_err(|error| format!("{error:?}"))?;
    let usage = made.usage;
    Ok(format!("{} ({}+{})", made.text, usage.prompt_token_count, usage.generated_token_count))
}

fn embed(model: &str, text: &str) -> Result<String, String> {
    let texts: Vec<String> = text.split(',').map(str::to_owned).collect();
    let made = llm::generate_embeddings(EmbeddingModel::Other(model), &texts)
        .map_err(|error| format!("{error:?}"))?;
    Ok(format!("{:?} ({})", made.embeddings, made.usage.prompt_token_count))
}
