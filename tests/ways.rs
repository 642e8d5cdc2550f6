//! The same app, started in every way there is: by `ctr run`, as a pod of CRI and
//! by `spinlet up`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::containerd::Version;
use integration_tests::cri::{Cri, SPIN};
use integration_tests::spinlet::Spinlet;
use serde_json::json;

/// Requests whose answers do not depend on who sends them, and when.
const REQUESTS: [(&str, &str, &str); 9] = [
    ("GET", "/b/hello", ""),
    ("HEAD", "/b/hello", ""),
    ("OPTIONS", "/b/method", ""),
    ("POST", "/b/echo?a=1", "a body that comes back"),
    ("GET", "/b/status?code=418", ""),
    ("GET", "/b/two-cookies", ""),
    ("GET", "/b/file?path=/data/greeting.txt", ""),
    ("GET", "/b/env", ""),
    ("GET", "/elsewhere", ""),
];

#[test]
fn an_app_answers_the_same_bytes_by_ctr_through_cri_and_by_spinlet_up() -> Result<()> {
    let cri = Cri::start(Version::V2)?;
    let image = cri.app("behaviours")?;

    let pod = cri.pod("app", SPIN, json!(null))?;
    pod.start("app", &image, json!({ "command": ["/"] }))?;
    cri.containerd().pull(&image)?;
    let by_ctr = cri.containerd().run(&image, "app", &[])?;
    let spinlet = Spinlet::new()?;
    let served = spinlet.up(&image, &[])?;

    for (method, target, body) in REQUESTS {
        let answers = [by_ctr, pod.address(80)?, served.address()]
            .map(|address| answer(address, method, target, body));
        let [by_ctr, through_cri, by_spinlet_up] = answers;
        let expected = by_ctr?;
        assert_eq!(through_cri?, expected, "through CRI: {method} {target}");
        assert_eq!(by_spinlet_up?, expected, "by spinlet up: {method} {target}");
    }
    cri.containerd().stop("app", "SIGTERM")?;
    pod.remove()
}

/// Everything that the server sends, but the line with the time.
fn answer(address: SocketAddr, method: &str, target: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    let head: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with("date:")).collect();
    ensure!(head.first().is_some_and(|line| line.starts_with("HTTP/1.1 ")), "{head:?}");
    Ok(format!("{}\n\n{body}", head.join("\n")))
}
