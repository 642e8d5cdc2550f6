//! `fermyon:spin/http`: outbound HTTP of guests built for Spin 1, bodies whole.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};
use http_body_util::{BodyExt, Full, Limited};
use outbound_hosts::SELF_HOST;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::InstanceState;

/// Types of `fermyon:spin/http-types` and their users.
pub mod bindings {
    #![expect(missing_docs, reason = "generated; the interface is Spin's")]

    wasmtime::component::bindgen!({
        inline: r#"
            package fermyon:spin;

            interface http-types {
                type http-status = u16;
                type body = list<u8>;
                type headers = list<tuple<string, string>>;
                type params = list<tuple<string, string>>;
                type uri = string;
                enum method { get, post, put, delete, patch, head, options }
                record request {
                    method: method,
                    uri: uri,
                    headers: headers,
                    params: params,
                    body: option<body>,
                }
                record response {
                    status: http-status,
                    headers: option<headers>,
                    body: option<body>,
                }
                enum http-error {
                    success,
                    destination-not-allowed,
                    invalid-url,
                    request-error,
                    runtime-error,
                    too-many-requests,
                }
            }

            interface http {
                use http-types.{http-error, request, response};
                send-request: func(req: request) -> result<response, http-error>;
            }

            interface inbound-http {
                use http-types.{request, response};
                handle-request: func(req: request) -> response;
            }

            world handler {
                import http;
                export inbound-http;
            }
        "#,
        imports: { default: async },
        exports: { default: async },
        require_store_data_send: true,
    });
}

use bindings::fermyon::spin::{http as outbound, http_types};

pub(crate) const PROVIDES: &[&str] = &["fermyon:spin/http", "fermyon:spin/http-types"];

/// Bytes of a body that is handed to a guest whole.
pub const MAX_BUFFERED_BODY: usize = 128 * 1024 * 1024;

pub(crate) fn link(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    http_types::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut InstanceState| state)?;
    outbound::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut InstanceState| state)
}

impl http_types::Host for InstanceState {}

impl outbound::Host for InstanceState {
    async fn send_request(
        &mut self,
        request: http_types::Request,
    ) -> Result<http_types::Response, http_types::HttpError> {
        let request = outgoing(request)?;
        let response = self
            .outbound
            .send(request, RequestOptions::default(), "spin")
            .await
            .map_err(|error| code(&error))?;
        incoming(response).await
    }
}

fn code(error: &Error) -> http_types::HttpError {
    match error {
        Error::HttpRequestDenied | Error::DestinationIpProhibited => {
            http_types::HttpError::DestinationNotAllowed
        }
        Error::HttpRequestUriInvalid => http_types::HttpError::InvalidUrl,
        Error::ConnectionLimitReached => http_types::HttpError::TooManyRequests,
        Error::ConfigurationError | Error::InternalError(_) => http_types::HttpError::RuntimeError,
        _ => http_types::HttpError::RequestError,
    }
}

fn outgoing(
    request: http_types::Request,
) -> Result<http::Request<WasiBody>, http_types::HttpError> {
    let invalid = |_| http_types::HttpError::InvalidUrl;
    let uri: Uri = if request.uri.starts_with('/') {
        format!("http://{SELF_HOST}{}", request.uri).parse().map_err(invalid)?
    } else {
        request.uri.parse().map_err(invalid)?
    };
    if uri.authority().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(http_types::HttpError::InvalidUrl);
    }
    let body = Full::new(Bytes::from(request.body.unwrap_or_default()));
    let mut outgoing = http::Request::new(body.map_err(|never| match never {}).boxed_unsync());
    *outgoing.method_mut() = match request.method {
        http_types::Method::Get => http::Method::GET,
        http_types::Method::Post => http::Method::POST,
        http_types::Method::Put => http::Method::PUT,
        http_types::Method::Delete => http::Method::DELETE,
        http_types::Method::Patch => http::Method::PATCH,
        http_types::Method::Head => http::Method::HEAD,
        http_types::Method::Options => http::Method::OPTIONS,
    };
    *outgoing.uri_mut() = uri;
    for (name, value) in request.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            return Err(http_types::HttpError::RequestError);
        };
        // Length and destination are the host's to say.
        if name != http::header::CONTENT_LENGTH
            && !wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(&name)
        {
            outgoing.headers_mut().append(name, value);
        }
    }
    Ok(outgoing)
}

async fn incoming(
    response: http::Response<WasiBody>,
) -> Result<http_types::Response, http_types::HttpError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_BUFFERED_BODY)
        .collect()
        .await
        .map_err(|_| http_types::HttpError::RequestError)?
        .to_bytes();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    Ok(http_types::Response {
        status: parts.status.as_u16(),
        headers: Some(headers),
        body: Some(body.into()),
    })
}
