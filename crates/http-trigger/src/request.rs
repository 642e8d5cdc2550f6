//! What is done to a request before a guest sees it.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use outbound_hosts::CHAINING_SUFFIX;

use crate::routes::RouteMatch;

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");
const PATH_MATCH_PREFIX: &str = "spin-path-match-";

/// How a request came to its component.
pub(crate) struct Matched<'a> {
    path_info: Cow<'a, str>,
    based: &'a str,
    raw: &'a str,
    prefix: &'a str,
    params: &'a [(&'a str, &'a str)],
    client: SocketAddr,
}

impl<'a> Matched<'a> {
    /// By a route, from `client`.
    pub(crate) fn by_route<T>(found: &'a RouteMatch<'a, T>, client: SocketAddr) -> Self {
        Self {
            path_info: found.trailing_wildcard(),
            based: found.route.based(),
            raw: found.route.raw(),
            prefix: found.route.raw_prefix(),
            params: &found.params,
            client,
        }
    }

    /// By its component's name, from another component.
    pub(crate) fn by_name(path: &'a str) -> Self {
        Self {
            path_info: path.into(),
            based: "/...",
            raw: "/...",
            prefix: "",
            params: &[],
            client: internal_client(),
        }
    }
}

/// The client address of requests from inside the app.
pub(crate) fn internal_client() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 0).into()
}

/// A request that does not say whom it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostHeaderError {
    #[error("the request has neither a host nor an authority")]
    Missing,
    #[error("the request has several hosts, or one that is none")]
    Malformed,
    #[error("the request's host and its authority differ")]
    Differ,
}

/// The authority a request from outside is for, from its URL and `Host`; makes
/// its URL absolute.
///
/// # Errors
///
/// No, several or contradicting hosts. Names inside the app do not count: only
/// components use them.
pub(crate) fn make_absolute(parts: &mut Parts) -> Result<(), HostHeaderError> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().cloned();
    if hosts.next().is_some() {
        return Err(HostHeaderError::Malformed);
    }
    let host: Option<Authority> = host
        .map(|host| Authority::try_from(host.as_bytes()))
        .transpose()
        .map_err(|_| HostHeaderError::Malformed)?;
    let host = host.filter(|host| {
        let internal = host.host().to_ascii_lowercase().ends_with(CHAINING_SUFFIX);
        if internal {
            parts.headers.remove(HOST);
        }
        !internal
    });
    let authority = match (host, parts.uri.authority()) {
        (Some(host), Some(authority)) if !same_authority(&host, authority) => {
            return Err(HostHeaderError::Differ);
        }
        (Some(host), _) => host,
        (None, Some(authority)) => authority.clone(),
        (None, None) => return Err(HostHeaderError::Missing),
    };
    if authority.as_str().contains('@') {
        return Err(HostHeaderError::Malformed);
    }
    let path = parts.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_| HostHeaderError::Malformed)?;
    Ok(())
}

fn same_authority(one: &Authority, other: &Authority) -> bool {
    // An absent port is the default one of `http`.
    one.host().eq_ignore_ascii_case(other.host())
        && one.port_u16().unwrap_or(80) == other.port_u16().unwrap_or(80)
}

/// Makes the URL of a request of the app to itself one of where it listens, which is
/// what guests see of such requests.
pub(crate) fn send_to(parts: &mut Parts, address: SocketAddr) {
    let path = parts.uri.path_and_query().cloned();
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(address.to_string())
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = uri.build() {
        parts.uri = uri;
    }
}

/// Whether all headers are text. Spin answers any other request with 500, also where
/// the interface of the guest would have bytes.
pub(crate) fn is_text(headers: &HeaderMap) -> bool {
    headers.values().all(|value| std::str::from_utf8(value.as_bytes()).is_ok())
}

/// Adds the `spin-*` headers. What a client sent under these names is removed:
/// guests trust them.
pub(crate) fn describe(parts: &mut Parts, matched: &Matched<'_>, base: &str) {
    let forged: Vec<HeaderName> = parts
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with(PATH_MATCH_PREFIX))
        .cloned()
        .collect();
    for name in forged {
        parts.headers.remove(name);
    }
    let authority = parts.uri.authority().map_or("localhost", Authority::as_str);
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let full_url = format!("http://{authority}{path}");
    let headers = &mut parts.headers;
    set(headers, PATH_INFO, &matched.path_info);
    set(headers, FULL_URL, full_url);
    set(headers, MATCHED_ROUTE, matched.based);
    set(headers, BASE_PATH, base);
    set(headers, RAW_COMPONENT_ROUTE, matched.raw);
    set(headers, COMPONENT_ROUTE, matched.prefix);
    set(headers, CLIENT_ADDR, matched.client);
    for (name, value) in matched.params {
        let name = name.to_ascii_lowercase().replace('_', "-");
        if let Ok(name) = HeaderName::try_from(format!("{PATH_MATCH_PREFIX}{name}")) {
            set(headers, name, value);
        }
    }
}

