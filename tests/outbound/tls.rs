//! Whom connections trust and who they are, for every protocol.

use std::path::Path;

use integration_tests::containerd::{Containerd, Version};
use integration_tests::http_server::HttpServer;
use integration_tests::registry::Registry;
use test_servers::{Authority, MariaDb, Mosquitto, Postgres, Redis};

use super::*;

/// A `[[client_tls]]` for connections of `component` to `localhost`.
fn rule(component: &str, settings: &str) -> String {
    format!("[[client_tls]]\ncomponent_ids = ['{component}']\nhosts = ['localhost']\n{settings}\n")
}

fn trusting(authority: &Authority) -> String {
    format!("ca_roots_file = '{}'\n", authority.certificate().display())
}

fn identity(authority: &Authority) -> Result<String> {
    let own = authority.issue(&["a-client"])?;
    let (certificate, key) = (own.certificate.display(), own.key.display());
    Ok(format!("client_cert_file = '{certificate}'\nclient_private_key_file = '{key}'\n"))
}

#[test]
fn a_server_is_trusted_by_whom_its_component_and_host_say() -> Result<()> {
    let authority = Authority::new()?;
    let server = HttpServer::with_tls(&authority, false)?;
    let url = format!("https://localhost:{}/ok", server.port());
    let own = trusting(&authority);
    for (settings, answer) in [
        (own.clone(), "200 ok"),
        (format!("{own}ca_use_platform_roots = false"), "200 ok"),
        (format!("{own}ca_use_webpki_roots = true"), "200 ok"),
        (String::new(), "TlsProtocolError"),
        ("ca_use_platform_roots = true".to_owned(), "TlsProtocolError"),
        ("ca_use_webpki_roots = true".to_owned(), "TlsProtocolError"),
    ] {
        let app = App::start("outbound", &rule("outbound", &settings))?;
        app.expect(&url, answer)?;
        // The rule is neither for this component nor for this host.
        assert_eq!(app.ask("/other/fetch", &[&url])?, ["TlsProtocolError"], "{settings}");
        app.expect(&url.replace("localhost", "127.0.0.1"), "TlsProtocolError")?;
    }
    Ok(())
}

#[test]
fn certificates_of_the_environment_are_those_of_the_platform() -> Result<()> {
    let authority = Authority::new()?;
    let server = HttpServer::with_tls(&authority, false)?;
    let url = format!("https://localhost:{}/ok", server.port());
    for (settings, answer) in [
        ("", "200 ok"),
        ("ca_use_platform_roots = true", "200 ok"),
        ("ca_use_webpki_roots = true", "TlsProtocolError"),
    ] {
        let spinlet = Spinlet::new()?.with_env("SSL_CERT_FILE", authority.certificate());
        let app = App::of(spinlet, "outbound", &rule("outbound", settings))?;
        app.expect(&url, answer)?;
        assert_eq!(app.ask("/other/fetch", &[&url])?, ["200 ok"], "{settings}");
    }
    Ok(())
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_that_of_the_component() -> Result<()> {
    let authority = Authority::new()?;
    let server = HttpServer::with_tls(&authority, true)?;
    let url = format!("https://localhost:{}/ok", server.port());
    let known = rule("outbound", &format!("{}{}", trusting(&authority), identity(&authority)?));
    let unknown = rule("other", &trusting(&authority));
    let app = App::start("outbound", &format!("{known}{unknown}"))?;
    app.expect(&url, "200 ok")?;
    // The connection of the one that has a certificate is not for the other one.
    assert_eq!(app.ask("/other/fetch", &[&url])?, ["TlsProtocolError"]);
    app.expect(&url, "200 ok")?;
    assert_eq!(server.connections(), 2);
    Ok(())
}

#[test]
fn files_of_certificates_that_cannot_be_used_are_named_before_anything_listens() -> Result<()> {
    let (authority, spinlet) = (Authority::new()?, Spinlet::new()?);
    let (one, other) = (authority.issue(&["one"])?, authority.issue(&["other"])?);
    let text = spinlet.folder().join("text");
    fs::write(&text, "no certificate")?;
    let files = |certificate: &Path, key: &Path| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("client_cert_file = '{certificate}'\nclient_private_key_file = '{key}'\n")
    };
    let config = [
        rule("a", "ca_roots_file = 'nowhere.pem'"),
        rule("b", &format!("ca_roots_file = '{}'", text.display())),
        rule("c", &files(&one.certificate, &other.key)),
        rule("d", &files(&one.certificate, &text)),
    ];
    let path = spinlet.folder().join("wrong.toml");
    fs::write(&path, config.concat())?;
    let (app, path) = (guest("outbound")?.display().to_string(), path.display().to_string());
    let finished = spinlet.finish(&["up", &app, "--runtime-config-file", &path])?;
    ensure!(!finished.status.success(), "it started: {}", finished.text());
    for part in [
        &format!("number 1: cannot read {}/nowhere.pem", spinlet.folder().display()),
        &format!("number 2: there is no certificate in {}", text.display()),
        &format!("number 3: the key in {} is not that", other.key.display()),
        &format!("number 4: there is no private key in {}", text.display()),
    ] {
        ensure!(finished.text().contains(part), "{part} is not in {}", finished.text());
    }
    Ok(())
}

