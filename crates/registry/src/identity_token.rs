//! Exchanging an identity token (an OAuth2 refresh token, as `docker login`
//! stores it for some registries) for an access token, following the registry
//! token specification's `POST` form.

use http::StatusCode;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http_auth::parser::ChallengeParser;
use oci_client::RegistryOperation;
use serde::Deserialize;

use crate::endpoint::Endpoint;
use crate::error::{Context, RegistryError};
use crate::{Options, Password};

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    token: Option<String>,
}

/// Where the registry wants tokens to be fetched.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: String,
}

/// Fetches an access token for one repository; none when the registry asks for
/// no token at all.
pub(crate) async fn exchange(
    endpoint: &Endpoint,
    options: &Options,
    context: &Context,
    token: &Password,
    operation: RegistryOperation,
) -> Result<Option<String>, RegistryError> {
    let client = crate::session::http_client(endpoint, options)?;
    let scheme = if endpoint.plain_http { "http" } else { "https" };
    let answer = client
        .get(format!("{scheme}://{}/v2/", endpoint.authority))
        .send()
        .await
        .map_err(|error| context.broken(&error))?;
    let Some(header) = answer.headers().get(WWW_AUTHENTICATE) else {
        return Ok(None);
    };
    let challenge = header.to_str().ok().and_then(challenge);
    let challenge = challenge
        .ok_or_else(|| context.protocol("it asks for no bearer token but one is stored for it"))?;
    // The token is worth a password: it is not sent in the clear where the
    // registry itself is reached over TLS.
    if !endpoint.plain_http && !challenge.realm.starts_with("https://") {
        return Err(context.protocol("its token service does not use TLS"));
    }
    let actions = match operation {
        RegistryOperation::Pull => "pull",
        RegistryOperation::Push => "pull,push",
    };
    let form = form(&[
        ("grant_type", "refresh_token"),
        ("service", &challenge.service),
        ("client_id", "spinlet"),
        ("scope", &format!("repository:{}:{actions}", endpoint.reference.repository())),
        ("refresh_token", token.reveal()),
    ]);
    let answer = client
        .post(&challenge.realm)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .map_err(|error| context.broken(&error))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| context.broken(&error))?;
    if status == StatusCode::BAD_REQUEST {
        return Err(context.denied());
    }
    if !status.is_success() {
        return Err(context.status(status.as_u16(), &body));
    }
    let answer: TokenAnswer = serde_json::from_str(&body)
        .map_err(|_| context.protocol("its token service did not answer with JSON"))?;
    answer
        .access_token
        .or(answer.token)
        .map(Some)
        .ok_or_else(|| context.protocol("its token service gave no token"))
}

fn challenge(header: &str) -> Option<Challenge> {
    let challenge = ChallengeParser::new(header)
        .filter_map(Result::ok)
        .find(|challenge| challenge.scheme.eq_ignore_ascii_case("Bearer"))?;
    let parameter = |name: &str| {
        let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    Some(Challenge {
        realm: parameter("realm")?,
        service: parameter("service").unwrap_or_default(),
    })
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realm_and_service_are_read_from_the_challenge() {
        let header = r#"Bearer realm="https://x.azurecr.io/oauth2/token",service="x.azurecr.io""#;
        assert_eq!(
            challenge(header),
            Some(Challenge {
                realm: "https://x.azurecr.io/oauth2/token".into(),
                service: "x.azurecr.io".into()
            })
        );
        assert_eq!(challenge(r#"Basic realm="registry""#), None);
    }
}
