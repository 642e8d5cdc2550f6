//! Tokens for services of Azure, from Microsoft Entra ID.
//!
//! | who | where it is said |
//! |---|---|
//! | an application with a password | the configuration, or `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` |
//! | a workload of Kubernetes | `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_FEDERATED_TOKEN_FILE` |
//! | an app of App Service | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` |
//! | a machine | nothing: the metadata service of the machine is asked |
//!
//! `AZURE_AUTHORITY_HOST` names another authority than the public cloud's;
//! `AZURE_CLIENT_ID` chooses among several identities of a machine.
//! A token is kept until five minutes before its end.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, StatusCode};
use http_client::{Bytes, HttpClient, HttpError, secret_header};
use runtime_config::{Secret, SecretError};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::form_urlencoded::Serializer;

/// The authority of the public cloud.
pub const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";

/// The metadata service of a machine.
const METADATA: &str = "http://169.254.169.254";

/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_mins(5);

/// Somebody who gets tokens.
#[derive(Debug)]
pub struct Identity {
    who: Who,
    client: HttpClient,
    tokens: Mutex<HashMap<String, Kept>>,
}

/// An application of Azure with its password.
#[derive(Debug, Clone)]
pub struct Application {
    /// Who gives out tokens, a URL.
    pub authority: String,
    /// The tenant.
    pub tenant_id: String,
    /// The application.
    pub client_id: String,
    /// Its password.
    pub client_secret: Secret,
}

#[derive(Debug)]
enum Who {
    Application(Application),
    /// Proves itself by a token that Kubernetes keeps in a file.
    Workload {
        authority: String,
        tenant_id: String,
        client_id: String,
        assertion: Secret,
    },
    AppService {
        endpoint: String,
        header: Secret,
        client_id: Option<String>,
    },
    Machine {
        metadata: String,
        client_id: Option<String>,
    },
}

/// A token for a service.
#[derive(Clone)]
pub struct Token(String);

#[derive(Debug)]
struct Kept {
    token: Token,
    until: Instant,
}

/// There is no token. No error contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A password or token cannot be read.
    #[error("there is no identity to show to Azure")]
    Secret(#[from] SecretError),
    /// The request cannot be made.
    #[error("the address of Azure's authority cannot be used")]
    Request(#[source] http::Error),
    /// Nobody answered.
    #[error("{who} gives out no token")]
    Http {
        /// Who was asked.
        who: &'static str,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The answer is no token.
    #[error("{who} gives out no token: status {status}{}", code.as_ref().map(|code| format!(", {code}")).unwrap_or_default())]
    Refused {
        /// Who was asked.
        who: &'static str,
        /// The status of the answer.
        status: StatusCode,
        /// The code of the error.
        code: Option<String>,
    },
}

/// Numbers come as numbers or as strings.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: serde_json::Value,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

impl Identity {
    /// An application.
    pub fn application(application: Application) -> Self {
        Self::new(Who::Application(application))
    }

    /// Whoever `environment` describes.
    pub fn from_environment(environment: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        let authority = get("AZURE_AUTHORITY_HOST").unwrap_or_else(|| PUBLIC_AUTHORITY.to_owned());
        let client_id = get("AZURE_CLIENT_ID");
        if let (Some(tenant_id), Some(client_id)) = (get("AZURE_TENANT_ID"), client_id.clone()) {
            if let Some(secret) = get("AZURE_CLIENT_SECRET") {
                let client_secret = Secret::Inline(secret);
                let application = Application { authority, tenant_id, client_id, client_secret };
                return Self::application(application);
            }
            if let Some(file) = get("AZURE_FEDERATED_TOKEN_FILE") {
                let assertion = Secret::File(file.into());
                return Self::new(Who::Workload { authority, tenant_id, client_id, assertion });
            }
        }
        if let (Some(endpoint), Some(header)) = (get("IDENTITY_ENDPOINT"), get("IDENTITY_HEADER")) {
            let header = Secret::Inline(header);
            return Self::new(Who::AppService { endpoint, header, client_id });
        }
        let metadata = get("AZURE_POD_IDENTITY_AUTHORITY_HOST");
        let metadata = metadata.unwrap_or_else(|| METADATA.to_owned());
        Self::new(Who::Machine { metadata, client_id })
    }

    fn new(who: Who) -> Self {
        Self { who, client: HttpClient::new(), tokens: Mutex::default() }
    }

    /// A token for the service with this scope, `https://SERVICE/.default`. Those
    /// who ask at once wait for one request.
    ///
    /// # Errors
    ///
    /// A secret cannot be read, nobody answers, or the answer is a refusal.
    pub async fn token(&self, scope: &str) -> Result<Token, IdentityError> {
        let mut tokens = self.tokens.lock().await;
        if let Some(kept) = tokens.get(scope).filter(|kept| kept.until > Instant::now()) {
            return Ok(kept.token.clone());
        }
        let answer = self.ask(scope).await?;
        let token = Token(answer.access_token);
        let seconds = match &answer.expires_in {
            serde_json::Value::String(text) => text.parse().unwrap_or(0),
            number => number.as_u64().unwrap_or(0),
        };
        let life = Duration::from_secs(seconds).saturating_sub(MARGIN);
        let kept = Kept { token: token.clone(), until: Instant::now() + life };
        tokens.insert(scope.to_owned(), kept);
        Ok(token)
    }

    async fn ask(&self, scope: &str) -> Result<Answer, IdentityError> {
        let who = self.who.name();
        let request = self.who.request(scope)?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|source| IdentityError::Http { who, source })?;
        let (status, body) = (response.status(), response.body());
        let answer = serde_json::from_slice(body).ok().filter(|_| status.is_success());
        answer.ok_or_else(|| {
            let failure: Option<Failure> = serde_json::from_slice(body).ok();
            IdentityError::Refused { who, status, code: failure.map(|failure| failure.error) }
        })
    }
}

impl Who {
    fn name(&self) -> &'static str {
        match self {
            Self::Application(_) | Self::Workload { .. } => "Microsoft Entra ID",
            Self::AppService { .. } => "the identity endpoint",
            Self::Machine { .. } => "the machine's metadata service",
        }
    }

    fn request(&self, scope: &str) -> Result<Request<Bytes>, IdentityError> {
        let resource = scope.trim_end_matches("/.default");
        match self {
            Self::Application(application) => {
                let secret = application.client_secret.reveal()?;
                let proof = [("client_secret", secret.as_str())];
                let Application { authority, tenant_id, client_id, .. } = application;
                grant(authority, tenant_id, client_id, scope, &proof)
            }
            Self::Workload { authority, tenant_id, client_id, assertion } => {
                let assertion = assertion.reveal()?;
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                let proof = [("client_assertion_type", kind), ("client_assertion", &assertion)];
                grant(authority, tenant_id, client_id, scope, &proof)
            }
            Self::AppService { endpoint, header, client_id } => {
                let query = query("2019-08-01", resource, client_id.as_deref());
                let header = secret_header(&header.reveal()?);
                Request::get(format!("{endpoint}?{query}"))
                    .header("x-identity-header", header.unwrap_or(HeaderValue::from_static("")))
                    .body(Bytes::new())
                    .map_err(IdentityError::Request)
            }
            Self::Machine { metadata, client_id } => {
                let query = query("2018-02-01", resource, client_id.as_deref());
                let base = metadata.trim_end_matches('/');
                Request::get(format!("{base}/metadata/identity/oauth2/token?{query}"))
                    .header("metadata", "true")
                    .body(Bytes::new())
                    .map_err(IdentityError::Request)
            }
        }
    }
}

