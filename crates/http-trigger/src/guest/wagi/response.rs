//! What a program wrote, as a response.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Response, StatusCode};

/// What a client is told of output without the headers that CGI demands.
const NEITHER: &str = "Exactly one of 'location' or 'content-type' must be specified";

/// The response that `output` stands for; one with 500 or 502 if it is none.
pub(super) fn of_output(output: &Bytes) -> Response<Bytes> {
    if output.is_empty() {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "");
    }
    let (head, body) = split(output);
    let (headers, status) = headers(head);
    let status = match status {
        Some(text) => match parse_status(&text) {
            Some(status) => status,
            None => return error(StatusCode::BAD_GATEWAY, ""),
        },
        None if headers.contains_key(LOCATION) => StatusCode::FOUND,
        None if headers.contains_key(CONTENT_TYPE) => StatusCode::OK,
        None => return error(StatusCode::INTERNAL_SERVER_ERROR, NEITHER),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn error(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response
}

/// The head and what follows the first empty line.
fn split(output: &Bytes) -> (&[u8], Bytes) {
    let mut start = 0;
    for line in output.split_inclusive(|&byte| byte == b'\n') {
        let end = start + line.len();
        if matches!(line, b"\n" | b"\r\n") {
            return (output.get(..start).unwrap_or_default(), output.slice(end..));
        }
        start = end;
    }
    (output, Bytes::new())
}

/// The headers of a head, and its `Status`. Lines that are no header, and those
/// that are the server's to say, are left out.
fn headers(head: &[u8]) -> (HeaderMap, Option<String>) {
    let mut headers = HeaderMap::new();
    let mut status = None;
    for line in String::from_utf8_lossy(head).lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("status") {
            status = Some(value.to_owned());
            continue;
        }
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        else {
            continue;
        };
        if name != CONTENT_LENGTH && !wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(&name)
        {
            headers.append(name, value);
        }
    }
    (headers, status)
}

/// `404` or `404 Not Found`.
fn parse_status(text: &str) -> Option<StatusCode> {
    let code = text.split_whitespace().next()?;
    StatusCode::try_from(code).ok().filter(|status| !status.is_informational())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &str) -> Response<Bytes> {
        of_output(&Bytes::copy_from_slice(output.as_bytes()))
    }

    #[test]
    fn headers_and_body_are_told_apart() {
        for output in [
            "Content-Type: text/plain\nX-A: b\n\nbody\n\nmore",
            "content-type: text/plain\r\nx-a: b\r\n\r\nbody\n\nmore",
        ] {
            let response = of(output);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["content-type"], "text/plain");
            assert_eq!(response.headers()["x-a"], "b");
            assert_eq!(response.body(), "body\n\nmore");
        }
    }

    #[test]
    fn the_status_follows_from_the_headers() {
        for (output, status) in [
            ("Status: 404 Not Found\n\n", StatusCode::NOT_FOUND),
            ("Status: 201\nLocation: /x\n\n", StatusCode::CREATED),
            ("Location: /x\n\n", StatusCode::FOUND),
            ("Status: many\n\n", StatusCode::BAD_GATEWAY),
            ("X-A: b\n\nbody", StatusCode::INTERNAL_SERVER_ERROR),
            ("no header at all", StatusCode::INTERNAL_SERVER_ERROR),
            ("", StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            assert_eq!(of(output).status(), status, "{output:?}");
        }
        assert_eq!(of("x: y\n\n").body(), NEITHER);
    }

    #[test]
    fn the_length_and_the_connection_are_the_servers() {
        let response = of(
            "content-type: a/b\ncontent-length: 99\nconnection: close\nset-cookie: a\nset-cookie: b\n\n",
        );
        assert_eq!(response.headers().len(), 3);
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    }
}
