//! `[outbound_http]`, `[outbound_networking]`, `[[client_tls]]` and the limits of
//! connections.

use std::path::PathBuf;

use crate::Reader;

/// How many connections there may be.
pub type ConnectionLimit = Option<u64>;

/// `[outbound_http]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundHttp {
    /// Whether connections are used again. Without a table: yes. With a table
    /// that does not say: no, as in Spin.
    pub connection_pooling: bool,
    /// Connections at a time; none: as many as are needed.
    pub max_connections: ConnectionLimit,
}

impl Default for OutboundHttp {
    fn default() -> Self {
        Self { connection_pooling: true, max_connections: None }
    }
}

/// `[outbound_networking]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboundNetworking {
    /// Networks, addresses, or `private`: nothing leads there, whatever a
    /// component may reach otherwise.
    pub block_networks: Vec<String>,
    /// Sockets of guests at a time.
    pub max_socket_connections: ConnectionLimit,
    /// Connections of every kind at a time.
    pub max_total_connections: ConnectionLimit,
}

/// `[[client_tls]]`: certificates for the connections of some components to some
/// hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// The components.
    pub component_ids: Vec<String>,
    /// The hosts, in lower case, without ports and brackets.
    pub hosts: Vec<String>,
    /// Whether the certificates of the system are trusted.
    pub trust_platform: bool,
    /// Whether Mozilla's certificates are trusted.
    pub trust_webpki: bool,
    /// A PEM file of further certificates that are trusted.
    pub ca_roots_file: Option<PathBuf>,
    /// Who the component is.
    pub client_certificate: Option<ClientCertificate>,
}

/// The certificate of a client and its key, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and those that lead to its root.
    pub certificates: PathBuf,
    /// The private key.
    pub private_key: PathBuf,
}

pub(crate) fn http(reader: &mut Reader<'_>) -> OutboundHttp {
    let connection_pooling = reader.switch("connection_pooling").unwrap_or(false);
    let connections = reader.number("max_connections");
    // Spin has always permitted one more than this older key says.
    let requests = reader.number("max_concurrent_requests").map(|limit| limit.saturating_add(1));
    if connections.is_some() && requests.is_some() {
        reader.refuse(
            "max_connections and max_concurrent_requests are two names of one key; use the first",
        );
    }
    let max_connections = connections.or(requests);
    OutboundHttp { connection_pooling, max_connections }
}

pub(crate) fn networking(reader: &mut Reader<'_>) -> OutboundNetworking {
    OutboundNetworking {
        block_networks: reader.texts("block_networks").unwrap_or_default(),
        max_socket_connections: reader.number("max_socket_connections"),
        max_total_connections: reader.number("max_total_connections"),
    }
}

pub(crate) fn limit(reader: &mut Reader<'_>) -> ConnectionLimit {
    reader.number("max_connections")
}

pub(crate) fn mqtt(reader: &mut Reader<'_>) -> (ConnectionLimit, Option<u64>) {
    (limit(reader), reader.positive("max_payload_size_bytes"))
}

pub(crate) fn client_tls(reader: &mut Reader<'_>) -> Option<ClientTls> {
    let component_ids = reader.required_texts("component_ids");
    let hosts = reader.required_texts("hosts");
    let hosts = hosts.map(|hosts| {
        hosts.iter().filter_map(|host| bare_host(host, reader)).collect::<Vec<String>>()
    });
    let platform = reader.switch("ca_use_platform_roots");
    let webpki = reader.switch("ca_use_webpki_roots");
    let ca_roots_file = reader.path("ca_roots_file");
    let certificates = reader.path("client_cert_file");
    let private_key = reader.path("client_private_key_file");
    let client_certificate = match (certificates, private_key) {
        (Some(certificates), Some(private_key)) => {
            Some(ClientCertificate { certificates, private_key })
        }
        (None, None) => None,
        _ => {
            reader.refuse("client_cert_file and client_private_key_file belong together");
            None
        }
    };
    // What is said counts; when nothing is said, a file of one's own stands
    // alone, and without one the system is trusted.
    let silent = platform.is_none() && webpki.is_none();
    let (trust_platform, trust_webpki) =
        (platform.unwrap_or(silent && ca_roots_file.is_none()), webpki.unwrap_or(false));
    if !trust_platform && !trust_webpki && ca_roots_file.is_none() {
        reader.refuse(
            "nobody would be trusted: name a ca_roots_file, or set ca_use_platform_roots or \
             ca_use_webpki_roots to true",
        );
    }
    Some(ClientTls {
        component_ids: component_ids?,
        hosts: hosts?,
        trust_platform,
        trust_webpki,
        ca_roots_file,
        client_certificate,
    })
}

/// A host as connections name it; none when it is not one.
fn bare_host(host: &str, reader: &mut Reader<'_>) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address = bare.unwrap_or(host).parse::<std::net::Ipv6Addr>().is_ok();
    if is_address {
        return Some(bare.unwrap_or(host).to_ascii_lowercase());
    }
    let is_name = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if !is_name {
        let problem = if host.contains(':') { "must not have a port" } else { "is not a host" };
        reader.refuse(&format!("the host {host:?} {problem}"));
    }
    is_name.then(|| host.to_ascii_lowercase())
}
