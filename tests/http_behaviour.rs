//! What a client sees of guests from the real SDKs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration_tests::http::{Connection, Response, get, request};
use integration_tests::process::output_of;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::guest;

/// The app with the `behaviours` guest, and its command line.
fn behaviours(arguments: &[&str]) -> Result<(Spinlet, Served)> {
    let spinlet = Spinlet::new()?;
    let served = spinlet.up(&guest("behaviours")?.display().to_string(), arguments)?;
    Ok((spinlet, served))
}

fn wasi_p3() -> Result<(Spinlet, Served)> {
    let spinlet = Spinlet::new()?;
    let served = spinlet.up(&guest("wasi-p3")?.display().to_string(), &[])?;
    Ok((spinlet, served))
}

fn alive(served: &Served) -> Result<()> {
    let response = served.get("/b/hello")?;
    ensure!(response.status == 200, "no other request is served any more: {response:?}");
    Ok(())
}

#[test]
fn status_headers_and_method_pass_through() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    for code in [200, 201, 204, 302, 404, 418, 503] {
        let response = served.get(&format!("/b/status?code={code}"))?;
        assert_eq!((response.status, response.header("x-behaviour")), (code, Some("status")));
        assert_eq!(response.text(), "");
    }
    assert_eq!(served.get("/b/two-cookies")?.all("set-cookie"), ["a=1", "b=2"]);
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let response = request(served.address(), method, "/b/method", &[], b"")?;
        assert_eq!(response.text().trim().to_uppercase(), method);
    }
    let head = request(served.address(), "HEAD", "/b/hello", &[], b"")?;
    assert_eq!((head.status, head.body.len()), (200, 0));
    Ok(())
}

#[test]
fn a_guest_sees_the_request_and_where_it_was_matched() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    let sent = [("host", "shop.example:8080"), ("x-sent", "yes")];
    let response = request(served.address(), "GET", "/b/headers?a=1", &sent, b"")?;
    let text = response.text();
    for line in [
        "x-sent: yes",
        "spin-path-info: /headers",
        "spin-full-url: http://shop.example:8080/b/headers?a=1",
        "spin-matched-route: /b/...",
        "spin-base-path: /",
        "spin-raw-component-route: /b/...",
        "spin-component-route: /b",
        "spin-client-addr: 127.0.0.1:",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line:?} is not in\n{text}");
    }
    Ok(())
}

#[test]
fn a_request_with_a_header_that_is_no_text_is_answered_with_500() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    for (value, status) in [(&b"\xe4"[..], "500"), ("ä".as_bytes(), "200")] {
        let mut stream = TcpStream::connect(served.address())?;
        let head = b"GET /b/headers HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nx-a: ";
        stream.write_all(&[head, value, b"\r\n\r\n"].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.contains("x-a: ä"), status == "200", "{answer}");
    }
    Ok(())
}

#[test]
fn paths_without_a_route_and_well_known_paths_are_answered_without_a_guest() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    let missing = served.get("/elsewhere")?;
    assert_eq!((missing.status, missing.text().as_str()), (404, ""));
    let health = served.get("/.well-known/spin/health")?;
    assert_eq!((health.status, health.text().as_str()), (200, "OK"));
    let info = served.get("/.well-known/spin/info")?;
    assert_eq!(info.header("content-type"), Some("application/json"));
    assert!(info.text().contains("\"behaviours\""), "{}", info.text());
    Ok(())
}

#[test]
fn a_guest_has_its_own_environment_and_files_and_no_others() -> Result<()> {
    let (_spinlet, served) = behaviours(&["--env", "FROM_OUTSIDE=yes"])?;
    assert_eq!(served.get("/b/env")?.text(), "FROM_THE_MANIFEST=yes\n");
    assert_eq!(served.get("/b/file?path=/data/greeting.txt")?.text(), "served from a file\n");
    assert_eq!(served.get("/b/list?path=/data")?.text(), "greeting.txt\n");
    for path in ["/etc/passwd", "/data/../../../../etc/passwd", "/proc/self/environ"] {
        assert_eq!(served.get(&format!("/b/file?path={path}"))?.status, 404, "{path}");
    }
    Ok(())
}

