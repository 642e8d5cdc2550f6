//! Signature Version 4.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Request};
use http_client::{Bytes, secret_header};
use sha2::{Digest as _, Sha256};

use crate::{Credentials, Timestamp};

/// What a signature holds for.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// The name of the service, such as `dynamodb`.
    pub service: &'a str,
    /// The region.
    pub region: &'a str,
    /// When the request is made; the service refuses one that is 5 minutes off.
    pub time: Timestamp,
}

/// Signs a request: adds `host`, `x-amz-date`, `x-amz-security-token` for
/// temporary credentials, and `authorization`. Every header it has is signed, so
/// none may be added later.
///
/// The path must be as the service will see it, with nothing left to be encoded;
/// a query must be in the order of its names.
pub fn sign(request: &mut Request<Bytes>, credentials: &Credentials, signing: Signing<'_>) {
    let time = signing.time.basic();
    let host = request.uri().authority().map_or("", |authority| authority.as_str()).to_owned();
    let headers = request.headers_mut();
    insert(headers, HOST.as_str(), &host);
    insert(headers, "x-amz-date", &time);
    if let Some(token) = credentials.token.as_deref().and_then(secret_header) {
        headers.insert("x-amz-security-token", token);
    }

    let (canonical, signed) = canonical(request);
    let scope =
        format!("{}/{}/{}/aws4_request", signing.time.date(), signing.region, signing.service);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", digest(canonical.as_bytes()));
    let signature = hex::encode(hmac(&key(credentials, signing), text.as_bytes()));
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
        credentials.access_key
    );
    if let Some(value) = secret_header(&value) {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The canonical request, and the names of the headers in it.
fn canonical(request: &Request<Bytes>) -> (String, String) {
    let mut headers: Vec<(&str, &str)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default().trim()))
        .collect();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let signed = names.join(";");
    let mut lines = String::new();
    for (name, value) in &headers {
        lines.extend([name, ":", value, "\n"]);
    }
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{signed}\n{}",
        request.method(),
        request.uri().path(),
        request.uri().query().unwrap_or_default(),
        digest(request.body())
    );
    (canonical, signed)
}

fn key(credentials: &Credentials, signing: Signing<'_>) -> Vec<u8> {
    let secret = format!("AWS4{}", credentials.secret_key);
    let date = signing.time.date();
    [date.as_str(), signing.region, signing.service, "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()))
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // A key may have any length, so there is no failure to report.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that AWS publishes with its test suite.
    fn signed(mut request: Request<Bytes>) -> String {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let time = Timestamp::parse("2015-08-30T12:36:00Z").unwrap();
        let signing = Signing { service: "service", region: "us-east-1", time };
        sign(&mut request, &credentials, signing);
        let value = request.headers()[AUTHORIZATION].to_str().unwrap();
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn signatures_are_those_that_aws_publishes() {
        let request = |method: &str, path: &str| {
            let uri = format!("https://example.amazonaws.com{path}");
            Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap()
        };
        assert_eq!(
            signed(request("GET", "/")),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            signed(request("POST", "/")),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(
            signed(request("GET", "/?Param1=value1&Param2=value2")),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
    }
}
