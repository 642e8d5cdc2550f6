//! Apps of the SDKs of three languages, of two or more generations each. What
//! they do is the same; how their SDK does it is not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use anyhow::{Result, ensure};
use integration_tests::http::request;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::guest;

/// One app with stores of its own, and a server that it may send requests to.
struct App {
    served: Served,
    upstream: SocketAddr,
    _spinlet: Spinlet,
}

impl App {
    fn start(name: &str) -> Result<Self> {
        let spinlet = Spinlet::new()?;
        // Stores are kept beside the manifest; these end with the test.
        let state = format!("SPINLET_APP_STATE_DIR={}", spinlet.state().display());
        let served = spinlet.up(&guest(name)?.display().to_string(), &["--env", &state])?;
        Ok(Self { served, upstream: upstream()?, _spinlet: spinlet })
    }

    fn expect(&self, target: &str, (status, text): (u16, &str)) -> Result<()> {
        self.expect_of("GET", target, "", (status, text))
    }

    /// The answer must have the status and contain the text.
    fn expect_of(
        &self,
        method: &str,
        target: &str,
        body: &str,
        (status, text): (u16, &str),
    ) -> Result<()> {
        let host = [("host", "shop.example")];
        let answer = request(self.served.address(), method, target, &host, body.as_bytes())?;
        ensure!(
            answer.status == status && answer.text().contains(text),
            "{method} {target}: {} {:?} instead of {status} with {text:?}\n{}",
            answer.status,
            answer.text(),
            self.served.output()
        );
        Ok(())
    }

    /// The body comes back, however large, and the method in a header.
    fn echoes(&self, method: &str, body: &[u8]) -> Result<()> {
        let answer = request(self.served.address(), method, "/echo", &[], body)?;
        ensure!(answer.status == 200 && answer.body == body, "{method}: {}", answer.body.len());
        let told = answer.header("x-method").unwrap_or_default().to_uppercase();
        ensure!(told == method, "{told} instead of {method}");
        Ok(())
    }

    /// What every app does with what it is sent.
    fn sees_its_requests(&self) -> Result<()> {
        for method in ["POST", "PUT", "PATCH"] {
            self.echoes(method, "naïve ☃".as_bytes())?;
        }
        self.echoes("POST", b"")?;
        self.echoes("POST", &vec![7; 1 << 20])?;
        self.expect("/no/such/path", (404, ""))
    }

    /// Requests to others: where the manifest allows it, and where not.
    fn sends_requests(&self, denied: (u16, &str)) -> Result<()> {
        let upstream = self.upstream;
        self.expect(&format!("/fetch?url=http://{upstream}/"), (203, "from upstream"))?;
        self.expect("/fetch?url=http://127.0.0.2:80/", denied)
    }

    fn prints(&self, target: &str) -> Result<()> {
        self.expect(target, (200, ""))?;
        self.served.wait_for_output("words on standard output")?;
        self.served.wait_for_output("words on standard error")
    }
}

/// A server with one answer.
fn upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client?;
            let _length = client.read(&mut [0; 4096])?;
            client.write_all(
                b"HTTP/1.1 203 Found\r\ncontent-length: 13\r\nconnection: close\r\n\r\nfrom upstream",
            )?;
        }
        std::io::Result::Ok(())
    });
    Ok(address)
}

#[test]
fn an_app_of_the_rust_sdk_5_routes_stores_and_sends() -> Result<()> {
    let app = App::start("rust-5")?;
    app.sees_its_requests()?;
    app.expect("/hello/mars", (200, "hello mars"))?;
    app.expect("/wild/a/b%20c", (200, "a/b%20c"))?;
    app.expect("/variable/greeting", (200, "hello from a default"))?;
    app.expect("/variable/unknown", (500, "Undefined"))?;
    app.expect_of("POST", "/kv/k", "value", (201, "k"))?;
    app.expect("/kv/k", (200, "value"))?;
    app.expect("/kv/nothing", (200, "none"))?;
    app.expect("/store/other", (500, "AccessDenied"))?;
    app.expect_of("POST", "/sql", "CREATE TABLE t (n INTEGER, t TEXT)", (200, "changed 0"))?;
    let insert = "INSERT INTO t VALUES (1, 'one'), (2, 'two')";
    app.expect_of("POST", "/sql", insert, (200, "last 2, changed 2"))?;
    let rows = "[[Value::Integer(1), Value::Text(\"one\")], [Value::Integer(2), ";
    app.expect_of("POST", "/sql", "SELECT * FROM t", (200, rows))?;
    app.expect_of("POST", "/sql", "SELECT * FROM u", (500, "no such table: u"))?;
    let upstream = format!("/fetch?http://{}/", app.upstream);
    app.expect(&upstream, (203, "from upstream"))?;
    app.expect("/fetch?/no/such/path", (404, ""))?;
    app.expect("/fetch?http://127.0.0.2:80/", (500, "HttpRequestDenied"))
}

