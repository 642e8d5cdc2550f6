//! Redis, PostgreSQL, MySQL and MQTT, from guests of two generations of the Rust
//! SDK: `servers` (Spin 3, WASI 0.2) and `servers-p3` (current, WASI 0.3); PostgreSQL
//! also from `rust-5` (Spin 3.4), so that each version of its interface has a guest.

use anyhow::{Result, ensure};
use integration_tests::http::request;
use integration_tests::spinlet::{Served, Spinlet};
use integration_tests::workspace::guest;
use test_servers::{MariaDb, Mosquitto, Postgres, Redis};

const GUESTS: [&str; 2] = ["servers", "servers-p3"];
/// One guest and path for each version of the interface: 2.0.0, 3.0.0, 4.0.0, 4.2.0.
const POSTGRES: [(&str, &str); 4] = [
    ("servers", "/postgres"),
    ("servers", "/postgres-3"),
    ("rust-5", "/postgres-4"),
    ("servers-p3", "/postgres"),
];

fn up(name: &str) -> Result<(Spinlet, Served)> {
    let spinlet = Spinlet::new()?;
    let app = spinlet.up(&guest(name)?.display().to_string(), &[])?;
    Ok((spinlet, app))
}

/// What the guest answers to the lines of a request.
fn ask(app: &Served, target: &str, lines: &[&str]) -> Result<(u16, String)> {
    let body = lines.join("\n");
    let response = request(app.address(), "POST", target, &[], body.as_bytes())?;
    Ok((response.status, response.text()))
}

fn expect(app: &Served, target: &str, lines: &[&str], (status, text): (u16, &str)) -> Result<()> {
    let found = ask(app, target, lines)?;
    ensure!(
        found.0 == status && found.1.contains(text),
        "{target} {lines:?}: {found:?} instead of {status} with {text:?}\n{}",
        app.output()
    );
    Ok(())
}

#[test]
fn redis_keeps_counts_collects_and_publishes() -> Result<()> {
    let server = Redis::start()?;
    let address = server.address();
    for name in GUESTS {
        let (_spinlet, app) = up(name)?;
        let ask = |lines: &[&str], answer: &str| {
            let lines = [&[address.as_str()], lines].concat();
            expect(&app, "/redis", &lines, (200, answer))
        };
        ask(&["execute", "FLUSHALL"], "Status(\"OK\")")?;
        ask(&["get", "k"], "none")?;
        ask(&["set", "k", "41"], "set")?;
        ask(&["get", "k"], "41")?;
        ask(&["incr", "k"], "42")?;
        ask(&["sadd", "s", "a", "b"], "2")?;
        ask(&["srem", "s", "a"], "1")?;
        ask(&["smembers", "s"], "b")?;
        ask(&["publish", "channel", "hello"], "sent")?;
        ask(&["execute", "MGET", "k", "nothing"], "Nil")?;
        ask(&["execute", "ECHO", "hello"], "Binary([104, 101, 108, 108, 111])")?;
        ask(&["del", "k", "s", "nothing"], "2")?;
    }
    Ok(())
}

#[test]
fn every_error_of_redis_has_its_own_name() -> Result<()> {
    let server = Redis::start()?;
    let address = server.address();
    for name in GUESTS {
        let (_spinlet, app) = up(name)?;
        for denied in ["nonsense", "rediss://127.0.0.1:1", "redis://db.test", "redis://10.0.0.1"] {
            expect(&app, "/redis", &[denied, "get", "k"], (500, "InvalidAddress"))?;
        }
        app.wait_for_output("was denied: allow it by adding")?;
        expect(&app, "/redis", &["redis://127.0.0.1:1", "get", "k"], (500, "refused"))?;
        let ask = |lines: &[&str], answer| {
            let lines = [&[address.as_str()], lines].concat();
            expect(&app, "/redis", &lines, (500, answer))
        };
        ask(&["execute", "NONSENSE"], "unknown command")?;
        expect(&app, "/redis", &[&address, "set", "k", "text"], (200, "set"))?;
        ask(&["incr", "k"], "TypeError")?;
        ask(&["smembers", "k"], "TypeError")?;
        ask(&["open-many", "1024"], "TooManyConnections")?;
        expect(&app, "/redis", &[&address, "open-many", "1023"], (200, "1023"))?;
    }
    Ok(())
}

#[test]
fn postgres_changes_and_returns_rows() -> Result<()> {
    let server = Postgres::start()?;
    let address = server.address();
    for (name, target) in POSTGRES {
        let (_spinlet, app) = up(name)?;
        let ask = |lines: &[&str], answer: &str| {
            let lines = [&[address.as_str()], lines].concat();
            expect(&app, target, &lines, (200, answer))
        };
        ask(&["DROP TABLE IF EXISTS t"], "0")?;
        ask(&["CREATE TABLE t (n int4, s text)"], "0")?;
        ask(&["INSERT INTO t VALUES (1, $1), (2, $2)", "one", "two"], "2")?;
        ask(&["?SELECT n, s FROM t WHERE s = $1", "two"], "Int32(2)")?;
        ask(&["?SELECT n, s FROM t WHERE s = $1", "two"], "Str(\"two\")")?;
        ask(&["?SELECT NULL::int4, true, 1.5::float8, 'x'::bytea"], "DbNull")?;
    }
    Ok(())
}

