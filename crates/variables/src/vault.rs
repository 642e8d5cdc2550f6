//! HashiCorp Vault, and OpenBao, which speaks the same protocol.

use async_trait::async_trait;
use http::{Request, StatusCode};
use http_client::{Bytes, HttpClient};
use runtime_config::{Secret, SecretError};
use serde::Deserialize;

use crate::{ProviderError, RemoteProvider};

/// A key-value engine, version 2: the variable `name` is the field `value` of the
/// secret `[PREFIX/]name`.
#[derive(Debug)]
pub struct Vault {
    client: HttpClient,
    /// Up to the name of the secret.
    base: String,
    token: Secret,
}

#[derive(Debug, thiserror::Error)]
enum VaultError {
    #[error("the token cannot be used")]
    Token(#[from] SecretError),
    #[error("the token has a character that no header may have")]
    TokenForm,
    #[error("the URL cannot be used")]
    Url(#[source] http::Error),
    #[error(transparent)]
    Http(#[from] http_client::HttpError),
    #[error("the answer has the status {status}{}", explanation(messages))]
    Status { status: StatusCode, messages: Vec<String> },
    #[error("the secret has no field \"value\" that is text")]
    Form,
}

fn explanation(messages: &[String]) -> String {
    if messages.is_empty() { String::new() } else { format!(": {}", messages.join(", ")) }
}

#[derive(Deserialize)]
struct Answer {
    data: Version,
}

#[derive(Deserialize)]
struct Version {
    data: Fields,
}

#[derive(Deserialize)]
struct Fields {
    value: String,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default)]
    errors: Vec<String>,
}

impl Vault {
    /// The engine at `mount` of the server at `url`; secrets lie below `prefix`.
    pub fn new(url: &str, token: Secret, mount: &str, prefix: Option<&str>) -> Self {
        let mut base = format!("{}/v1/{}/data", url.trim_end_matches('/'), mount.trim_matches('/'));
        if let Some(prefix) = prefix {
            base.push('/');
            base.push_str(prefix.trim_matches('/'));
        }
        Self { client: HttpClient::new(), base, token }
    }

    async fn read(&self, name: &str) -> Result<Option<String>, VaultError> {
        let token = http_client::secret_header(&self.token.reveal()?);
        let request = Request::get(format!("{}/{name}", self.base))
            .header("x-vault-request", "true")
            .header("x-vault-token", token.ok_or(VaultError::TokenForm)?)
            .body(Bytes::new())
            .map_err(VaultError::Url)?;
        let response = self.client.send(request).await?;
        match response.status() {
            StatusCode::OK => {
                let answer: Answer =
                    serde_json::from_slice(response.body()).map_err(|_| VaultError::Form)?;
                Ok(Some(answer.data.data.value))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let failure: Failure = serde_json::from_slice(response.body()).unwrap_or_default();
                Err(VaultError::Status { status, messages: failure.errors })
            }
        }
    }
}

#[async_trait]
impl RemoteProvider for Vault {
    async fn get(&self, name: &str) -> Result<Option<String>, ProviderError> {
        self.read(name).await.map_err(|error| ProviderError {
            service: "Vault",
            name: name.to_owned(),
            source: Box::new(error),
        })
    }
}