/// Sets a header; a text that HTTP does not allow leaves it out.
fn set(headers: &mut HeaderMap, name: HeaderName, value: impl Display) {
    match HeaderValue::try_from(value.to_string()) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::routes::Routes;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn absolute(uri: &str, headers: &[(&str, &str)]) -> Result<String, HostHeaderError> {
        let mut parts = parts(uri, headers);
        make_absolute(&mut parts).map(|()| parts.uri.to_string())
    }

    #[test]
    fn the_url_becomes_absolute() {
        let host = [("host", "a.test:8080")];
        assert_eq!(absolute("/x?y", &host).unwrap(), "http://a.test:8080/x?y");
        assert_eq!(absolute("http://a.test/x", &[]).unwrap(), "http://a.test/x");
        assert_eq!(absolute("https://A.test:8080/x", &host).unwrap(), "http://a.test:8080/x");
        assert_eq!(absolute("*", &host).unwrap(), "http://a.test:8080*");
    }

    #[test]
    fn missing_doubled_and_contradicting_hosts_are_refused() {
        for (uri, headers, expected) in [
            ("/", &[][..], HostHeaderError::Missing),
            ("/", &[("host", "")], HostHeaderError::Malformed),
            ("/", &[("host", "a b")], HostHeaderError::Malformed),
            ("/", &[("host", "u@a.test")], HostHeaderError::Malformed),
            ("/", &[("host", "a.test"), ("host", "a.test")], HostHeaderError::Malformed),
            ("http://b.test/", &[("host", "a.test")], HostHeaderError::Differ),
            ("http://a.test:81/", &[("host", "a.test")], HostHeaderError::Differ),
            ("/", &[("host", "one.spin.internal")], HostHeaderError::Missing),
            ("/", &[("host", "One.Spin.Internal:80")], HostHeaderError::Missing),
        ] {
            assert_eq!(absolute(uri, headers).unwrap_err(), expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn the_request_is_described_as_spin_does() {
        let routes = Routes::new("/", [("/base/:path_segment/:END/...".to_owned(), ())]).unwrap().0;
        let mut parts = parts(
            "/base/path/end/rest?key=value",
            &[
                ("host", "example.com"),
                ("spin-path-info", "forged"),
                ("spin-path-match-admin", "forged"),
                ("spin-other", "kept"),
            ],
        );
        make_absolute(&mut parts).unwrap();
        let path = parts.uri.path().to_owned();
        let found = routes.find(&path).unwrap();
        let client = "127.0.0.1:9".parse().unwrap();
        describe(&mut parts, &Matched::by_route(&found, client), "/");
        let mut seen: Vec<(&str, &str)> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .filter(|(name, _)| name.starts_with("spin-"))
            .collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            [
                ("spin-base-path", "/"),
                ("spin-client-addr", "127.0.0.1:9"),
                ("spin-component-route", "/base/:path_segment/:END"),
                ("spin-full-url", "http://example.com/base/path/end/rest?key=value"),
                ("spin-matched-route", "/base/:path_segment/:END/..."),
                ("spin-other", "kept"),
                ("spin-path-info", "/rest"),
                ("spin-path-match-end", "end"),
                ("spin-path-match-path-segment", "path"),
                ("spin-raw-component-route", "/base/:path_segment/:END/..."),
            ]
        );
    }

    #[test]
    fn a_request_of_the_app_to_itself_is_for_where_it_listens() {
        for (uri, expected) in [
            ("http://self.alt/a/b?c", "http://127.0.0.1:3000/a/b?c"),
            ("https://self.alt", "http://127.0.0.1:3000/"),
            ("http://:80/a", "http://127.0.0.1:3000/a"),
        ] {
            let mut parts = parts(uri, &[]);
            send_to(&mut parts, "127.0.0.1:3000".parse().unwrap());
            assert_eq!(parts.uri.to_string(), expected);
        }
    }

    #[test]
    fn headers_are_text_when_they_are_utf_8() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_bytes("ä".as_bytes()).unwrap());
        assert!(is_text(&headers));
        headers.insert("x-b", HeaderValue::from_bytes(b"\xe4").unwrap());
        assert!(!is_text(&headers));
    }

    #[test]
    fn a_chained_request_matches_everything() {
        let mut parts = parts("http://two.spin.internal/a/b", &[]);
        let path = parts.uri.path().to_owned();
        describe(&mut parts, &Matched::by_name(&path), "/");
        assert_eq!(parts.headers["spin-path-info"], "/a/b");
        assert_eq!(parts.headers["spin-matched-route"], "/...");
        assert_eq!(parts.headers["spin-component-route"], "");
        assert_eq!(parts.headers["spin-client-addr"], "0.0.0.0:0");
    }
}