#[test]
fn each_version_of_postgres_has_the_types_it_knows() -> Result<()> {
    let server = Postgres::start()?;
    let address = server.address();
    let query = "?SELECT '2024-02-29'::date, '1.50'::numeric, '{1,NULL}'::int4[], \
                 '[1,5)'::int4range, '1 day'::interval, '{\"a\": 1}'::jsonb, \
                 '1999-12-31 23:59:59'::timestamp, \
                 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '(1,2)'::point";
    let ((_old, old), (_new, new)) = (up("servers")?, up("servers-p3")?);
    let (_middle, middle) = up("rust-5")?;
    expect(&old, "/postgres", &[&address, query], (200, "Unsupported"))?;
    expect(&old, "/postgres-3", &[&address, query], (200, "Date((2024, 2, 29))"))?;
    for text in ["Date((2024, 2, 29))", "Decimal(\"1.50\")", "days: 1", "Jsonb(", "Unsupported(["] {
        expect(&middle, "/postgres-4", &[&address, query], (200, text))?;
    }
    for text in [
        "Date((2024, 2, 29))",
        "Decimal(\"1.50\")",
        "ArrayInt32([Some(1), None])",
        "Inclusive",
        "days: 1",
        "Jsonb(",
        "Datetime((1999, 12, 31, 23, 59, 59, 0))",
        "Uuid(\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\")",
        "Unsupported([",
    ] {
        expect(&new, "/postgres", &[&address, query], (200, text))?;
    }
    let many = "?SELECT generate_series(1, 20000)";
    expect(&new, "/postgres", &[&address, many], (200, "Int32(20000)"))
}

#[test]
fn every_error_of_postgres_has_its_own_name() -> Result<()> {
    let server = Postgres::start()?;
    let address = server.address();
    let wrong = address.replace(Postgres::PASSWORD, "secret");
    for (name, target) in POSTGRES {
        let (_spinlet, app) = up(name)?;
        let fails = |lines: &[&str], answer: &str| expect(&app, target, lines, (500, answer));
        let denied = "address postgres://db.test:5432 is not permitted";
        fails(&["postgres://u@db.test/db", "SELECT 1"], denied)?;
        fails(&["host=/run/postgresql", "SELECT 1"], "ConnectionFailed")?;
        fails(&["postgres://u@127.0.0.1:1/", "SELECT 1"], "refused")?;
        fails(&[&wrong, "SELECT 1"], "password authentication failed")?;
        fails(&[&address, "?SELECT * FROM nobody"], "nobody")?;
        fails(&[&address, "?SELECT * FROM nobody"], "QueryFailed")?;
        fails(&[&address, "?SELECT 1", "one too many"], "BadParameter")?;
        fails(&[&address, "?SELECT $1::int4", "text"], "BadParameter")?;
        fails(&[&address, "?SELECT 'infinity'::date"], "ValueConversionFailed")?;
    }
    Ok(())
}

#[test]
fn mysql_changes_and_returns_rows_and_names_its_errors() -> Result<()> {
    let server = MariaDb::start()?;
    let address = server.address();
    let wrong = address.replace(MariaDb::PASSWORD, "secret");
    for name in GUESTS {
        let (_spinlet, app) = up(name)?;
        let works = |lines: &[&str], answer: &str| {
            let lines = [&[address.as_str()], lines].concat();
            expect(&app, "/mysql", &lines, (200, answer))
        };
        works(&["DROP TABLE IF EXISTS t"], "done")?;
        works(&["CREATE TABLE t (n INT UNSIGNED, s VARCHAR(9), b BLOB, d DECIMAL(3,1))"], "done")?;
        works(&["INSERT INTO t VALUES (1, ?, ?, 1.5)", "one", "bytes"], "done")?;
        works(&["?SELECT * FROM t"], "Uint32(1)")?;
        works(&["?SELECT * FROM t"], "Str(\"one\")")?;
        works(&["?SELECT b FROM t"], "Binary([98, 121, 116, 101, 115])")?;
        works(&["?SELECT d, NULL FROM t"], "Unsupported")?;
        works(&["?SELECT seq FROM seq_1_to_20000"], "20000")?;
        let fails = |lines: &[&str], answer: &str| expect(&app, "/mysql", lines, (500, answer));
        let denied = "address mysql://u@db.test/db is not permitted";
        fails(&["mysql://u@db.test/db", "SELECT 1"], denied)?;
        fails(&["nonsense", "SELECT 1"], "ConnectionFailed")?;
        fails(&["mysql://u@127.0.0.1:1/db", "SELECT 1"], "ConnectionFailed")?;
        fails(&[&wrong, "SELECT 1"], "Access denied")?;
        fails(&[&address, "?SELECT * FROM nobody"], "QueryFailed")?;
        fails(&[&address, "?SELECT ?"], "BadParameter")?;
    }
    Ok(())
}

#[test]
fn mqtt_messages_are_acknowledged_and_errors_have_names() -> Result<()> {
    let broker = Mosquitto::start()?;
    let (user, password) = (Mosquitto::USER, Mosquitto::PASSWORD);
    for name in GUESTS {
        let (_spinlet, app) = up(name)?;
        let address = broker.address(name);
        for quality in ["0", "1", "2"] {
            let lines = [address.as_str(), user, password, "news", "text", quality];
            expect(&app, "/mqtt", &lines, (200, "published"))?;
        }
        let fails = |lines: &[&str], answer: &str| expect(&app, "/mqtt", lines, (500, answer));
        let denied = "address mqtt://db.test?client_id=a is not permitted";
        fails(&["mqtt://db.test?client_id=a", user, password, "t"], denied)?;
        fails(&["nonsense", user, password, "t"], "InvalidAddress")?;
        fails(&["mqtt://127.0.0.1:1?client_id=a", user, password, "t"], "refused")?;
        fails(&[&address, user, "wrong", "t"], "ConnectionFailed")?;
        fails(&[&address, user, password, "a/#"], "Other")?;
    }
    Ok(())
}
