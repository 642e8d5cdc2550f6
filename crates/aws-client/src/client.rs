//! Calls of a service that speaks JSON.

use std::collections::BTreeMap;

use http::{Request, StatusCode};
use http_client::{Bytes, HttpClient, HttpError};
use serde::Deserialize;
use serde_json::Value;

use crate::{Credentials, CredentialsError, CredentialsSource, Signing, Timestamp, sign};

/// One service in one region.
#[derive(Debug)]
pub struct AwsClient {
    client: HttpClient,
    credentials: CredentialsSource,
    service: &'static str,
    region: String,
    endpoint: String,
}

/// A call without a result. No error contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// Nobody signs it.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The endpoint is not a URL.
    #[error("the endpoint cannot be used")]
    Endpoint(#[source] http::Error),
    /// Nobody answered.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The service refuses.
    #[error("{}: {message}", if code.is_empty() { status.as_str() } else { code.as_str() })]
    Service {
        /// The status of the answer.
        status: StatusCode,
        /// The name of the error, such as `ResourceNotFoundException`.
        code: String,
        /// The service's words.
        message: String,
        /// What else the answer says.
        details: Value,
    },
    /// The answer is not JSON.
    #[error("the answer is not JSON")]
    Form(#[source] serde_json::Error),
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl AwsClient {
    /// The service with this name, such as `dynamodb`; `environment` may name
    /// another endpoint than AWS's own.
    pub fn new(
        service: &'static str,
        region: &str,
        credentials: CredentialsSource,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let own = format!("AWS_ENDPOINT_URL_{}", service.to_ascii_uppercase());
        let get = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        let endpoint = get(&own)
            .or_else(|| get("AWS_ENDPOINT_URL"))
            .unwrap_or_else(|| endpoint(service, region));
        Self {
            client: HttpClient::new(),
            credentials,
            service,
            region: region.to_owned(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
        }
    }

    /// Calls an operation by its full name, such as `DynamoDB_20120810.GetItem`,
    /// in `version` of the JSON protocol, `1.0` or `1.1`.
    ///
    /// Operations without a result give null.
    ///
    /// Cancel safety: dropping the call leaves open whether it was carried out.
    ///
    /// # Errors
    ///
    /// There are no credentials, nobody answers, or the service refuses.
    pub async fn call(
        &self,
        operation: &str,
        version: &str,
        input: &Value,
    ) -> Result<Value, AwsError> {
        let credentials = self.credentials.get().await?;
        let request = self.request(operation, version, input, &credentials)?;
        let response = self.client.send(request).await?;
        let (status, body) = (response.status(), response.body());
        if status.is_success() && body.is_empty() {
            return Ok(Value::Null);
        }
        if status.is_success() {
            return serde_json::from_slice(body).map_err(AwsError::Form);
        }
        let details: Value = serde_json::from_slice(body).unwrap_or_default();
        let failure: Failure = serde_json::from_value(details.clone()).unwrap_or_default();
        // The name stands behind its namespace.
        let code = failure.kind.rsplit('#').next().unwrap_or_default().to_owned();
        Err(AwsError::Service { status, code, message: failure.message, details })
    }

    fn request(
        &self,
        operation: &str,
        version: &str,
        input: &Value,
        credentials: &Credentials,
    ) -> Result<Request<Bytes>, AwsError> {
        let mut request = Request::post(format!("{}/", self.endpoint))
            .header("content-type", format!("application/x-amz-json-{version}"))
            .header("x-amz-target", operation)
            .body(Bytes::from(input.to_string()))
            .map_err(AwsError::Endpoint)?;
        let time = Timestamp::now();
        let signing = Signing { service: self.service, region: &self.region, time };
        sign(&mut request, credentials, signing);
        Ok(request)
    }
}

fn endpoint(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{region}.{domain}")
}

impl AwsError {
    /// Whether the service refuses with this error.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Service { code, .. } if code == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_may_name_another_endpoint() {
        let client = |pairs: &[(&str, &str)]| {
            let environment =
                pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let credentials = CredentialsSource::from_environment(&environment);
            AwsClient::new("dynamodb", "eu-west-1", credentials, &environment).endpoint
        };
        assert_eq!(client(&[]), "https://dynamodb.eu-west-1.amazonaws.com");
        let all = ("AWS_ENDPOINT_URL", "http://all:1/");
        assert_eq!(client(&[all]), "http://all:1");
        assert_eq!(client(&[all, ("AWS_ENDPOINT_URL_DYNAMODB", "http://own:2")]), "http://own:2");
        assert_eq!(endpoint("sqs", "cn-north-1"), "https://sqs.cn-north-1.amazonaws.com.cn");
    }
}
