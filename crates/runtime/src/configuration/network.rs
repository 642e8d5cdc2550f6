//! How components reach servers: what is blocked, limits, and TLS.

use app::Problems;
use host::OutboundSettings;
use outbound_hosts::BlockedNetworks;
use outbound_network::{ClientIdentity, TlsFileError, TlsRule, TlsSettings, read_authorities};
use runtime_config::{ClientTls, ConnectionLimit, RuntimeConfig};

/// What the configuration says about connections. What cannot be used goes to
/// `problems`: networks that are none, and files of certificates that cannot be
/// read.
pub(super) fn settings(config: &RuntimeConfig, problems: &mut Problems) -> OutboundSettings {
    let networking = &config.outbound_networking;
    let blocked = BlockedNetworks::parse(&networking.block_networks).unwrap_or_else(|errors| {
        problems.extend(errors.iter().map(|error| format!("[outbound_networking]: {error}")));
        BlockedNetworks::default()
    });
    let mut tls = Vec::new();
    for (index, rule) in config.client_tls.iter().enumerate() {
        match tls_rule(rule) {
            Ok(rule) => tls.push(rule),
            Err(error) => {
                let error = process_setup::chain(&error);
                problems.push(format!("[[client_tls]] number {}: {error}", index + 1));
            }
        }
    }
    OutboundSettings {
        blocked_networks: blocked,
        tls,
        connections: limit(networking.max_total_connections),
        sockets: limit(networking.max_socket_connections),
        http_pooling: config.outbound_http.connection_pooling,
        http_connections: limit(config.outbound_http.max_connections),
        redis_connections: limit(config.outbound_redis),
        postgres_connections: limit(config.outbound_pg),
        mysql_connections: limit(config.outbound_mysql),
        mqtt_connections: limit(config.outbound_mqtt),
        mqtt_payload: limit(config.outbound_mqtt_max_payload),
    }
}

fn tls_rule(rule: &ClientTls) -> Result<TlsRule, TlsFileError> {
    let authorities = rule.ca_roots_file.as_deref().map(read_authorities).transpose()?;
    let identity = rule.client_certificate.as_ref();
    let identity = identity
        .map(|client| ClientIdentity::read(&client.certificates, &client.private_key))
        .transpose()?;
    Ok(TlsRule {
        components: rule.component_ids.clone(),
        hosts: rule.hosts.clone(),
        settings: TlsSettings {
            platform: rule.trust_platform,
            webpki: rule.trust_webpki,
            authorities: authorities.unwrap_or_default(),
            identity,
        },
    })
}

/// More than the machine can count is no limit to it.
fn limit(limit: ConnectionLimit) -> Option<usize> {
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
