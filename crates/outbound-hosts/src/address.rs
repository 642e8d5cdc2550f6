//! IP addresses and networks: which of them guests never reach by accident.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses, for example `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: u128,
    mask: u128,
    v6: bool,
}

impl Network {
    /// Parses `address/length`; bits behind the length are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let length: u32 = length.parse().ok()?;
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv6() { 128 } else { 32 };
        if length > width {
            return None;
        }
        // As a number of 128 bits, an IPv4 network has 96 more leading bits.
        let mask = u128::MAX.checked_shl(width - length).unwrap_or(0);
        Some(Self { base: number(address) & mask, mask, v6: address.is_ipv6() })
    }

    /// Whether `address` lies inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        address.is_ipv6() == self.v6 && number(address) & self.mask == self.base
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The IPv4 address that an IPv6 address stands for (mapped, compatible, or
/// behind the well-known NAT64 prefix), otherwise the address itself.
pub fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if v6.is_loopback() || v6.is_unspecified() {
        return address;
    }
    let embedded = match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some((high, low))
        }
        _ => None,
    };
    embedded.map_or(address, |(high, low)| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    })
}

/// Whether `address` belongs to the node rather than to the network: link-local
/// addresses, where clouds serve credentials of the node, and their IPv6 twin.
///
/// No wildcard and no name leads there; only an entry that names the address or
/// its network does.
pub fn is_node_local(address: IpAddr) -> bool {
    match canonical(address) {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_local_addresses_are_recognised_in_every_spelling() {
        for (address, expected) in [
            ("169.254.169.254", true),
            ("169.254.0.1", true),
            ("::ffff:169.254.169.254", true),
            ("::169.254.169.254", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("fd00:ec2::254", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("::", false),
            ("10.0.0.1", false),
            ("fd00::1", false),
            ("fec0::1", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_node_local(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn networks_contain_what_their_length_says() {
        let contains = |network: &str, address: &str| {
            Network::parse(network).unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("0.0.0.0/0", "255.255.255.255"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(contains("192.168.7.9/24", "192.168.7.255"));
        assert!(!contains("192.168.7.0/24", "192.168.8.0"));
        assert!(contains("10.0.0.1/32", "::ffff:10.0.0.1"));
        assert!(Network::parse("10.0.0.0/33").is_none());
        assert!(Network::parse("10.0.0.0").is_none());
    }
}
