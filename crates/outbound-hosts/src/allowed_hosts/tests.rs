use super::*;

fn hosts(entries: &[&str]) -> AllowedHosts {
    AllowedHosts::parse(entries, &["one", "two"]).unwrap()
}

fn allows(entry: &str, url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !rest.ends_with(']') => {
            (host, port.parse().ok())
        }
        _ => (rest, None),
    };
    hosts(&[entry]).check(Destination { scheme, host, port }).is_some()
}

#[test]
fn entries_match_scheme_host_and_port() {
    let table = [
        ("http://a.test", "http://a.test", true),
        ("http://a.test", "http://a.test:80", true),
        ("http://a.test", "http://a.test:81", false),
        ("http://a.test", "https://a.test", false),
        ("http://a.test/", "http://a.test", true),
        ("https://a.test", "https://a.test:443", true),
        ("http://A.Test", "http://a.test", true),
        ("http://a.test", "http://b.a.test", false),
        ("*://a.test:80", "http://a.test", true),
        ("*://a.test:80", "https://a.test", false),
        ("*://*:*", "anything://at.all:1", true),
        ("*://*:*", "anything://at.all", true),
        ("http://*", "http://x.test", true),
        ("http://*", "http://x.test:8080", false),
        ("http://*:*", "http://x.test:8080", true),
        ("http://*.a.test", "http://b.a.test", true),
        ("http://*.a.test", "http://c.b.a.test", true),
        ("http://*.a.test", "http://a.test", false),
        ("http://*.a.test", "http://ba.test", false),
        ("http://*.A.test", "http://b.a.test", true),
        ("http://a.test:8000..8002", "http://a.test:8000", true),
        ("http://a.test:8000..8002", "http://a.test:8001", true),
        ("http://a.test:8000..8002", "http://a.test:8002", false),
        ("redis://a.test", "redis://a.test:6379", true),
        ("redis://a.test", "rediss://a.test:6379", false),
        ("rediss://a.test:6379", "rediss://a.test:6379", true),
        ("rediss://a.test:6379", "rediss://a.test", false),
        ("rediss://a.test:*", "rediss://a.test", true),
        ("postgres://db", "postgres://db", true),
        ("mysql://db", "mysql://db:3306", true),
        ("mqtt://db", "mqtt://db:1883", true),
        ("tcp://127.0.0.0/8:7", "tcp://127.1.2.3:7", true),
        ("tcp://127.0.0.0/8:7", "tcp://128.1.2.3:7", false),
        ("http://10.1.2.3/8", "http://10.200.0.1", true),
        ("http://127.0.0.1", "http://127.0.0.1", true),
        ("http://127.0.0.1", "http://[::ffff:127.0.0.1]", true),
        ("http://[::1]", "http://[::1]", true),
        ("http://[::1]:8080", "http://[::1]:8080", true),
        ("http://[::1]:8080", "http://[::1]", false),
        ("http://fd00::/8", "http://[fd12::1]", true),
        ("http://[fd00::]/8:99", "http://[fd12::1]:99", true),
        ("http://self", "http://one.spin.internal", false),
        ("http://one.spin.internal", "http://one.spin.internal", true),
        ("http://*.spin.internal", "http://two.spin.internal", true),
        ("http://*.spin.internal", "http://three.spin.internal", false),
        ("http://*:*", "http://one.spin.internal", true),
    ];
    for (entry, url, expected) in table {
        assert_eq!(allows(entry, url), expected, "{entry} and {url}");
    }
}

#[test]
fn malformed_entries_are_refused_with_a_reason() {
    let table = [
        ("a.test", "form"),
        ("insecure:allow-all", "*://*:*"),
        ("ht-tp://a.test", "scheme"),
        ("://a.test", "scheme"),
        ("http://a.test/path", "path"),
        ("http://a.test/path/", "path"),
        ("http://{a,b}.test", "braces"),
        ("http://*a.test", "host"),
        ("http://a.*.test", "host"),
        ("http://*.*.test", "host"),
        ("http://10.0.0.0/99", "host"),
        ("http://:80", "host"),
        ("http://a.test:eighty", "port"),
        ("http://a.test:2..1", "port"),
        ("http://a.test:1..1", "port"),
        ("http://a.test:70000", "port"),
        ("*://a.test", "needs a port"),
        ("tcp://a.test", "needs a port"),
        ("http://user@a.test", "host"),
        ("http://[::1", "host"),
    ];
    for (entry, expected) in table {
        let errors = AllowedHosts::parse(&[entry], &[]).unwrap_err();
        let text = errors[0].to_string();
        assert!(text.contains(expected) && text.contains(entry), "{text}");
    }
}

#[test]
fn all_bad_entries_are_reported_at_once() {
    assert_eq!(AllowedHosts::parse(&["a", "http://b", "c"], &[]).unwrap_err().len(), 2);
}

#[test]
fn an_empty_list_denies_everything() {
    let none = hosts(&[]);
    assert!(none.is_empty());
    assert!(none.check(Destination { scheme: "http", host: "a", port: None }).is_none());
    assert!(!none.allows_self("http"));
}

#[test]
fn entries_that_resolved_to_nothing_are_skipped() {
    assert!(hosts(&["", "http://", "https://"]).is_empty());
}

#[test]
fn self_requests_need_self_or_a_wildcard() {
    assert!(hosts(&["http://self"]).allows_self("http"));
    assert!(hosts(&["http://self.alt"]).allows_self("http"));
    assert!(hosts(&["*://self:80"]).allows_self("https"));
    assert!(hosts(&["*://*:*"]).allows_self("http"));
    assert!(!hosts(&["https://self"]).allows_self("http"));
    assert!(!hosts(&["http://a.test"]).allows_self("http"));
}

#[test]
fn a_grant_says_whether_the_address_itself_was_named() {
    let metadata = Destination { scheme: "http", host: "169.254.169.254", port: None };
    let named = |entries: &[&str]| hosts(entries).check(metadata).map(|grant| grant.names_address);
    assert_eq!(named(&["http://*"]), Some(false));
    assert_eq!(named(&["http://*", "http://169.254.169.254"]), Some(true));
    assert_eq!(named(&["http://169.254.0.0/16"]), Some(true));
}
