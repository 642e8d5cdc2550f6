//! The address to serve on, as people type it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// `IP:PORT`, `localhost:PORT` or a port of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen(SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let loopback = |port: &str| {
            let port = port.parse::<u16>().ok()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        };
        text.parse()
            .ok()
            .or_else(|| loopback(text))
            .or_else(|| loopback(text.strip_prefix("localhost:")?))
            .map(Self)
            .ok_or_else(|| "expected IP:PORT, for example 0.0.0.0:8080, or a port".to_owned())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ports_and_localhost_are_understood() {
        for (text, address) in [
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:3000", "[::1]:3000"),
            ("8080", "127.0.0.1:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), address);
        }
        for text in ["", "70000", "example.com:80", "http://127.0.0.1:80"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