#[test]
fn bodies_stream_both_ways_at_once() -> Result<()> {
    let (_spinlet, behaviours) = behaviours(&[])?;
    let (_other, wasi_p3) = wasi_p3()?;
    for (served, target) in [(&behaviours, "/b/echo"), (&wasi_p3, "/echo")] {
        let mut connection = Connection::open(served.address())?;
        connection.send_head("POST", target, &[("transfer-encoding", "chunked")])?;
        connection.send_chunk(b"first")?;
        let head = connection.head()?;
        assert_eq!(head.status, 200);
        assert_eq!(connection.chunk()?.as_deref(), Some(b"first".as_slice()));
        // The answer to the first part has come; only now the second one is sent.
        connection.send_chunk(b"second")?;
        assert_eq!(connection.chunk()?.as_deref(), Some(b"second".as_slice()));
        connection.send_chunk(b"")?;
        assert_eq!(connection.chunk()?, None);
    }
    Ok(())
}

#[test]
fn the_first_byte_does_not_wait_for_the_last() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    let mut connection = Connection::open(served.address())?;
    let started = Instant::now();
    connection.send_head("GET", "/b/drip?chunks=4&ms=500", &[])?;
    connection.head()?;
    assert!(connection.chunk()?.is_some());
    let first = started.elapsed();
    while connection.chunk()?.is_some() {}
    let last = started.elapsed();
    ensure!(first + Duration::from_secs(1) < last, "first {first:?}, last {last:?}");
    Ok(())
}

#[test]
fn a_client_that_does_not_read_does_not_fill_memory() -> Result<()> {
    let (_spinlet, mut served) = behaviours(&[])?;
    alive(&served)?;
    let pid = served.process().pid();
    let before = memory_below(pid)?;
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(served.address())?;
        connection.send_head("GET", "/b/big?bytes=268435456&piece=4194304", &[])?;
        idle.push(connection);
    }
    thread::sleep(Duration::from_secs(2));
    let grown = memory_below(pid)?.saturating_sub(before);
    // Each guest has a piece itself, and a copy of it.
    ensure!(grown < 64 << 20, "grown by {} MiB", grown >> 20);
    for mut connection in idle {
        assert_eq!(connection.head()?.status, 200);
        assert!(connection.chunk()?.is_some_and(|chunk| !chunk.is_empty()));
    }
    alive(&served)
}

/// Resident bytes of a process and those below it.
fn memory_below(pid: u32) -> Result<u64> {
    let table =
        output_of(Command::new("ps").args(["-eo", "pid=,ppid=,rss="]), Duration::from_secs(5))?;
    let rows: Vec<[u64; 3]> = table
        .lines()
        .filter_map(|line| {
            let numbers: Vec<u64> =
                line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            numbers.try_into().ok()
        })
        .collect();
    let mut family = vec![u64::from(pid)];
    let mut total = 0;
    while let Some(member) = family.pop() {
        for [pid, parent, resident] in &rows {
            if *pid == member {
                total += resident * 1024;
            }
            if *parent == member {
                family.push(*pid);
            }
        }
    }
    Ok(total)
}

#[test]
fn a_large_response_arrives_whole() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    let response = served.get("/b/big?bytes=33554432")?;
    assert_eq!((response.status, response.body.len()), (200, 32 << 20));
    assert!(response.body.iter().all(|byte| *byte == b'x'));
    Ok(())
}

#[test]
fn a_guest_that_fails_before_it_answers_is_an_empty_500() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    for target in ["panic", "last-words", "no-response", "exit?code=3", "recurse?depth=100000000"] {
        let response = served.get(&format!("/b/{target}"))?;
        assert_eq!((response.status, response.text().as_str()), (500, ""), "{target}");
        alive(&served)?;
    }
    let (_other, wasi_p3) = wasi_p3()?;
    assert_eq!(wasi_p3.get("/panic")?.status, 500);
    assert_eq!(wasi_p3.get("/")?.text(), "Hello from WASI 0.3!\n");
    Ok(())
}

#[test]
fn a_guest_that_fails_in_the_middle_cuts_the_response_off() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    let whole = served.get("/b/trap-in-the-body");
    ensure!(whole.is_err(), "the response must not look whole: {whole:?}");
    alive(&served)
}

#[test]
fn the_last_words_of_a_guest_are_not_lost() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    served.get("/b/last-words")?;
    served.wait_for_output("last words without a newline")?;
    served.get("/b/log?lines=1000")?;
    served.wait_for_output("line 999")?;
    served.wait_for_output("to standard error")?;
    for number in 0..1000 {
        let line = format!("line {number}\n");
        ensure!(served.output().contains(&line), "{line:?} is lost");
    }
    Ok(())
}

#[test]
fn a_guest_that_takes_too_much_memory_fails_alone() -> Result<()> {
    let (_spinlet, served) = behaviours(&["--env", "SPIN_MAX_INSTANCE_MEMORY=67108864"])?;
    assert_eq!(served.get("/b/memory?mib=16")?.status, 200);
    assert_eq!(served.get("/b/memory?mib=256")?.status, 500);
    alive(&served)
}

