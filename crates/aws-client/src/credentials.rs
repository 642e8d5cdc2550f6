//! Who signs.

use std::collections::BTreeMap;
use std::fmt;

use http::{Request, StatusCode};
use http_client::{Bytes, HttpClient, HttpError, secret_header};
use runtime_config::{Secret, SecretError, StaticCredentials};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::form_urlencoded::Serializer;

use crate::Timestamp;

/// The metadata service of a machine, and of a container of ECS.
const MACHINE: &str = "http://169.254.169.254";
const CONTAINER: &str = "http://169.254.170.2";

/// How many seconds before their end credentials are not used any more.
const MARGIN: u64 = 300;

/// The key of somebody who signs.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The id of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// Of temporary credentials.
    pub token: Option<String>,
}

/// Where credentials come from.
#[derive(Debug)]
pub struct CredentialsSource {
    kind: Kind,
    client: HttpClient,
    kept: Mutex<Option<(Credentials, Timestamp)>>,
}

#[derive(Debug)]
enum Kind {
    Static(StaticCredentials),
    WebIdentity { token: Secret, role: String, session: String, endpoint: String },
    Container { url: String, authorization: Option<Secret> },
    Machine { endpoint: String },
}

/// There are no credentials. No error contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A key or token cannot be read.
    #[error("there are no credentials for AWS")]
    Secret(#[from] SecretError),
    /// The request cannot be made.
    #[error("the address of {who} cannot be used")]
    Request {
        /// Who would be asked.
        who: &'static str,
        /// Why not.
        #[source]
        source: http::Error,
    },
    /// Nobody answered.
    #[error("{who} gives out no credentials for AWS")]
    Http {
        /// Who was asked.
        who: &'static str,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The answer holds no credentials.
    #[error("{who} gives out no credentials for AWS: status {status}")]
    Refused {
        /// Who was asked.
        who: &'static str,
        /// The status of the answer.
        status: StatusCode,
    },
}

/// As containers and machines are told.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Temporary {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl CredentialsSource {
    /// Credentials of the configuration.
    pub fn of(credentials: StaticCredentials) -> Self {
        Self::new(Kind::Static(credentials))
    }

    /// Whatever `environment` describes.
    pub fn from_environment(environment: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        let inline = |name: &str| get(name).map(Secret::Inline);
        if let (Some(access_key), Some(secret_key)) =
            (inline("AWS_ACCESS_KEY_ID"), inline("AWS_SECRET_ACCESS_KEY"))
        {
            let token = inline("AWS_SESSION_TOKEN");
            return Self::of(StaticCredentials { access_key, secret_key, token });
        }
        if let (Some(file), Some(role)) = (get("AWS_WEB_IDENTITY_TOKEN_FILE"), get("AWS_ROLE_ARN"))
        {
            let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
            let endpoint = get("AWS_ENDPOINT_URL_STS").or_else(|| get("AWS_ENDPOINT_URL"));
            let endpoint = endpoint.unwrap_or_else(|| match region {
                Some(region) => format!("https://sts.{region}.amazonaws.com"),
                None => "https://sts.amazonaws.com".to_owned(),
            });
            let session = get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "spinlet".to_owned());
            let token = Secret::File(file.into());
            return Self::new(Kind::WebIdentity { token, role, session, endpoint });
        }
        let container = get("AWS_CONTAINER_CREDENTIALS_FULL_URI").or_else(|| {
            let path = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")?;
            Some(format!("{CONTAINER}{path}"))
        });
        if let Some(url) = container {
            let authorization = get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
                .map(|file| Secret::File(file.into()))
                .or_else(|| inline("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
            return Self::new(Kind::Container { url, authorization });
        }
        let endpoint = get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        Self::new(Kind::Machine { endpoint: endpoint.unwrap_or_else(|| MACHINE.to_owned()) })
    }

    fn new(kind: Kind) -> Self {
        Self { kind, client: HttpClient::new(), kept: Mutex::default() }
    }

    /// Credentials that hold for a while. Those who ask at once wait for one
    /// request.
    ///
    /// # Errors
    ///
    /// A secret cannot be read, nobody answers, or the answer is a refusal.
    pub async fn get(&self) -> Result<Credentials, CredentialsError> {
        if let Kind::Static(credentials) = &self.kind {
            return Ok(Credentials {
                access_key: credentials.access_key.reveal()?,
                secret_key: credentials.secret_key.reveal()?,
                token: credentials.token.as_ref().map(Secret::reveal).transpose()?,
            });
        }
        let mut kept = self.kept.lock().await;
        let now = Timestamp::now();
        if let Some((credentials, end)) = &*kept
            && end.seconds_since(now) > MARGIN
        {
            return Ok(credentials.clone());
        }
        let temporary = self.ask().await?;
        let credentials = Credentials {
            access_key: temporary.access_key_id,
            secret_key: temporary.secret_access_key,
            token: temporary.token,
        };
        let end = temporary.expiration.as_deref().and_then(Timestamp::parse).unwrap_or(now);
        *kept = Some((credentials.clone(), end));
        Ok(credentials)
    }

    async fn ask(&self) -> Result<Temporary, CredentialsError> {
        match &self.kind {
            Kind::WebIdentity { token, role, session, endpoint } => {
                let token = token.reveal()?;
                self.assume_role(endpoint, role, session, &token).await
            }
            Kind::Container { url, authorization } => {
                let mut request = Request::get(url);
                if let Some(secret) = authorization
                    && let Some(value) = secret_header(&secret.reveal()?)
                {
                    request = request.header("authorization", value);
                }
                self.json("the container's credential service", request).await
            }
            // The last one also stands for those that need no request.
            Kind::Machine { endpoint } => self.of_machine(endpoint).await,
            Kind::Static(_) => self.of_machine(MACHINE).await,
        }
    }

    async fn assume_role(
        &self,
        endpoint: &str,
        role: &str,
        session: &str,
        token: &str,
    ) -> Result<Temporary, CredentialsError> {
        let who = "AWS STS";
        let body = Serializer::new(String::new())
            .append_pair("Action", "AssumeRoleWithWebIdentity")
            .append_pair("Version", "2011-06-15")
            .append_pair("RoleArn", role)
            .append_pair("RoleSessionName", session)
            .append_pair("WebIdentityToken", token)
            .finish();
        let request = Request::post(format!("{}/", endpoint.trim_end_matches('/')))
            .header("content-type", "application/x-www-form-urlencoded");
        let (status, answer) = self.send(who, request, body.into()).await?;
        let answer = String::from_utf8_lossy(&answer);
        let element = |name: &str| element(&answer, name);
        let temporary = element("AccessKeyId").zip(element("SecretAccessKey"));
        let Some((access_key_id, secret_access_key)) = temporary else {
            return Err(CredentialsError::Refused { who, status });
        };
        let (token, expiration) = (element("SessionToken"), element("Expiration"));
        Ok(Temporary { access_key_id, secret_access_key, token, expiration })
    }

    /// Version 2 of the metadata service: a session first, then the role's name.
    async fn of_machine(&self, endpoint: &str) -> Result<Temporary, CredentialsError> {
        let who = "the machine's metadata service";
        let base = format!("{}/latest", endpoint.trim_end_matches('/'));
        let session = Request::put(format!("{base}/api/token"))
            .header("x-aws-ec2-metadata-token-ttl-seconds", "300");
        let (status, session) = self.send(who, session, Bytes::new()).await?;
        let session = secret_header(&String::from_utf8_lossy(&session));
        let session = session.ok_or(CredentialsError::Refused { who, status })?;
        let get = |path: &str| {
            let url = format!("{base}/meta-data/iam/security-credentials/{path}");
            Request::get(url).header("x-aws-ec2-metadata-token", session.clone())
        };
        let (_, roles) = self.send(who, get(""), Bytes::new()).await?;
        let roles = String::from_utf8_lossy(&roles).into_owned();
        let role = roles.lines().next().unwrap_or_default();
        self.json(who, get(role)).await
    }

    async fn json(
        &self,
        who: &'static str,
        request: http::request::Builder,
    ) -> Result<Temporary, CredentialsError> {
        let (status, answer) = self.send(who, request, Bytes::new()).await?;
        serde_json::from_slice(&answer).map_err(|_| CredentialsError::Refused { who, status })
    }

    /// The body of an answer that is no refusal.
    async fn send(
        &self,
        who: &'static str,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), CredentialsError> {
        let request =
            request.body(body).map_err(|source| CredentialsError::Request { who, source })?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|source| CredentialsError::Http { who, source })?;
        let status = response.status();
        if !status.is_success() {
            return Err(CredentialsError::Refused { who, status });
        }
        Ok((status, response.into_body()))
    }
}

