//! Requests to one container.

use std::time::{Duration, SystemTime};

use azure_identity::IdentityError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_client::{Bytes, HttpClient, HttpError, secret_header};
use runtime_config::SecretError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::Sha256;
use url::form_urlencoded::byte_serialize;

use crate::Access;

/// The newest version whose behaviour this needs.
const VERSION: &str = "2018-12-31";

/// How often a request is repeated that came too early, and the longest pause.
const THROTTLED: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Client {
    http: HttpClient,
    endpoint: String,
    scope: String,
    /// `dbs/DATABASE/colls/CONTAINER`.
    container: String,
    access: Access,
}

/// A request without the wanted answer. No error contains a key or a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CosmosError {
    #[error("there is no key for Cosmos DB")]
    Secret(#[from] SecretError),
    #[error("the key of Cosmos DB is not base64")]
    Key,
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the address of the Cosmos DB account or the key of the entry cannot be used")]
    Request(#[source] http::Error),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("Cosmos DB answers with the status {status}{}", if code.is_empty() { String::new() } else { format!(": {code}") })]
    Status { status: StatusCode, code: String },
    #[error("the answer of Cosmos DB is not understood")]
    Form(#[source] serde_json::Error),
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default)]
    code: String,
}

/// An answer that is no failure.
pub(crate) struct Reply(Response<Bytes>);

impl Reply {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, CosmosError> {
        serde_json::from_slice(self.0.body()).map_err(CosmosError::Form)
    }

    /// What to ask for the next page with.
    pub(crate) fn continuation(&self) -> Option<String> {
        let value = self.0.headers().get("x-ms-continuation")?;
        value.to_str().ok().map(str::to_owned)
    }
}

/// What is asked for, in the words of a signature.
struct Target {
    method: Method,
    /// The resource itself, or for a new document or a query what it belongs to.
    link: String,
    path: String,
}

impl Client {
    pub(crate) fn new(account: &str, database: &str, container: &str, access: Access) -> Self {
        let endpoint = if account.contains("://") {
            account.trim_end_matches('/').to_owned()
        } else {
            format!("https://{account}.documents.azure.com")
        };
        Self {
            http: HttpClient::new(),
            scope: format!("{endpoint}/.default"),
            endpoint,
            container: format!("dbs/{database}/colls/{container}"),
            access,
        }
    }

