use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use app::Digest;
use app::manifest::{DependencySource, Manifest};

use super::*;

const WASM: &[u8] = b"\0asm\x01\0\0\0";

/// What a server has, by path: the head of an answer, and its body.
type Answers = BTreeMap<String, (String, Vec<u8>)>;

/// A server, and what it was asked for.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, answers: Arc::default(), requests: Arc::default() };
        let shared = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                let path = first.split(' ').nth(1).unwrap().to_owned();
                let head: Vec<String> =
                    lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                let authorized = head.iter().any(|line| line == "authorization: Bearer t0ken");
                shared.requests.lock().unwrap().push(format!("{path} {authorized}"));
                let answers = shared.answers.lock().unwrap();
                let answer = answers.get(&format!("{path} {authorized}")).or(answers.get(&path));
                let (status, body) = match answer {
                    Some((status, body)) => (status.as_str(), body.as_slice()),
                    None => ("404 Not Found", &b""[..]),
                };
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
                );
                stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
            }
        });
        server
    }

    fn has(&self, path: &str, status: &str, body: impl AsRef<[u8]>) {
        let answer = (status.to_owned(), body.as_ref().to_vec());
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A package in a repository.
    fn has_package(&self, repository: &str, version: &str, wasm: &[u8], media_type: &str) {
        let digest = Digest::of(wasm);
        self.has(&format!("/v2/{repository}/blobs/{digest}"), "200 OK", wasm);
        let manifest = format!(
            r#"{{"schemaVersion":2,
                "config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{digest}","size":1}},
                "layers":[{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}]}}"#,
            wasm.len()
        );
        self.has(&format!("/v2/{repository}/manifests/{version}"), "200 OK", manifest);
    }

    fn package(&self, version: &str) -> Result<Digest, String> {
        fetched(&format!(
            r#"{{ registry = "{}", package = "shop:cart", version = "{version}" }}"#,
            self.address
        ))
    }
}

/// The digest of what a dependency is.
fn fetched(source: &str) -> Result<Digest, String> {
    let text = format!(
        "spin_manifest_version = 2\n[application]\nname = \"x\"\n[trigger]\n\
         [component.a]\nsource = \"a.wasm\"\ndependencies = {{ \"a:b\" = {source} }}"
    );
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    let DependencySource::Wasm(source) = &manifest.components["a"].dependencies["a:b"].source
    else {
        panic!("{manifest:?}")
    };
    fetch(source).map(|blob| blob.digest()).map_err(|error| error.to_string())
}

