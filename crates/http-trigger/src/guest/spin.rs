//! Calling `fermyon:spin/inbound-http`: bodies whole, headers as text.

use std::sync::Arc;

use bytes::Bytes;
use host::spin_http::MAX_BUFFERED_BODY;
use host::spin_http::bindings::HandlerPre;
use host::spin_http::bindings::fermyon::spin::http_types::{Method, Request, Response};
use host::{ComponentContext, InstanceState, Program};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use telemetry::Measured;
use wasmtime_wasi_http::WasiBody;

use super::{GuestError, Origin};

/// Has a new instance handle `request`.
pub(super) async fn handle(
    context: &Arc<ComponentContext>,
    pre: &HandlerPre<InstanceState>,
    request: http::Request<WasiBody>,
    origin: &Origin,
) -> Result<http::Response<WasiBody>, GuestError> {
    let request = incoming(request).await?;
    let mut store = origin.store(context, Program::default());
    let told = store.data().told().cloned();
    let instance = match Measured::new(told.clone(), pre.instantiate_async(&mut store)).await {
        Ok(instance) => instance,
        Err(error) => return Err(GuestError::instantiation(error, &store)),
    };
    store.data().made();
    let called = instance.fermyon_spin_inbound_http().call_handle_request(&mut store, &request);
    let called = Measured::new(told, called).await;
    outgoing(called.map_err(|error| GuestError::trap(error, &store))?)
}

async fn incoming(request: http::Request<WasiBody>) -> Result<Request, GuestError> {
    let (parts, body) = request.into_parts();
    let method = method(&parts.method).ok_or(GuestError::Request(
        "its interface does not know this method",
        StatusCode::METHOD_NOT_ALLOWED,
    ))?;
    // All of them are text, or the request would not have come here.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
    let headers = headers.collect();
    let body = whole(body).await?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Request {
        method,
        uri: path.to_owned(),
        headers,
        params: Vec::new(),
        body: Some(body.into()),
    })
}

/// The whole body of a request.
pub(super) async fn whole(body: WasiBody) -> Result<Bytes, GuestError> {
    let collected = Limited::new(body, MAX_BUFFERED_BODY).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            GuestError::Request("its body is too long", StatusCode::PAYLOAD_TOO_LARGE)
        } else {
            GuestError::Request("its body broke off", StatusCode::BAD_REQUEST)
        }
    })?;
    Ok(collected.to_bytes())
}

fn method(method: &http::Method) -> Option<Method> {
    Some(match *method {
        http::Method::GET => Method::Get,
        http::Method::POST => Method::Post,
        http::Method::PUT => Method::Put,
        http::Method::DELETE => Method::Delete,
        http::Method::PATCH => Method::Patch,
        http::Method::HEAD => Method::Head,
        http::Method::OPTIONS => Method::Options,
        _ => return None,
    })
}

/// The response as HTTP. Of headers with the same name the last one counts, as
/// Spin has it for this interface; those that HTTP does not allow are left out.
fn outgoing(response: Response) -> Result<http::Response<WasiBody>, GuestError> {
    let status = StatusCode::from_u16(response.status)
        .ok()
        .filter(|status| !status.is_informational() && status.as_u16() <= 600)
        .ok_or(GuestError::Status(response.status))?;
    let body = Full::new(Bytes::from(response.body.unwrap_or_default()));
    let mut outgoing = http::Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *outgoing.status_mut() = status;
    for (name, value) in response.headers.unwrap_or_default() {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            continue;
        };
        // The length and the connection are the server's.
        if name != http::header::CONTENT_LENGTH
            && !wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(&name)
        {
            outgoing.headers_mut().insert(name, value);
        }
    }
    Ok(outgoing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)]) -> Response {
        Response {
            status,
            headers: Some(
                headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ),
            body: None,
        }
    }

    #[test]
    fn of_headers_with_one_name_the_last_counts() {
        let out = outgoing(response(
            200,
            &[("Set-Cookie", "a"), ("set-cookie", "b"), ("bad name", "x"), ("connection", "close")],
        ))
        .unwrap();
        assert_eq!(out.headers().len(), 1);
        assert_eq!(out.headers()["set-cookie"], "b");
    }

    #[test]
    fn a_status_that_is_none_is_an_error() {
        for status in [0, 99, 101, 601, 1000] {
            assert!(outgoing(response(status, &[])).is_err(), "{status}");
        }
        assert!(outgoing(response(600, &[])).is_ok());
    }
}
