//! Guests for WASI as it was on 2023-10-18 (the Rust SDK 2.x) and on 2023-11-10.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use anyhow::Result;
use integration_tests::http::{Connection, request};
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::guest;

const SNAPSHOTS: [&str; 2] = ["snapshot-2023-10-18", "snapshot-2023-11-10"];

/// The name of a guest is that of its snapshot.
fn serve(name: &str) -> Result<(Spinlet, Served)> {
    let spinlet = Spinlet::new()?;
    let folder = guest(name)?;
    let served = spinlet.up(&folder.display().to_string(), &[])?;
    Ok((spinlet, served))
}

/// A server that sends `answer` to whoever sends something.
fn server(answer: &'static str) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client?;
            let mut received = [0; 1024];
            let _length = client.read(&mut received)?;
            client.write_all(answer.as_bytes())?;
        }
        std::io::Result::Ok(())
    });
    Ok(address)
}

#[test]
fn requests_and_responses_pass_through() -> Result<()> {
    for snapshot in SNAPSHOTS {
        let (_spinlet, served) = serve(snapshot)?;
        let sent = [("host", "shop.example"), ("x-echo", "42")];
        let response = request(served.address(), "PUT", "/hello?a=1", &sent, b"")?;
        assert_eq!((response.status, response.header("x-echoed")), (200, Some("42")));
        let text = response.text();
        assert!(text.to_lowercase().contains("put /hello"), "{text}");
        assert!(
            text.ends_with(&format!("from {}", snapshot.trim_start_matches("snapshot-"))),
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn environment_files_clocks_and_randomness_work() -> Result<()> {
    for snapshot in SNAPSHOTS {
        let (_spinlet, served) = serve(snapshot)?;
        let response = served.get("/host")?;
        assert_eq!(response.text(), "yes hello from a file", "{snapshot}: {response:?}");
    }
    Ok(())
}

#[test]
fn bodies_stream_both_ways_at_once() -> Result<()> {
    for snapshot in SNAPSHOTS {
        let (_spinlet, served) = serve(snapshot)?;
        let mut connection = Connection::open(served.address())?;
        let headers = [("host", "shop.example"), ("transfer-encoding", "chunked")];
        connection.send_head("POST", "/upper", &headers)?;
        connection.send_chunk(b"first")?;
        assert_eq!(connection.head()?.status, 200, "{snapshot}");
        assert_eq!(connection.chunk()?.as_deref(), Some(&b"FIRST"[..]), "{snapshot}");
        connection.send_chunk(b"second")?;
        assert_eq!(connection.chunk()?.as_deref(), Some(&b"SECOND"[..]), "{snapshot}");
        connection.send_chunk(b"")?;
        assert_eq!(connection.chunk()?, None, "{snapshot}");
    }
    Ok(())
}

#[test]
fn a_guest_fetches_what_its_manifest_allows() -> Result<()> {
    let upstream =
        server("HTTP/1.1 203 Found\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")?;
    let (_spinlet, served) = serve("snapshot-2023-10-18")?;
    let response = served.get(&format!("/fetch?http://{upstream}/"))?;
    assert_eq!(response.text(), "203 hello");
    let denied = served.get("/fetch?http://127.0.0.2:80/")?;
    assert!(denied.text().contains("HttpRequestDenied"), "{}", denied.text());

    let (_spinlet, served) = serve("snapshot-2023-11-10")?;
    let response = served.get(&format!("/fetch?{upstream}/"))?;
    assert_eq!(response.text(), "203 hello");
    let denied = served.get("/fetch?127.0.0.2:80/")?;
    assert!(denied.text().contains("HttpRequestDenied"), "{}", denied.text());
    Ok(())
}

#[test]
fn a_guest_connects_to_a_socket() -> Result<()> {
    let upstream = server("welcome")?;
    let (_spinlet, served) = serve("snapshot-2023-11-10")?;
    let response = served.get(&format!("/tcp?{}", upstream.port()))?;
    assert_eq!((response.status, response.text().as_str()), (200, "welcome"));
    Ok(())
}

#[test]
fn a_guest_that_fails_is_answered_with_500_and_the_next_request_is_served() -> Result<()> {
    for snapshot in SNAPSHOTS {
        let (_spinlet, served) = serve(snapshot)?;
        let panicked = served.get("/panic")?;
        assert_eq!((panicked.status, panicked.text().as_str()), (500, ""), "{snapshot}");
        assert_eq!(served.get("/error")?.status, 500, "{snapshot}");
        assert_eq!(served.get("/hello")?.status, 200, "{snapshot}");
    }
    Ok(())
}
