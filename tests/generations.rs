//! Guests of every generation of SDKs, from core modules of 2022 on, and apps that
//! were published uncomposed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use fs_err as fs;
use integration_tests::http::request;
use integration_tests::process::output_of;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::guest;

fn serve(name: &str) -> Result<(Spinlet, Served)> {
    let spinlet = Spinlet::new()?;
    let folder = guest(name)?;
    let served = spinlet.up(&folder.display().to_string(), &[])?;
    Ok((spinlet, served))
}

/// A server that answers every request with what it received.
fn mirror() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client?;
            let mut received = Vec::new();
            let mut part = [0; 1024];
            while !received.ends_with(b"a body") {
                let length = client.read(&mut part)?;
                received.extend_from_slice(part.get(..length).unwrap_or_default());
            }
            let head = format!(
                "HTTP/1.1 203 Mirrored\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                received.len()
            );
            client.write_all(head.as_bytes())?;
            client.write_all(&received)?;
        }
        std::io::Result::Ok(())
    });
    Ok(address)
}

#[test]
fn a_module_of_wit_bindgen_0_2_sees_the_whole_request_and_answers_with_all_it_has() -> Result<()> {
    let (_spinlet, served) = serve("first-generation")?;
    let sent = [("host", "shop.example"), ("x-note", "naïve"), ("content-length", "5")];
    let response = request(served.address(), "PUT", "/old/echo?a=1&b", &sent, b"hello")?;
    let text = response.text();
    assert_eq!((response.status, response.header("x-generation")), (200, Some("first")), "{text}");
    for line in [
        "method put",
        "uri /old/echo?a=1&b",
        "header x-note: naïve",
        "header host: shop.example",
        "header spin-raw-component-route: /...",
        "params 0",
        "body Some(\"hello\")",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    let empty = served.get("/old/nothing")?;
    assert_eq!((empty.status, empty.text().as_str()), (404, ""));
    Ok(())
}

#[test]
fn a_module_of_wit_bindgen_0_2_reaches_variables_files_environment_and_output() -> Result<()> {
    let (_spinlet, served) = serve("first-generation")?;
    for (path, expected) in [
        ("config?greeting", "hello from a default"),
        ("environment?FROM_THE_MANIFEST", "yes"),
        ("file?/data/greeting.txt", "hello from a file\n"),
    ] {
        let response = served.get(&format!("/old/{path}"))?;
        assert_eq!((response.status, response.text().as_str()), (200, expected), "{path}");
    }
    let unknown = served.get("/old/config?other")?;
    assert!(unknown.text().starts_with("provider: "), "{}", unknown.text());
    let invalid = served.get("/old/config?Other")?;
    assert!(invalid.text().starts_with("invalid-key: "), "{}", invalid.text());
    served.get("/old/log?words")?;
    served.wait_for_output("words on standard output")?;
    served.wait_for_output("words on standard error")
}

#[test]
fn a_module_of_wit_bindgen_0_2_sends_requests_where_its_manifest_allows() -> Result<()> {
    let upstream = mirror()?;
    let (_spinlet, served) = serve("first-generation")?;
    let response = served.get(&format!("/old/fetch?http://{upstream}/there"))?;
    let text = response.text();
    assert_eq!(response.status, 203, "{text}");
    assert!(text.starts_with("POST /there HTTP/1.1\r\n"), "{text}");
    assert!(text.contains("x-sent-by: the first generation\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\na body"), "{text}");
    let own = served.get("/old/fetch?/old/echo")?;
    assert!(own.text().contains("method post"), "{}", own.text());
    for (uri, error) in
        [("http://127.0.0.2/", "destination-not-allowed"), ("nothing", "invalid-url")]
    {
        let refused = served.get(&format!("/old/fetch?{uri}"))?;
        assert_eq!((refused.status, refused.text().as_str()), (502, error), "{uri}");
    }
    Ok(())
}

#[test]
fn a_module_of_wit_bindgen_0_2_keeps_values_in_its_stores() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let folder = guest("first-generation")?;
    // Stores are kept beside the manifest; these end with the test.
    let state = format!("SPINLET_APP_STATE_DIR={}", spinlet.state().display());
    let served = spinlet.up(&folder.display().to_string(), &["--env", &state])?;
    for text in ["1 no-such-key", "2 no-such-key"] {
        let response = served.get("/old/count?default")?;
        assert_eq!((response.status, response.text().as_str()), (200, text));
    }
    let denied = served.get("/old/count?other")?;
    assert_eq!((denied.status, denied.text().as_str()), (502, "access-denied"));
    Ok(())
}

#[test]
fn a_module_of_wit_bindgen_0_2_that_panics_is_answered_with_500() -> Result<()> {
    let (_spinlet, served) = serve("first-generation")?;
    let panicked = served.get("/old/panic")?;
    assert_eq!((panicked.status, panicked.text().as_str()), (500, ""));
    assert_eq!(served.get("/old/echo")?.status, 200);
    Ok(())
}

/// What TinyGo makes: the heap and the handler are ready only after `_start`.
const TINYGO: &str = r#"(module
    (memory (export "memory") 2)
    (global $started (mut i32) (i32.const 0))
    (global $heap (mut i32) (i32.const 1024))
    (data (i32.const 16) "started once")
    (func (export "_start") (global.set $started (i32.add (global.get $started) (i32.const 1))))
    (func $allocate (param $size i32) (result i32)
        (if (i32.ne (global.get $started) (i32.const 1)) (then unreachable))
        global.get $heap
        (global.set $heap (i32.and (i32.const -16)
            (i32.add (i32.const 15) (i32.add (global.get $heap) (local.get $size))))))
    (func (export "malloc") (param i32) (result i32) (call $allocate (local.get 0)))
    (func (export "calloc") (param i32 i32) (result i32) unreachable)
    (func (export "realloc") (param i32 i32) (result i32) unreachable)
    (func (export "free") (param i32))
    (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32)
        (call $allocate (local.get 3)))
    (func (export "canonical_abi_free") (param i32 i32 i32))
    (func (export "handle-http-request")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
        (i32.store16 (i32.const 64) (i32.const 201))
        (i32.store8 (i32.const 80) (i32.const 1))
        (i32.store (i32.const 84) (i32.const 16))
        (i32.store (i32.const 88) (i32.const 12))
        i32.const 64))"#;