    /// A request for the document of one key.
    pub(crate) async fn document(
        &self,
        method: Method,
        key: &str,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<Reply, CosmosError> {
        let link = format!("{}/docs/{key}", self.container);
        let encoded: String = byte_serialize(key.as_bytes()).collect();
        // A form's `+` for a space is no space in a path.
        let path = format!("{}/docs/{}", self.container, encoded.replace('+', "%20"));
        let kind = if method == Method::PATCH {
            "application/json_patch+json"
        } else {
            "application/json"
        };
        let partition = partition(key);
        let mut all =
            vec![("x-ms-documentdb-partitionkey", partition.as_str()), ("content-type", kind)];
        all.extend(headers);
        self.send(&Target { method, link, path }, body, &all).await
    }

    /// A new document, or with `upsert` in place of the one that is there.
    pub(crate) async fn create(
        &self,
        key: &str,
        document: &Value,
        upsert: bool,
    ) -> Result<Reply, CosmosError> {
        let partition = partition(key);
        let headers = [
            ("x-ms-documentdb-partitionkey", partition.as_str()),
            ("content-type", "application/json"),
            ("x-ms-documentdb-is-upsert", if upsert { "true" } else { "false" }),
        ];
        self.send(&self.documents(), Some(document), &headers).await
    }

    /// One page of the answer to a query over all partitions.
    pub(crate) async fn query(
        &self,
        query: &str,
        continuation: Option<&str>,
    ) -> Result<Reply, CosmosError> {
        let mut headers = vec![
            ("content-type", "application/query+json"),
            ("x-ms-documentdb-isquery", "true"),
            ("x-ms-documentdb-query-enablecrosspartition", "true"),
            ("x-ms-max-item-count", "1000"),
        ];
        headers.extend(continuation.map(|value| ("x-ms-continuation", value)));
        let body = json!({ "query": query, "parameters": [] });
        self.send(&self.documents(), Some(&body), &headers).await
    }

    fn documents(&self) -> Target {
        let link = self.container.clone();
        Target { method: Method::POST, path: format!("{link}/docs"), link }
    }

    /// Repeats what Cosmos DB refuses for being too early.
    async fn send(
        &self,
        target: &Target,
        body: Option<&Value>,
        headers: &[(&'static str, &str)],
    ) -> Result<Reply, CosmosError> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut attempt = 0;
        loop {
            let request = self.request(target, body.clone(), headers).await?;
            let response = self.http.send(request).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(Reply(response));
            }
            attempt += 1;
            if status != StatusCode::TOO_MANY_REQUESTS || attempt > THROTTLED {
                let failure: Failure = serde_json::from_slice(response.body()).unwrap_or_default();
                return Err(CosmosError::Status { status, code: failure.code });
            }
            tokio::time::sleep(pause(&response)).await;
        }
    }

    async fn request(
        &self,
        target: &Target,
        body: Bytes,
        headers: &[(&'static str, &str)],
    ) -> Result<Request<Bytes>, CosmosError> {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mut request = Request::builder()
            .method(target.method.clone())
            .uri(format!("{}/{}", self.endpoint, target.path))
            .header("accept", "application/json")
            .header("x-ms-version", VERSION)
            .header("x-ms-date", &date)
            .header("authorization", self.authorization(target, &date).await?);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body).map_err(CosmosError::Request)
    }

    async fn authorization(&self, target: &Target, date: &str) -> Result<HeaderValue, CosmosError> {
        let text = match &self.access {
            Access::Key(key) => {
                let key = STANDARD.decode(key.reveal()?).map_err(|_| CosmosError::Key)?;
                let signature = signature(&key, &target.method, ("docs", &target.link), date);
                format!("type=master&ver=1.0&sig={signature}")
            }
            Access::Identity(identity) => {
                let token = identity.token(&self.scope).await?;
                format!("type=aad&ver=1.0&sig={}", token.reveal())
            }
        };
        let encoded: String = byte_serialize(text.as_bytes()).collect();
        Ok(secret_header(&encoded).unwrap_or(HeaderValue::from_static("")))
    }
}

/// The signature that the account's key gives a request for a kind of resource
/// and its link.
fn signature(key: &[u8], method: &Method, (kind, link): (&str, &str), date: &str) -> String {
    let method = method.as_str().to_ascii_lowercase();
    let text = format!("{method}\n{kind}\n{link}\n{}\n\n", date.to_ascii_lowercase());
    // A key may have any length, so there is no failure to report.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// A key as the list of partition keys: JSON in a header, thus ASCII only.
fn partition(key: &str) -> String {
    let mut text = String::new();
    for letter in json!([key]).to_string().chars() {
        if letter.is_ascii() {
            text.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                text.push_str("\\u");
                text.push_str(&hex::encode(unit.to_be_bytes()));
            }
        }
    }
    text
}

fn pause(response: &Response<Bytes>) -> Duration {
    let header = response.headers().get("x-ms-retry-after-ms");
    let milliseconds = header.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(100);
    Duration::from_millis(milliseconds).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_microsoft_publishes() {
        // The example of "Access control on Azure Cosmos DB resources".
        let key = "dsZQi3KtZmCv1ljt3VNWNm7sQUF1y5rJfC6kv5JiwvW0EndXdDku/dkKBp8/ufDToSxLzR4y+O/0H/t4bQtVNw==";
        let key = STANDARD.decode(key).unwrap();
        let date = "Thu, 27 Apr 2017 00:51:12 GMT";
        let signature = signature(&key, &Method::GET, ("dbs", "dbs/ToDoList"), date);
        assert_eq!(signature, "c09PEVJrgp2uQRkr934kFbTqhByc7TVr3OHyqlu+c+c=");
    }

    #[test]
    fn a_partition_key_is_ascii() {
        assert_eq!(partition("a\"b"), r#"["a\"b"]"#);
        assert_eq!(partition("ü😀"), r#"["\u00fc\ud83d\ude00"]"#);
    }

    #[test]
    fn an_account_is_a_name_or_a_url() {
        let endpoint = |account: &str| {
            let access = Access::Key(runtime_config::Secret::Inline(String::new()));
            Client::new(account, "d", "c", access).endpoint
        };
        assert_eq!(endpoint("shop"), "https://shop.documents.azure.com");
        assert_eq!(endpoint("http://127.0.0.1:1/"), "http://127.0.0.1:1");
    }
}
