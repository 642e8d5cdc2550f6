//! How many connections there are at a time.

use integration_tests::http_server::HttpServer;

use super::*;

#[test]
fn one_request_more_than_there_may_be_connections_waits_for_one() -> Result<()> {
    // The older key has always permitted one more than it says.
    for (config, most) in [
        ("", 4),
        ("[outbound_http]\nmax_connections = 1", 1),
        ("[outbound_http]\nmax_concurrent_requests = 1", 2),
        ("[outbound_http]\nconnection_pooling = true\nmax_connections = 2", 2),
        ("[outbound_networking]\nmax_total_connections = 2", 2),
    ] {
        let server = HttpServer::start()?;
        let app = App::start("outbound", config)?;
        let line = format!("http://127.0.0.1:{}/slow/300", server.port());
        assert_eq!(app.ask("/fetch", &[&line; 4])?, ["200 ok"; 4], "{config}");
        assert_eq!(server.most_at_a_time(), most, "{config}");
    }
    Ok(())
}

#[test]
fn a_connection_kept_for_one_server_makes_room_for_another() -> Result<()> {
    let (first, second) = (HttpServer::start()?, HttpServer::start()?);
    let config = "[outbound_http]\nconnection_pooling = true\nmax_connections = 1";
    let app = App::start("outbound", config)?;
    for server in [&first, &second, &first] {
        app.expect(&format!("http://127.0.0.1:{}/ok", server.port()), "200 ok")?;
    }
    Ok(())
}

#[test]
fn without_any_connection_permitted_a_request_fails_at_once() -> Result<()> {
    let server = HttpServer::start()?;
    let url = format!("http://127.0.0.1:{}/ok", server.port());
    for config in
        ["[outbound_http]\nmax_connections = 0", "[outbound_networking]\nmax_total_connections = 0"]
    {
        App::start("outbound", config)?.expect(&url, "ConnectionLimitReached")?;
    }
    let short = "[outbound_http]\nmax_connections = 1";
    let impatient = format!("http://127.0.0.1:{}/slow/1500 connect=200", server.port());
    let mut answers = App::start("outbound", short)?.ask("/fetch", &[&impatient; 2])?;
    answers.sort();
    assert_eq!(answers, ["200 ok", "ConnectionLimitReached"]);
    Ok(())
}

#[test]
fn sockets_are_counted_from_their_connection_to_their_end() -> Result<()> {
    let server = HttpServer::start()?;
    let line = format!("127.0.0.1:{}", server.port());
    for config in [
        "[outbound_networking]\nmax_socket_connections = 2",
        "[outbound_networking]\nmax_total_connections = 2",
    ] {
        let app = App::start("outbound", config)?;
        for _ in 0..2 {
            let answers = app.ask("/tcp", &[&line; 3])?;
            assert_eq!(answers, ["connected", "connected", "access-denied"], "{config}");
            assert_eq!(app.ask("/tcp-in-turn", &[&line; 5])?, ["connected"; 5], "{config}");
        }
        let refused = ["127.0.0.1:1"; 4];
        assert_eq!(app.ask("/tcp-in-turn", &refused)?, ["connection-refused"; 4], "{config}");
    }
    Ok(())
}

#[test]
fn two_names_of_one_limit_exclude_each_other() -> Result<()> {
    let spinlet = Spinlet::new()?;
    let path = spinlet.folder().join("both.toml");
    fs::write(&path, "[outbound_http]\nmax_connections = 1\nmax_concurrent_requests = 1")?;
    let (app, path) = (guest("outbound")?.display().to_string(), path.display().to_string());
    let finished = spinlet.finish(&["up", &app, "--runtime-config-file", &path])?;
    let text = finished.text();
    ensure!(!finished.status.success() && text.contains("two names of one key"), "{text}");
    Ok(())
}