#[test]
fn a_module_of_tinygo_is_started_before_its_handler_in_every_instance() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let module = spinlet.folder().join("tinygo.wasm");
    fs::write(&module, wat::parse_str(TINYGO)?)?;
    let served = spinlet.up(&module.display().to_string(), &[])?;
    for _ in 0..2 {
        let response = served.get("/")?;
        assert_eq!((response.status, response.text().as_str()), (201, "started once"));
    }
    Ok(())
}

/// A server with one answer.
fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client?;
            let _length = client.read(&mut [0; 1024])?;
            client.write_all(b"HTTP/1.1 203 Found\r\ncontent-length: 5\r\n\r\nthere")?;
        }
        std::io::Result::Ok(())
    });
    Ok(address)
}

#[test]
fn a_guest_of_the_last_candidate_of_wasi_0_3_runs_as_one_of_the_release() -> Result<()> {
    let (_spinlet, served) = serve("wasi-p3-candidate")?;
    assert_eq!(served.get("/")?.text(), "Hello from the candidate of WASI 0.3!\n");
    streams_and_sends(&served)
}

#[test]
fn guests_of_the_two_candidates_before_it_serve_and_send() -> Result<()> {
    for (name, greeting) in [
        ("wasi-p3-2025-09-16", "Hello from 2025-09-16!\n"),
        ("wasi-p3-2026-01-06", "Hello from 2026-01-06!\n"),
    ] {
        let (_spinlet, served) = serve(name)?;
        assert_eq!(served.get("/")?.text(), greeting);
        streams_and_sends(&served)?;
        for (header, said) in
            [("x-fine", "accepted"), ("not(fine)", "invalid syntax"), ("connection", "forbidden")]
        {
            assert_eq!(served.get(&format!("/header?{header}"))?.text(), said, "{name}: {header}");
        }
    }
    Ok(())
}

/// What guests of every candidate do.
fn streams_and_sends(served: &Served) -> Result<()> {
    let host = [("host", "shop.example")];
    let body = vec![7; 1 << 20];
    let echoed = request(served.address(), "POST", "/echo", &host, &body)?;
    assert!(echoed.status == 200 && echoed.body == body, "{} bytes", echoed.body.len());
    assert_eq!(served.get("/environment?FROM_THE_MANIFEST")?.text(), "yes");
    let fetched = served.get(&format!("/fetch?http://{}/", upstream()?))?;
    assert_eq!((fetched.status, fetched.text().as_str()), (203, "there"));
    let denied = served.get("/fetch?http://127.0.0.2:80/")?.text();
    assert!(denied.contains("HttpRequestDenied"), "{denied}");
    Ok(())
}

/// An app whose component has a dependency that is not composed into it, with a
/// line of its manifest changed.
fn uncomposed(spinlet: &Spinlet, line: &str, changed: &str) -> Result<String> {
    let app = spinlet.folder().join("app");
    let mut copy = Command::new("cp");
    output_of(copy.arg("-r").arg(guest("greeted")?).arg(&app), Duration::from_secs(20))?;
    let dependency = guest("greeter")?.join("target/wasm32-wasip1/release/greeter.wasm");
    fs::copy(dependency, app.join("greeter.wasm"))?;
    let manifest = fs::read_to_string(app.join("spin.toml"))?;
    ensure!(manifest.contains(line), "{line:?} is not in\n{manifest}");
    fs::write(app.join("spin.toml"), manifest.replace(line, changed))?;
    Ok(app.display().to_string())
}

#[test]
fn a_dependency_is_composed_at_load_and_sees_nothing_unless_it_inherits() -> Result<()> {
    let plain = "{ path = \"greeter.wasm\" }";
    for (changed, seen) in [
        (plain, "variables: 0, files: false"),
        (
            "{ path = \"greeter.wasm\", inherit_configuration = [\"environment\"] }",
            "variables: 1, files: false",
        ),
        ("{ path = \"greeter.wasm\", inherit_configuration = true }", "variables: 1, files: true"),
    ] {
        let spinlet = Spinlet::new()?;
        let app = uncomposed(&spinlet, plain, changed)?;
        let served = spinlet.up(&app, &[])?;
        assert_eq!(
            served.get("/?Ada")?.text(),
            format!("Hello, Ada! {seen}; the component itself: 1\n"),
            "{changed}"
        );
        drop(served);
        let found = spinlet.run(&["compile", &app])?;
        let again = spinlet.up(&app, &[])?;
        assert!(!again.output().contains("Compiled"), "{found} {}", again.output());
    }
    Ok(())
}

#[test]
fn a_dependency_that_fits_no_import_is_named_before_anything_is_served() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let app = uncomposed(&spinlet, "acme:greeter/greeting@1.0.0", "acme:greeter/parting@1.0.0")?;
    let finished = spinlet.finish(&["up", &app])?;
    for part in ["greeted", "acme:greeter/parting@1.0.0", "acme:greeter/greeting@1.0.0"] {
        assert!(finished.stderr.contains(part), "{part} is not in {}", finished.stderr);
    }
    Ok(())
}