/// The servers of all other protocols; each of them asks for a certificate when it is
/// `mutual`.
struct Servers {
    _redis: Redis,
    _postgres: Postgres,
    _maria: MariaDb,
    _mosquitto: Mosquitto,
    requests: Vec<(&'static str, Vec<String>, &'static str)>,
}

impl Servers {
    fn start(authority: &Authority, mutual: bool) -> Result<Self> {
        let redis = Redis::with_tls(authority, mutual)?;
        let postgres = Postgres::with_tls(authority, mutual)?;
        let maria = MariaDb::with_tls(authority, mutual)?;
        let mosquitto = Mosquitto::with_tls(authority, mutual)?;
        let redis_address = format!("rediss://localhost:{}", redis.port());
        let postgres_address = postgres.address().replace("127.0.0.1", "localhost");
        let postgres_address = postgres_address.replace("sslmode=disable", "sslmode=require");
        let maria_address = maria.address().replace("127.0.0.1", "localhost");
        let mosquitto_address = format!("mqtts://localhost:{}?client_id=x", mosquitto.port());
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let (user, password) = (Mosquitto::USER, Mosquitto::PASSWORD);
        let requests = vec![
            ("/redis", lines(&[&redis_address, "get", "k"]), "none"),
            (
                "/postgres",
                lines(&[
                    &postgres_address,
                    "?SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                ]),
                "Boolean(true)",
            ),
            (
                "/mysql",
                lines(&[
                    &format!("{maria_address}?ssl-mode=REQUIRED"),
                    "?SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS \
                     WHERE VARIABLE_NAME = 'Ssl_cipher'",
                ]),
                "1",
            ),
            ("/mqtt", lines(&[&mosquitto_address, user, password, "t", "text", "1"]), "published"),
        ];
        Ok(Self {
            _redis: redis,
            _postgres: postgres,
            _maria: maria,
            _mosquitto: mosquitto,
            requests,
        })
    }

    /// Asks each of them, with success or without.
    fn expect(&self, app: &App, success: bool) -> Result<()> {
        for (target, lines, answer) in &self.requests {
            let body = lines.join("\n");
            let response = request(app.served.address(), "POST", target, &[], body.as_bytes())?;
            let found = (response.status, response.text());
            ensure!(
                (found.0 == 200 && found.1.contains(answer)) == success
                    && (found.0 == 200) == success,
                "{target} {lines:?}: {found:?}\n{}",
                app.served.output()
            );
        }
        Ok(())
    }
}

#[test]
fn servers_of_every_protocol_are_reached_over_tls_that_the_configuration_trusts() -> Result<()> {
    let authority = Authority::new()?;
    let servers = Servers::start(&authority, false)?;
    for name in ["servers", "servers-p3"] {
        servers.expect(&App::start(name, "")?, false)?;
        servers.expect(&App::start(name, &rule(name, &trusting(&authority)))?, true)?;
        let spinlet = Spinlet::new()?.with_env("SSL_CERT_FILE", authority.certificate());
        servers.expect(&App::of(spinlet, name, "")?, true)?;
    }
    Ok(())
}

#[test]
fn servers_of_every_protocol_are_shown_the_certificate_of_the_component() -> Result<()> {
    let authority = Authority::new()?;
    let servers = Servers::start(&authority, true)?;
    let trusting = trusting(&authority);
    servers.expect(&App::start("servers", &rule("servers", &trusting))?, false)?;
    let known = format!("{trusting}{}", identity(&authority)?);
    servers.expect(&App::start("servers", &rule("servers", &known))?, true)
}

/// A bundle at the usual place, as the Spin operator mounts it, or one that the
/// environment names.
#[test]
fn a_container_trusts_its_own_bundle() -> Result<()> {
    let (authority, containerd) = (Authority::new()?, Containerd::start(Version::V2)?);
    let server = HttpServer::with_tls(&authority, false)?;
    let url = format!("https://localhost:{}/ok", server.port());
    let registry = Registry::start()?;
    let image = registry.reference("outbound");
    Spinlet::new()?.run(&["push", &guest("outbound")?.display().to_string(), &image])?;
    containerd.pull(&image)?;
    let source = authority.certificate().display();
    let mount =
        |destination: &str| format!("type=bind,src={source},dst={destination},options=rbind:ro");
    let (usual, own) = (mount("/etc/ssl/certs/ca-certificates.crt"), mount("/own.pem"));
    let hosts = containerd.folder().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n")?;
    let hosts = format!("type=bind,src={},dst=/etc/hosts,options=rbind:ro", hosts.display());
    for (id, options, answer) in [
        ("none", vec!["--mount", &hosts], "TlsProtocolError"),
        ("usual", vec!["--mount", &hosts, "--mount", &usual], "200 ok"),
        (
            "own",
            vec!["--mount", &hosts, "--mount", &own, "--env", "SSL_CERT_FILE=/own.pem"],
            "200 ok",
        ),
    ] {
        let address = containerd.run(&image, id, &options)?;
        let response = request(address, "POST", "/fetch", &[], url.as_bytes())?;
        assert_eq!(response.text(), answer, "{id}");
        assert_eq!(containerd.stop(id, "SIGTERM")?, 0);
    }
    Ok(())
}
