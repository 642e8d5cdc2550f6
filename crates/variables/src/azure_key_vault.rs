//! Azure Key Vault.

use async_trait::async_trait;
use azure_identity::{Identity, IdentityError};
use http::{Request, StatusCode};
use http_client::{Bytes, HttpClient};
use serde::Deserialize;

use crate::{ProviderError, RemoteProvider};

const API_VERSION: &str = "7.4";

/// A key vault: the variable `name` is the secret of that name. Azure allows no
/// `_` in it, so `my_name` is the secret `my-name`.
#[derive(Debug)]
pub struct AzureKeyVault {
    client: HttpClient,
    url: String,
    scope: String,
    identity: Identity,
}

#[derive(Debug, thiserror::Error)]
enum KeyVaultError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the URL or the token cannot be used")]
    Request(#[source] http::Error),
    #[error(transparent)]
    Http(#[from] http_client::HttpError),
    #[error("the answer has the status {status}{}", code.as_ref().map(|code| format!(": {code}")).unwrap_or_default())]
    Status { status: StatusCode, code: Option<String> },
    #[error("the answer is not a secret")]
    Form,
}

#[derive(Deserialize)]
struct SecretBundle {
    value: String,
}

#[derive(Deserialize)]
struct Failure {
    error: FailureCode,
}

#[derive(Deserialize)]
struct FailureCode {
    code: String,
}

impl AzureKeyVault {
    /// The vault at `url`, entered as `identity`.
    pub fn new(url: &str, identity: Identity) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        // The clouds differ in the domain of their vaults, and the scope with it.
        let host = url.split_once("://").map_or("", |(_, rest)| rest);
        let domain = host.split_once('.').map_or("vault.azure.net", |(_, domain)| domain);
        let scope = format!("https://{domain}/.default");
        Self { client: HttpClient::new(), url, scope, identity }
    }

    async fn read(&self, name: &str) -> Result<Option<String>, KeyVaultError> {
        let token = self.identity.token(&self.scope).await?;
        let name = name.replace('_', "-");
        let request =
            Request::get(format!("{}/secrets/{name}?api-version={API_VERSION}", self.url))
                .header("authorization", token.header())
                .body(Bytes::new())
                .map_err(KeyVaultError::Request)?;
        let response = self.client.send(request).await?;
        match response.status() {
            StatusCode::OK => serde_json::from_slice(response.body())
                .map(|secret: SecretBundle| Some(secret.value))
                .map_err(|_| KeyVaultError::Form),
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let failure: Option<Failure> = serde_json::from_slice(response.body()).ok();
                Err(KeyVaultError::Status {
                    status,
                    code: failure.map(|failure| failure.error.code),
                })
            }
        }
    }
}

#[async_trait]
impl RemoteProvider for AzureKeyVault {
    async fn get(&self, name: &str) -> Result<Option<String>, ProviderError> {
        self.read(name).await.map_err(|error| ProviderError {
            service: "Azure Key Vault",
            name: name.to_owned(),
            source: Box::new(error),
        })
    }
}