#[test]
fn an_app_of_the_javascript_sdk_2_routes_stores_and_sends() -> Result<()> {
    let app = App::start("javascript-2")?;
    javascript(&app)?;
    // It writes all of that at once, without asking how much it may.
    app.echoes("POST", &vec![7; 24 << 20])?;
    app.expect("/variable/unknown", (200, "none"))?;
    app.expect_of("POST", "/sql", "SELECT 1 AS n", (200, r#""rows":[{"n":1}]"#))?;
    app.expect("/infer", (500, "does not have access to use 'unknown'"))
}

#[test]
fn an_app_of_the_current_javascript_tools_routes_stores_and_sends() -> Result<()> {
    let app = App::start("javascript-current")?;
    javascript(&app)?;
    app.expect("/variable/unknown", (500, "undefined"))?;
    app.expect_of("POST", "/sql", "SELECT 1 AS n", (200, r#""rows":[[1]]"#))?;
    let cookies = app.served.get("/cookies")?;
    assert_eq!(cookies.all("set-cookie"), ["a=1", "b=2"]);
    let forward = format!("/forward?url=http://{}/", app.upstream);
    app.expect_of("POST", &forward, "a body on its way", (203, "from upstream"))
}

/// What apps of both generations do.
fn javascript(app: &App) -> Result<()> {
    app.sees_its_requests()?;
    app.expect("/headers", (200, "spin-full-url: http://shop.example/headers"))?;
    let own = format!("spin-full-url: http://{}/headers", app.served.address());
    app.expect("/fetch?url=http://self.alt/headers", (200, &own))?;
    app.expect("/hello/mars", (200, "hello mars"))?;
    app.expect("/stream", (200, "one two three"))?;
    app.expect("/variable/greeting", (200, "hello from a default"))?;
    app.expect_of("POST", "/kv/k", "value", (201, "k"))?;
    app.expect("/kv/k", (200, "value"))?;
    app.expect("/kv/nothing", (200, "none"))?;
    app.expect("/store/other", (500, "access-denied"))?;
    let columns = r#"{"columns":["n","t"],"rows":["#;
    app.expect_of("POST", "/sql", "SELECT 1 AS n, 'one' AS t", (200, columns))?;
    app.expect_of("POST", "/sql", "SELECT * FROM u", (500, "no such table: u"))?;
    app.sends_requests((500, ""))?;
    app.prints("/log")?;
    app.expect("/throw", (500, ""))?;
    // The next request has an instance of its own.
    app.expect("/hello/venus", (200, "hello venus"))
}

#[test]
fn an_app_of_the_python_sdk_3_stores_and_sends() -> Result<()> {
    python(&App::start("python-3")?)
}

#[test]
fn an_app_of_the_python_sdk_5_stores_and_sends() -> Result<()> {
    python(&App::start("python-5")?)
}

/// What apps of both generations do.
fn python(app: &App) -> Result<()> {
    app.sees_its_requests()?;
    app.expect("/headers", (200, "spin-full-url: http://shop.example/headers"))?;
    app.expect("/variable?name=greeting", (200, "hello from a default"))?;
    app.expect("/variable?name=unknown", (500, "Error_Undefined"))?;
    app.expect_of("POST", "/set?key=k", "value", (200, "k"))?;
    app.expect("/get?key=k", (200, "b'value'"))?;
    app.expect("/get?key=nothing", (200, "None"))?;
    app.expect("/get?key=k&label=other", (500, "Error_AccessDenied"))?;
    app.expect_of("POST", "/sql", "SELECT 1 AS n, 'one' AS t", (200, "['n', 't'] [[1, 'one']]"))?;
    app.expect_of("POST", "/sql", "SELECT * FROM u", (500, "no such table: u"))?;
    app.expect_of("POST", "/sql?label=other", "SELECT 1", (500, "Error_AccessDenied"))?;
    app.expect("/infer?model=other", (500, "does not have access to use 'other'"))?;
    app.expect("/environment?name=FROM_THE_MANIFEST", (200, "yes"))?;
    app.expect("/environment?name=PATH", (200, "none"))?;
    app.expect("/file?path=/data/greeting.txt", (200, "served from a file"))?;
    app.sends_requests((500, "HttpRequestDenied"))?;
    app.expect("/fetch?url=/no/such/path", (404, ""))?;
    app.prints("/print")?;
    app.expect("/raise", (500, ""))?;
    app.served.wait_for_output("ValueError: raised on request")
}
