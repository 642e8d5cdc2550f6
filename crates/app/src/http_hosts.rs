//! The deprecated `allowed_http_hosts`, turned into `allowed_outbound_hosts`.

use url::Url;

use crate::Problems;

/// The entry that once allowed every host.
const ALLOW_ALL: &str = "insecure:allow-all";

/// What a version 1 manifest without `allowed_outbound_hosts` grants besides its
/// `allowed_http_hosts`: databases were not restricted when it was written.
pub const DATABASE_GRANTS: [&str; 3] = ["redis://*:*", "mysql://*:*", "postgres://*:*"];

/// The entries for `allowed_outbound_hosts` that grant what `hosts`, a list in
/// the form of `allowed_http_hosts`, grants.
///
/// An item is `host[:port]` or `http(s)://host[:port]` and grants both schemes;
/// `self` grants requests to the app itself; `insecure:allow-all` grants every
/// HTTP host.
///
/// # Errors
///
/// Every item of another form.
pub fn to_outbound_hosts(hosts: &[String]) -> Result<Vec<String>, Problems> {
    if hosts.iter().any(|host| host == ALLOW_ALL) {
        return Ok(["http://*:*", "https://*:*", "http://self"].map(str::to_owned).to_vec());
    }
    let mut converted = Vec::new();
    let mut problems = Problems::default();
    for host in hosts {
        match authority(host) {
            Ok(authority) if authority == "self" => converted.push("http://self".to_owned()),
            Ok(authority) => {
                converted.push(format!("http://{authority}"));
                converted.push(format!("https://{authority}"));
            }
            Err(reason) => {
                problems.push(format!("allowed_http_hosts entry {host:?} {reason}"));
            }
        }
    }
    problems.into_result(converted)
}

/// `host[:port]` of one item.
fn authority(item: &str) -> Result<String, &'static str> {
    const FORM: &str = "must be `host`, `host:port` or an http(s) URL without a path";
    // `localhost:3001` alone would parse as a URL with the scheme `localhost`.
    let url =
        if item.contains("//") { Url::parse(item) } else { Url::parse(&format!("http://{item}")) };
    let url = url.map_err(|_| FORM)?;
    if !matches!(url.scheme(), "http" | "https")
        || url.path().len() > 1
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(FORM);
    }
    let host = url.host_str().ok_or(FORM)?;
    Ok(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(items: &[&str]) -> Result<Vec<String>, Problems> {
        to_outbound_hosts(&items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_host_grants_both_schemes() {
        assert_eq!(
            convert(&["example.com", "https://a.test:4444/", "localhost:3001", "[::1]"]).unwrap(),
            [
                "http://example.com",
                "https://example.com",
                "http://a.test:4444",
                "https://a.test:4444",
                "http://localhost:3001",
                "https://localhost:3001",
                "http://[::1]",
                "https://[::1]",
            ]
        );
    }

    #[test]
    fn self_and_allow_all_are_special() {
        assert_eq!(convert(&["self"]).unwrap(), ["http://self"]);
        assert_eq!(
            convert(&["example.com", "insecure:allow-all"]).unwrap(),
            ["http://*:*", "https://*:*", "http://self"]
        );
        assert!(convert(&[]).unwrap().is_empty());
    }

    #[test]
    fn every_bad_entry_is_reported() {
        let problems = convert(&["ftp://a", "http://a/b", "a?x", "ok.test", ""]).unwrap_err();
        assert_eq!(problems.iter().count(), 4, "{problems}");
    }
}
