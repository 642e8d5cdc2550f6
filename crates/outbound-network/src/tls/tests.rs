//! Who is trusted, who is shown, and what files are refused.

use std::sync::Arc;

use fs_err as fs;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use test_servers::{Authority, CertificateFiles};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Trusts `authority` and nobody else.
fn only(authority: &Authority) -> TlsSettings {
    TlsSettings {
        platform: false,
        webpki: false,
        authorities: read_authorities(authority.certificate()).unwrap(),
        identity: None,
    }
}

fn identity(files: &CertificateFiles) -> Result<ClientIdentity, TlsFileError> {
    ClientIdentity::read(&files.certificate, &files.key)
}

/// A server as `localhost`, which asks clients for a certificate when `mutual`.
fn server(authority: &Authority, mutual: bool) -> TlsAcceptor {
    let files = authority.issue(&["localhost"]).unwrap();
    let chain = vec![CertificateDer::from_pem_file(files.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(files.key).unwrap();
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.unwrap();
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

/// Whether a byte reaches the client over TLS.
async fn reaches(tls: &Tls, server: &TlsAcceptor) -> bool {
    let (ours, theirs): (DuplexStream, DuplexStream) = tokio::io::duplex(64 * 1024);
    let serve = async {
        if let Ok(mut stream) = server.accept(theirs).await {
            let _ = stream.write_all(b"x").await;
            let _ = stream.shutdown().await;
        }
    };
    let connect = async {
        let mut stream = tls.secure("localhost", ours).await.ok()?;
        stream.read_u8().await.ok()
    };
    tokio::join!(serve, connect).1 == Some(b'x')
}

#[tokio::test]
async fn only_who_is_trusted_is_connected_to() {
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let trusted = server(&authority, false);
    assert!(reaches(&Tls::new(1, only(&authority)), &trusted).await);
    assert!(!reaches(&Tls::new(1, only(&stranger)), &trusted).await);
    assert!(!reaches(&Tls::default(), &trusted).await);
    let besides = read_authorities(authority.certificate()).unwrap();
    let config = Tls::new(1, only(&stranger)).config_also_trusting(&besides).await.unwrap();
    assert!(!config.alpn_protocols.iter().any(|_| true));
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (accepted, secured) =
        tokio::join!(trusted.accept(theirs), secure(config, "localhost", ours));
    assert!(accepted.is_ok() && secured.is_ok());
}

#[tokio::test]
async fn who_is_asked_for_a_certificate_shows_its_own() {
    let authority = Authority::new().unwrap();
    let server = server(&authority, true);
    assert!(!reaches(&Tls::new(1, only(&authority)), &server).await);
    let own = identity(&authority.issue(&["client"]).unwrap()).unwrap();
    let known = TlsSettings { identity: Some(own), ..only(&authority) };
    assert!(reaches(&Tls::new(1, known), &server).await);
    let foreign = Authority::new().unwrap();
    let own = identity(&foreign.issue(&["client"]).unwrap()).unwrap();
    let unknown = TlsSettings { identity: Some(own), ..only(&authority) };
    assert!(!reaches(&Tls::new(1, unknown), &server).await);
}

#[test]
fn the_first_rule_for_a_component_and_a_host_counts() {
    let rule = |components: &[&str], hosts: &[&str]| TlsRule {
        components: components.iter().map(|id| (*id).to_owned()).collect(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        settings: TlsSettings::default(),
    };
    let rules = TlsRules::new(vec![
        rule(&["a"], &["x.test", "::1"]),
        rule(&["a", "b"], &["x.test", "y.test"]),
    ]);
    let number = |component: &str, host: &str| rules.of(component, host).number();
    for (component, host, expected) in [
        ("a", "x.test", 1),
        ("a", "X.Test", 1),
        ("a", "::1", 1),
        ("a", "y.test", 2),
        ("b", "x.test", 2),
        ("b", "::1", 0),
        ("a", "z.test", 0),
        ("a", "sub.x.test", 0),
        ("c", "x.test", 0),
    ] {
        assert_eq!(number(component, host), expected, "{component} {host}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new().unwrap();
    let (one, other) = (authority.issue(&["one"]).unwrap(), authority.issue(&["other"]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "no certificate").unwrap();
    let broken = folder.path().join("broken");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let nowhere = folder.path().join("nowhere");
    let errors = [
        (read_authorities(&nowhere).unwrap_err(), "cannot read", &nowhere),
        (read_authorities(&text).unwrap_err(), "there is no certificate", &text),
        (read_authorities(&broken).unwrap_err(), "cannot be used", &broken),
        (ClientIdentity::read(&nowhere, &one.key).unwrap_err(), "cannot read", &nowhere),
        (ClientIdentity::read(&one.certificate, &text).unwrap_err(), "private key in", &text),
        (
            ClientIdentity::read(&one.certificate, &other.key).unwrap_err(),
            "is not that",
            &other.key,
        ),
    ];
    for (error, what, path) in errors {
        let found = error.to_string();
        assert!(found.contains(what) && found.contains(&path.display().to_string()), "{found}");
    }
    assert!(!format!("{:?}", identity(&one).unwrap()).contains("key"));
}