/// The text of the first element `name` of an XML document that has no entities
/// in it, as keys have none.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_owned())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(pairs: &[(&str, &str)]) -> CredentialsSource {
        let environment = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        CredentialsSource::from_environment(&environment.collect())
    }

    #[tokio::test]
    async fn keys_of_the_environment_come_first() {
        let keys = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_SESSION_TOKEN", "session"),
            ("AWS_ROLE_ARN", "arn"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ];
        let source = source(&keys);
        let credentials = source.get().await.unwrap();
        assert_eq!(credentials.secret_key, "hunter2");
        assert_eq!(credentials.token.as_deref(), Some("session"));
        let shown = format!("{source:?} {credentials:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("session"), "{shown}");
    }

    #[test]
    fn the_environment_chooses_among_the_services() {
        let role = [("AWS_ROLE_ARN", "arn"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")];
        let kind = source(&[role[0], role[1], ("AWS_REGION", "eu-west-1")]).kind;
        let Kind::WebIdentity { endpoint, .. } = kind else { panic!("{kind:?}") };
        assert_eq!(endpoint, "https://sts.eu-west-1.amazonaws.com");
        let kind = source(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")]).kind;
        let Kind::Container { url, .. } = kind else { panic!("{kind:?}") };
        assert_eq!(url, "http://169.254.170.2/v2/x");
        assert!(matches!(source(&[]).kind, Kind::Machine { .. }));
    }

    #[test]
    fn elements_are_found_in_an_answer() {
        let xml = "<A><Credentials><AccessKeyId>id</AccessKeyId></Credentials></A>";
        assert_eq!(element(xml, "AccessKeyId").as_deref(), Some("id"));
        assert_eq!(element(xml, "SecretAccessKey"), None);
    }
}
