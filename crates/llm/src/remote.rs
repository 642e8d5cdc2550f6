//! A server that runs models.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_client::{Bytes, HttpClient, secret_header};
use runtime_config::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use telemetry::SpanContext;
use url::Url;

use crate::{Embeddings, Inference, ModelError, Parameters};

/// How long a model may take.
pub const TIMEOUT: Duration = Duration::from_mins(5);

/// The protocol of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Spin's own: `/infer` and `/embed`.
    Spin,
    /// That of OpenAI: `/v1/chat/completions` and `/v1/embeddings`.
    OpenAi,
}

/// A server that runs models; nothing is connected before the first use.
#[derive(Debug)]
pub struct RemoteModels {
    client: HttpClient,
    url: Url,
    token: Secret,
    protocol: Protocol,
}

#[derive(Deserialize)]
struct SpinInference {
    text: String,
    usage: SpinUsage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpinUsage {
    prompt_token_count: u32,
    #[serde(default)]
    generated_token_count: u32,
}

#[derive(Deserialize)]
struct SpinEmbeddings {
    embeddings: Vec<Vec<f32>>,
    usage: SpinUsage,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: OpenAiUsage,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    /// None when the model refuses.
    content: Option<String>,
}

#[derive(Deserialize, Default)]
struct OpenAiUsage {
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

#[derive(Deserialize)]
struct OpenAiEmbeddings {
    data: Vec<Embedding>,
    usage: OpenAiUsage,
}

#[derive(Deserialize)]
struct Embedding {
    #[serde(default)]
    index: usize,
    embedding: Vec<f32>,
}

impl RemoteModels {
    /// The server at `url`; as with Spin, the path of its protocol takes the place
    /// of the URL's own.
    pub fn new(url: Url, token: Secret, protocol: Protocol) -> Self {
        Self { client: HttpClient::with_timeout(TIMEOUT), url, token, protocol }
    }

    pub(crate) async fn infer(
        &self,
        model: &str,
        prompt: String,
        parameters: Parameters,
        span: Option<&SpanContext>,
    ) -> Result<Inference, ModelError> {
        match self.protocol {
            Protocol::Spin => {
                let options = json!({
                    "maxTokens": parameters.max_tokens,
                    "repeatPenalty": parameters.repeat_penalty,
                    "repeatPenaltyLastNTokenCount": parameters.repeat_penalty_last_n_token_count,
                    "temperature": parameters.temperature,
                    "topK": parameters.top_k,
                    "topP": parameters.top_p,
                });
                let body = json!({ "model": model, "prompt": prompt, "options": options });
                let answer: SpinInference = self.ask("/infer", &body, span).await?;
                let SpinInference { text, usage } = answer;
                let (prompt_tokens, generated_tokens) =
                    (usage.prompt_token_count, usage.generated_token_count);
                Ok(Inference { text, prompt_tokens, generated_tokens })
            }
            Protocol::OpenAi => {
                let body = json!({
                    "model": model,
                    "messages": [{ "role": "user", "content": prompt }],
                    "max_completion_tokens": parameters.max_tokens,
                    "frequency_penalty": parameters.repeat_penalty,
                });
                let answer: Completion = self.ask("/v1/chat/completions", &body, span).await?;
                let text = answer.choices.into_iter().next().map(|choice| choice.message.content);
                Ok(Inference {
                    text: text.flatten().ok_or_else(|| server("there is no text in the answer"))?,
                    prompt_tokens: answer.usage.prompt_tokens,
                    generated_tokens: answer.usage.completion_tokens,
                })
            }
        }
    }

    pub(crate) async fn embed(
        &self,
        model: &str,
        texts: Vec<String>,
        span: Option<&SpanContext>,
    ) -> Result<Embeddings, ModelError> {
        let body = json!({ "model": model, "input": texts });
        match self.protocol {
            Protocol::Spin => {
                let answer: SpinEmbeddings = self.ask("/embed", &body, span).await?;
                let prompt_tokens = answer.usage.prompt_token_count;
                Ok(Embeddings { vectors: answer.embeddings, prompt_tokens })
            }
            Protocol::OpenAi => {
                let answer: OpenAiEmbeddings = self.ask("/v1/embeddings", &body, span).await?;
                let mut data = answer.data;
                data.sort_by_key(|embedding| embedding.index);
                let vectors = data.into_iter().map(|embedding| embedding.embedding).collect();
                Ok(Embeddings { vectors, prompt_tokens: answer.usage.prompt_tokens })
            }
        }
    }

    /// Asks the server, as a part of `span`.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
        span: Option<&SpanContext>,
    ) -> Result<T, ModelError> {
        let token = self.token.reveal().map_err(|error| server(&http_client::chain(&error)))?;
        let scheme = match self.protocol {
            Protocol::Spin => "bearer",
            Protocol::OpenAi => "Bearer",
        };
        let token = secret_header(&format!("{scheme} {token}"));
        let url = self.url.join(path).map_err(|error| server(&error.to_string()))?;
        let mut request = Request::post(url.as_str())
            .header("authorization", token.ok_or_else(|| server("its token is no text"))?)
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(|error| server(&error.to_string()))?;
        if let Some(span) = span {
            span.put_into(request.headers_mut());
        }
        let response = self.client.send(request).await;
        let response = response.map_err(|error| server(&http_client::chain(&error)))?;
        if !response.status().is_success() {
            return Err(refusal(&response));
        }
        serde_json::from_slice(response.body())
            .map_err(|error| server(&format!("the answer is not understood: {error}")))
    }
}

fn server(text: &str) -> ModelError {
    ModelError::Server { text: text.to_owned() }
}

/// The server's own words, where it has some.
fn refusal(response: &Response<Bytes>) -> ModelError {
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let part = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let code = part("/error/code");
    if response.status() == StatusCode::NOT_FOUND && code == Some("model_not_found") {
        return ModelError::NotSupported;
    }
    let words = part("/error/message").or_else(|| part("/error")).or_else(|| part("/message"));
    let status = response.status();
    server(&words.map_or_else(
        || format!("the answer has the status {status}"),
        |words| format!("{words} (status {status})"),
    ))
}