#[test]
fn busy_guests_do_not_keep_others_from_being_served() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    let mut busy = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(served.address())?;
        connection.send_head("GET", "/b/spin-loop", &[])?;
        busy.push(connection);
    }
    thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    for _ in 0..5 {
        alive(&served)?;
    }
    ensure!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
    Ok(())
}

#[test]
fn a_client_that_leaves_ends_its_guest() -> Result<()> {
    let (_spinlet, mut served) = behaviours(&[])?;
    let mut connection = Connection::open(served.address())?;
    connection.send_head("GET", "/b/spin-loop", &[])?;
    thread::sleep(Duration::from_millis(500));
    drop(connection);
    thread::sleep(Duration::from_secs(1));
    let pid = served.process().pid();
    let before = processor_time_below(pid)?;
    thread::sleep(Duration::from_secs(2));
    let used = processor_time_below(pid)?.saturating_sub(before);
    ensure!(used < 100, "the guest goes on: {used} ticks in two seconds");
    Ok(())
}

/// Ticks (hundredths of a second) that the direct children of a process used.
fn processor_time_below(pid: u32) -> Result<u64> {
    let mut total = 0;
    for entry in fs_err::read_dir("/proc")? {
        let Ok(stat) = fs_err::read_to_string(entry?.path().join("stat")) else { continue };
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        if fields.get(1).and_then(|field| field.parse().ok()) == Some(pid) {
            for field in [11, 12] {
                total += fields.get(field).context("no time")?.parse::<u64>()?;
            }
        }
    }
    Ok(total)
}

#[test]
fn a_wasi_0_2_guest_starts_afresh_and_a_wasi_0_3_guest_is_reused() -> Result<()> {
    let (_spinlet, served) = wasi_p3()?;
    let mut counts = Vec::new();
    for _ in 0..5 {
        counts.push(served.get("/count")?.text().trim().parse::<u64>()?);
    }
    ensure!(counts.iter().any(|count| *count > 1), "never reused: {counts:?}");
    Ok(())
}

#[test]
fn a_connection_serves_many_requests_and_http_2_is_spoken_without_tls() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    let mut connection = Connection::open(served.address())?;
    for _ in 0..20 {
        connection.send_head("GET", "/b/hello", &[])?;
        assert_eq!(connection.response(false)?.text(), "hello\n");
    }
    let url = format!("http://{}/b/hello", served.address());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--http2-prior-knowledge", "-w", "%{http_version}", &url]);
    assert_eq!(output_of(&mut curl, Duration::from_secs(20))?, "hello\n2");
    Ok(())
}

#[test]
fn many_clients_at_once_are_all_answered() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    let address = served.address();
    let responses: Vec<Result<Response>> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..100).map(|_| scope.spawn(move || get(address, "/b/sleep?ms=200"))).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    for response in responses {
        assert_eq!(response?.text(), "slept\n");
    }
    Ok(())
}

#[test]
fn a_request_that_is_not_http_does_no_harm() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    for garbage in [
        b"\x16\x03\x01 this is TLS".as_slice(),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /b/hello HTTP/1.1\r\n\r\n",
        b"POST /b/echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
    ] {
        let mut connection = Connection::open(served.address())?;
        connection.send(garbage)?;
        let answer = connection.head();
        let refused = answer.as_ref().map_or(true, |response| response.status >= 400);
        ensure!(refused, "{:?} gives {answer:?}", String::from_utf8_lossy(garbage));
        alive(&served)?;
    }
    Ok(())
}

#[test]
fn a_request_over_its_time_is_ended_with_504() -> Result<()> {
    let (_spinlet, served) = behaviours(&["--env", "SPINLET_REQUEST_TIMEOUT=1s"])?;
    for target in ["/b/spin-loop", "/b/sleep?ms=60000"] {
        let started = Instant::now();
        assert_eq!(served.get(target)?.status, 504, "{target}");
        ensure!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    }
    assert_eq!(served.get("/b/sleep?ms=100")?.status, 200);
    Ok(())
}

#[test]
fn each_request_is_one_line_of_the_access_log_unless_it_is_off() -> Result<()> {
    let (_spinlet, served) = behaviours(&[])?;
    served.get("/b/status?code=418")?;
    served.wait_for_output("418")?;
    let (_other, silent) = behaviours(&["--env", "SPINLET_ACCESS_LOG=off"])?;
    silent.get("/b/status?code=418")?;
    thread::sleep(Duration::from_millis(300));
    ensure!(!silent.output().contains("418"), "{}", silent.output());
    Ok(())
}