fn grant(
    authority: &str,
    tenant: &str,
    client_id: &str,
    scope: &str,
    proof: &[(&str, &str)],
) -> Result<Request<Bytes>, IdentityError> {
    let body = Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", client_id)
        .append_pair("scope", scope)
        .extend_pairs(proof)
        .finish();
    let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
    Request::post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(body))
        .map_err(IdentityError::Request)
}

fn query(version: &str, resource: &str, client_id: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("api-version", version).append_pair("resource", resource);
    if let Some(client_id) = client_id {
        query.append_pair("client_id", client_id);
    }
    query.finish()
}

impl Token {
    /// The token itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// As the value of an `authorization` header; empty when it is no text that a
    /// header may have.
    pub fn header(&self) -> HeaderValue {
        secret_header(&format!("Bearer {}", self.0)).unwrap_or(HeaderValue::from_static(""))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn request(pairs: &[(&str, &str)]) -> (String, String) {
        let identity = Identity::from_environment(&environment(pairs));
        let request = identity.who.request("https://vault.azure.net/.default").unwrap();
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        (format!("{} {}", request.method(), request.uri()), body)
    }

    #[test]
    fn the_environment_says_who_one_is() {
        let base = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
        let (line, body) = request(&[base[0], base[1], ("AZURE_CLIENT_SECRET", "s+1")]);
        assert_eq!(line, "POST https://login.microsoftonline.com/t/oauth2/v2.0/token");
        assert_eq!(
            body,
            "grant_type=client_credentials&client_id=c&scope=https%3A%2F%2Fvault.azure.net%2F.default\
             &client_secret=s%2B1"
        );

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs_err::write(&file, "jwt\n").unwrap();
        let file = file.to_str().unwrap();
        let authority = ("AZURE_AUTHORITY_HOST", "https://login.test/");
        let (line, body) =
            request(&[base[0], base[1], ("AZURE_FEDERATED_TOKEN_FILE", file), authority]);
        assert_eq!(line, "POST https://login.test/t/oauth2/v2.0/token");
        assert!(body.ends_with("&client_assertion=jwt"), "{body}");

        let service = [("IDENTITY_ENDPOINT", "http://e/t"), ("IDENTITY_HEADER", "h"), base[1]];
        let (line, _) = request(&service);
        assert_eq!(
            line,
            "GET http://e/t?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net&client_id=c"
        );
        let (line, _) = request(&[]);
        assert_eq!(
            line,
            "GET http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01\
             &resource=https%3A%2F%2Fvault.azure.net"
        );
    }

    #[test]
    fn nothing_secret_is_shown() {
        let identity = Identity::from_environment(&environment(&[
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "hunter2"),
        ]));
        let shown = format!("{identity:?} {:?}", Token("hunter2".into()));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn a_missing_token_of_the_workload_is_said() {
        let identity = Identity::from_environment(&environment(&[
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent/token"),
        ]));
        let error = identity.token("https://vault.azure.net/.default").await.unwrap_err();
        let text = http_client::chain(&error);
        assert!(text.contains("/nonexistent/token"), "{text}");
    }
}
