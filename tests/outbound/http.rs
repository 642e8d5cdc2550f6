//! Requests of guests: their answers, their error codes, and whether connections
//! are used again.

use std::net::TcpListener;

use integration_tests::http_server::HttpServer;
use test_servers::Authority;

use super::*;

#[test]
fn every_failure_of_a_request_has_its_error_code() -> Result<()> {
    let (server, silent) = (HttpServer::start()?, TcpListener::bind("127.0.0.1:0")?);
    let secure = HttpServer::with_tls(&Authority::new()?, false)?;
    let app = App::start("outbound", "")?;
    let at = |path: &str| format!("http://localhost:{}{path}", server.port());
    app.expect(&at("/ok"), "200 ok")?;
    for (line, code) in [
        ("http://elsewhere.test/".to_owned(), "HttpRequestDenied"),
        ("http://127.0.0.1:1/".to_owned(), "ConnectionRefused"),
        ("http://name.invalid/".to_owned(), "rcode: Some(\"address not available\")"),
        (format!("https://localhost:{}/ok", secure.port()), "TlsProtocolError"),
        (format!("https://localhost:{}/ok", server.port()), "TlsProtocolError"),
        (
            format!("https://127.0.0.1:{}/ connect=200", silent.local_addr()?.port()),
            "ConnectionTimeout",
        ),
        (at("/slow/3000 connect=100 first=100"), "ConnectionReadTimeout"),
        (at("/half/3000 between=100"), "connection read timeout"),
        (at("/close"), "HttpProtocolError"),
        (at("/nonsense"), "HttpProtocolError"),
    ] {
        app.expect(&line, code)?;
    }
    app.served.wait_for_output("http://elsewhere.test was denied: allow it by adding")?;
    app.expect(&at("/half/50"), "200 fine")
}

#[test]
fn nothing_leads_to_a_blocked_network_whatever_its_name() -> Result<()> {
    let server = HttpServer::start()?;
    let port = server.port();
    let app = App::start("outbound", "[outbound_networking]\nblock_networks = ['private']")?;
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        app.expect(&format!("http://{host}:{port}/ok"), "DestinationIpProhibited")?;
    }
    // The other component may go everywhere else.
    let lines = [&*format!("http://[::ffff:127.0.0.1]:{port}/ok"), "http://0.0.0.0:1/"];
    assert_eq!(app.ask("/other/fetch", &lines)?, ["DestinationIpProhibited"; 2]);
    assert_eq!(app.ask("/tcp", &[&format!("127.0.0.1:{port}")])?, ["access-denied"]);
    assert_eq!(server.connections(), 0);
    let app = App::start("outbound", "[outbound_networking]\nblock_networks = ['10.0.0.0/8']")?;
    app.expect(&format!("http://localhost:{port}/ok"), "200 ok")
}

#[test]
fn connections_are_used_again_unless_the_configuration_says_otherwise() -> Result<()> {
    // A table that does not say means no.
    for (config, connections) in [
        ("", 1),
        ("[outbound_http]\nconnection_pooling = true", 1),
        ("[outbound_http]\nconnection_pooling = false", 4),
        ("[outbound_http]", 4),
        ("[outbound_http]\nconnection_pooling = true\nmax_connections = 1", 1),
    ] {
        let server = HttpServer::start()?;
        let app = App::start("outbound", config)?;
        for _ in 0..4 {
            app.expect(&format!("http://127.0.0.1:{}/ok", server.port()), "200 ok")?;
        }
        assert_eq!(server.connections(), connections, "{config}");
    }
    Ok(())
}

#[test]
fn a_url_without_authority_is_one_of_the_app() -> Result<()> {
    let app = App::start("outbound", "")?;
    for path in ["/fetch", "/other/fetch"] {
        assert_eq!(app.ask(path, &["/nothing"])?, ["200 there is no /nothing"], "{path}");
    }
    Ok(())
}

#[test]
fn names_are_not_looked_up_for_sockets_and_nothing_is_bound() -> Result<()> {
    let app = App::start("outbound", "")?;
    // Not even where everything is allowed.
    for path in ["/", "/other/"] {
        let looked = app.ask(&format!("{path}lookup"), &["localhost", "127.0.0.1"])?;
        assert_eq!(looked, ["permanent-resolver-failure"; 2]);
        let bound = app.ask(&format!("{path}listen"), &["127.0.0.1:0", "0.0.0.0:8080"])?;
        assert_eq!(bound, ["access-denied"; 2]);
    }
    Ok(())
}

#[test]
fn a_component_that_may_connect_to_nothing_has_no_sockets() -> Result<()> {
    let app = App::start("outbound", "")?;
    assert_eq!(app.ask("/socket", &["tcp", "udp"])?, ["made"; 2]);
    assert_eq!(app.ask("/closed/socket", &["tcp", "udp"])?, ["access-denied"; 2]);
    Ok(())
}
