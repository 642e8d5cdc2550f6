//! A request as environment variables.

use http::request::Parts;
use percent_encoding::percent_decode_str;

/// What a request says, as CGI and Spin name it. `length` is that of its body.
pub(super) fn of_request(parts: &Parts, length: usize) -> Vec<(String, String)> {
    let spin = |name: &str| header(parts, name);
    let client = spin("spin-client-addr");
    let client_host = client.rsplit_once(':').map_or(client.as_str(), |(host, _)| host);
    let client_host = client_host.trim_matches(['[', ']']).to_owned();
    let raw_path_info = spin("spin-path-info");
    let path_info = percent_decode_str(&raw_path_info).decode_utf8_lossy().into_owned();
    let uri = &parts.uri;
    let mut variables = vec![
        ("AUTH_TYPE", String::new()),
        ("CONTENT_LENGTH", length.to_string()),
        ("CONTENT_TYPE", header(parts, "content-type")),
        ("X_FULL_URL", spin("spin-full-url")),
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("X_MATCHED_ROUTE", spin("spin-matched-route")),
        ("QUERY_STRING", uri.query().unwrap_or_default().to_owned()),
        ("REMOTE_ADDR", client_host.clone()),
        ("REMOTE_HOST", client_host),
        ("REMOTE_USER", String::new()),
        ("REQUEST_METHOD", parts.method.to_string()),
        ("SCRIPT_NAME", script_name(parts)),
        ("X_RAW_PATH_INFO", raw_path_info),
        ("PATH_INFO", path_info.clone()),
        ("PATH_TRANSLATED", path_info),
        ("SERVER_NAME", uri.host().unwrap_or("localhost").to_owned()),
        ("SERVER_PORT", uri.port_u16().unwrap_or(80).to_string()),
        ("SERVER_PROTOCOL", format!("{:?}", parts.version)),
        ("SERVER_SOFTWARE", "WAGI/1".to_owned()),
        ("X_BASE_PATH", spin("spin-base-path")),
        ("X_RAW_COMPONENT_ROUTE", spin("spin-raw-component-route")),
        ("X_COMPONENT_ROUTE", spin("spin-component-route")),
        ("X_CLIENT_ADDR", client),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect::<Vec<_>>();
    variables.extend(headers(parts));
    variables
}

/// What the route says before its wildcard.
pub(super) fn script_name(parts: &Parts) -> String {
    let route = header(parts, "spin-matched-route");
    let name = route.strip_suffix("/...").unwrap_or(&route);
    if name.is_empty() { "/".to_owned() } else { name.to_owned() }
}

/// The headers of the client, and the parameters of the route.
fn headers(parts: &Parts) -> impl Iterator<Item = (String, String)> + '_ {
    parts.headers.keys().filter_map(|name| {
        let upper = name.as_str().to_ascii_uppercase().replace('-', "_");
        let variable = if let Some(parameter) = upper.strip_prefix("SPIN_PATH_MATCH_") {
            format!("X_PATH_MATCH_{parameter}")
        } else if upper.starts_with("SPIN_") || upper == "AUTHORIZATION" || upper == "CONNECTION" {
            return None;
        } else {
            format!("HTTP_{upper}")
        };
        Some((variable, header(parts, name.as_str())))
    })
}

/// The values of a header, as one text.
fn header(parts: &Parts, name: &str) -> String {
    let values = parts.headers.get_all(name).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_request_becomes_variables() {
        let request = http::Request::post("http://a.test:81/base/x%20y?q=1")
            .header("content-type", "text/plain")
            .header("authorization", "secret")
            .header("x-one", "1")
            .header("x-one", "2")
            .header("spin-path-info", "/x%20y")
            .header("spin-matched-route", "/base/...")
            .header("spin-client-addr", "[::1]:5000")
            .header("spin-path-match-user-id", "7");
        let parts = request.body(()).unwrap().into_parts().0;
        let variables: BTreeMap<String, String> = of_request(&parts, 5).into_iter().collect();
        for (name, value) in [
            ("CONTENT_LENGTH", "5"),
            ("CONTENT_TYPE", "text/plain"),
            ("QUERY_STRING", "q=1"),
            ("REMOTE_ADDR", "::1"),
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", "/base"),
            ("X_RAW_PATH_INFO", "/x%20y"),
            ("PATH_INFO", "/x y"),
            ("SERVER_NAME", "a.test"),
            ("SERVER_PORT", "81"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("X_CLIENT_ADDR", "[::1]:5000"),
            ("X_PATH_MATCH_USER_ID", "7"),
            ("HTTP_X_ONE", "1, 2"),
        ] {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        let secret = variables.values().any(|value| value == "secret");
        assert!(!secret && !variables.contains_key("HTTP_SPIN_PATH_INFO"), "{variables:?}");
    }
}