#[test]
fn wasm_is_fetched_and_is_what_was_promised() {
    let server = Server::start();
    server.has("/there", "200 OK", WASM);
    server.has("/moved", "302 Found\r\nlocation: /there", "");
    server.has("/round", "307 Temporary Redirect\r\nlocation: /round", "");
    let digest = Digest::of(WASM);
    let of = |url: &str, digest: Digest| {
        fetched(&format!(r#"{{ url = "{url}", digest = "{digest}" }}"#))
    };
    for path in ["/there", "/moved"] {
        assert_eq!(of(&server.url(path), digest).unwrap(), digest);
    }
    let other = of(&server.url("/there"), Digest::of(b"other")).unwrap_err();
    assert!(other.contains(&digest.to_string()), "{other}");
    for (path, expected) in [("/gone", "404"), ("/round", "more than 5 times")] {
        let error = of(&server.url(path), digest).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert!(of("ftp://a/b", digest).unwrap_err().contains("http://"));
}

#[test]
fn a_registry_tells_where_its_packages_are() {
    let packages = Server::start();
    packages.has_package("team/shop/cart", "1.2.3", WASM, "application/wasm");
    let metadata = "/.well-known/wasm-pkg/registry.json";
    let address = packages.address;
    for told in [
        format!(r#"{{"oci":{{"registry":"{address}","namespacePrefix":"team/"}}}}"#),
        format!(
            r#"{{"preferredProtocol":"oci","warg":{{}},"oci":{{"registry":"{address}","namespacePrefix":"team/"}}}}"#
        ),
        format!(r#"{{"ociRegistry":"{address}","ociNamespacePrefix":"team/"}}"#),
    ] {
        let registry = Server::start();
        registry.has(metadata, "200 OK", &told);
        assert_eq!(registry.package("=1.2.3").unwrap(), Digest::of(WASM), "{told}");
    }
    for (told, expected) in [
        (r#"{"warg":{"url":"https://a.test"}}"#, "speaks \"warg\""),
        (r#"{"oci":{"registry":"https://a.test"}}"#, "no place in a registry"),
        ("nonsense", "is not understood"),
    ] {
        let registry = Server::start();
        registry.has(metadata, "200 OK", told);
        let error = registry.package("=1.2.3").unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    // One that tells nothing has them itself.
    let registry = Server::start();
    registry.has_package("shop/cart", "1.2.3", WASM, "application/wasm");
    assert_eq!(registry.package("=1.2.3").unwrap(), Digest::of(WASM));
    let error = fetched(r#"{ package = "shop:cart", version = "1" }"#).unwrap_err();
    assert!(error.contains("name one as `registry`"), "{error}");
}

#[test]
fn the_newest_version_that_will_do_is_taken() {
    let server = Server::start();
    let versions = ["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1", "0.9.0"];
    for version in versions {
        server.has_package("shop/cart", version, version.as_bytes(), "application/wasm");
    }
    server.has(
        "/v2/shop/cart/tags/list",
        "200 OK\r\nlink: </v2/shop/cart/tags/list?last=x>; rel=\"next\"",
        r#"{"name":"shop/cart","tags":["1.0.0","latest","1.10.0"]}"#,
    );
    let rest = r#"{"tags":["1.9.0","2.0.0-rc.1","0.9.0"]}"#;
    server.has("/v2/shop/cart/tags/list?last=x", "200 OK", rest);
    for (wanted, taken) in
        [("^1.0", "1.10.0"), ("<1.10", "1.9.0"), ("*", "1.10.0"), ("0.9", "0.9.0")]
    {
        let digest = server.package(wanted).unwrap();
        assert_eq!(digest, Digest::of(taken.as_bytes()), "{wanted}");
    }
    let error = server.package("^3").unwrap_err();
    assert!(error.contains("has no version ^3; it has: 0.9.0, 1.0.0, 1.9.0"), "{error}");
}

#[test]
fn a_token_is_fetched_where_one_is_wanted_and_is_for_nobody_else() {
    let (server, elsewhere) = (Server::start(), Server::start());
    let manifest = "/v2/shop/cart/manifests/1.2.3";
    server.has_package("shop/cart", "1.2.3", WASM, "application/wasm");
    let answer = server.answers.lock().unwrap().remove(manifest).unwrap();
    server.has(&format!("{manifest} true"), &answer.0, &answer.1);
    let wanted = format!(
        "401 Unauthorized\r\nwww-authenticate: Bearer realm=\"{}\",service=\"us\"",
        server.url("/token")
    );
    server.has(manifest, &wanted, "");
    let token = "/token?service=us&scope=repository%3Ashop%2Fcart%3Apull";
    server.has(token, "200 OK", r#"{"token":"t0ken"}"#);
    let blob = format!("/v2/shop/cart/blobs/{}", Digest::of(WASM));
    let there = format!("307 Temporary Redirect\r\nlocation: {}", elsewhere.url("/blob"));
    server.has(&blob, &there, "");
    elsewhere.has("/blob", "200 OK", WASM);
    assert_eq!(server.package("=1.2.3").unwrap(), Digest::of(WASM));
    assert_eq!(*elsewhere.requests.lock().unwrap(), ["/blob false"]);
    assert!(server.requests.lock().unwrap().contains(&format!("{blob} true")));

    server.has(token, "200 OK", "{}");
    let error = server.package("=1.2.3").unwrap_err();
    assert!(error.contains("wants credentials"), "{error}");
}

#[test]
fn what_is_no_package_is_refused() {
    let server = Server::start();
    server.has_package("shop/cart", "1.0.0", WASM, "application/octet-stream");
    server.has_package("shop/cart", "2.0.0", WASM, "application/wasm");
    server.has(&format!("/v2/shop/cart/blobs/{}", Digest::of(WASM)), "200 OK", "other");
    for (version, expected) in [
        ("=1.0.0", "is no package of a component: its first layer is of type application/octet"),
        ("=2.0.0", "has the digest"),
        ("=3.0.0", "does not have 3.0.0"),
        ("1", "does not have a list of tags"),
    ] {
        let error = server.package(version).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
