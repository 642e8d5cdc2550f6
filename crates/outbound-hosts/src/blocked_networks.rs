//! Networks that no component reaches, whatever it is allowed.

use std::net::IpAddr;

use crate::address::{self, Network};
use crate::allowed_hosts::Grant;

/// What `private` stands for: everything that is not routed globally, from the
/// special-purpose registries of the IANA (RFC 6890 and its updates) and multicast.
const PRIVATE: [&str; 25] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// The networks blocked for all components of an app; none without
/// configuration.
///
/// Addresses that belong to the node ([`address::is_node_local`]) are blocked
/// besides, except for entries of `allowed_outbound_hosts` that name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockedNetworks {
    networks: Vec<Network>,
}

/// An entry that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "block_networks entry {entry:?} is not a network: use `private` or a form such as `10.0.0.0/8`"
)]
pub struct NetworkError {
    entry: String,
}

impl BlockedNetworks {
    /// Parses `entries`: networks such as `10.0.0.0/8`, single addresses, and the
    /// word `private`, which stands for every network that is not routed
    /// globally.
    ///
    /// # Errors
    ///
    /// Every entry that is neither.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, Vec<NetworkError>> {
        let mut networks = Vec::new();
        let mut errors = Vec::new();
        for entry in entries.iter().map(AsRef::as_ref) {
            if entry == "private" {
                networks.extend(PRIVATE.iter().filter_map(|network| Network::parse(network)));
            } else if let Some(network) = parse(entry) {
                networks.push(network);
            } else {
                errors.push(NetworkError { entry: entry.to_owned() });
            }
        }
        if errors.is_empty() { Ok(Self { networks }) } else { Err(errors) }
    }

    /// Whether `address` may be connected to for the sake of `grant`.
    pub fn permit(&self, address: IpAddr, grant: Grant) -> bool {
        let node_local = address::is_node_local(address) && !grant.names_address;
        !node_local && !self.networks.iter().any(|network| network.contains(address))
    }
}

fn parse(entry: &str) -> Option<Network> {
    let length = match entry.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => "/32",
        Ok(IpAddr::V6(_)) => "/128",
        Err(_) => "",
    };
    Network::parse(&format!("{entry}{length}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_NAME: Grant = Grant { names_address: false };
    const BY_ADDRESS: Grant = Grant { names_address: true };

    fn permits(entries: &[&str], address: &str, grant: Grant) -> bool {
        BlockedNetworks::parse(entries).unwrap().permit(address.parse().unwrap(), grant)
    }

    #[test]
    fn only_entries_that_name_them_lead_to_addresses_of_the_node() {
        assert!(!permits(&[], "169.254.169.254", BY_NAME));
        assert!(permits(&[], "169.254.169.254", BY_ADDRESS));
        assert!(permits(&[], "10.0.0.1", BY_NAME));
    }

    #[test]
    fn nothing_leads_to_a_blocked_network() {
        for address in ["192.0.2.7", "::ffff:192.0.2.7", "64:ff9b::c000:207"] {
            assert!(!permits(&["192.0.2.0/24"], address, BY_ADDRESS), "{address}");
        }
        assert!(permits(&["192.0.2.0/24"], "192.0.3.7", BY_NAME));
        assert!(!permits(&["192.0.2.7"], "192.0.2.7", BY_ADDRESS));
        assert!(permits(&["192.0.2.7"], "192.0.2.8", BY_ADDRESS));
        assert!(!permits(&["2001:db8::1"], "2001:db8::1", BY_ADDRESS));
    }

    #[test]
    fn private_is_everything_that_is_not_routed_globally() {
        let parsed = BlockedNetworks::parse(&["private"]).unwrap();
        assert_eq!(parsed.networks.len(), PRIVATE.len());
        for address in [
            "10.1.2.3",
            "127.0.0.1",
            "0.0.0.0",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::ffff:10.0.0.1",
        ] {
            assert!(!permits(&["private"], address, BY_ADDRESS), "{address}");
        }
        for address in ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "192.0.1.1"] {
            assert!(permits(&["private"], address, BY_NAME), "{address}");
        }
    }

    #[test]
    fn every_entry_that_is_no_network_is_reported() {
        let errors = BlockedNetworks::parse(&["public", "10.0.0.0/33", "10.0.0.0/8"]).unwrap_err();
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with(r#"block_networks entry "public" is not a network"#));
    }
}
