//! Addresses of PostgreSQL servers.

use std::fmt;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

/// Where servers are and how to log in.
#[derive(Clone)]
pub struct PostgresAddress {
    /// Every host with its port, in the order in which they are tried.
    pub hosts: Vec<(String, u16)>,
    names_ports: bool,
    pub(crate) config: Config,
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// It is neither a URL nor `key=value` pairs.
    Form,
    /// It names no host, or a Unix socket.
    NoHost,
    /// It has an option that is not supported.
    Option(&'static str),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "a PostgreSQL address must be of the form `postgres://user:password@host/database` \
                 or consist of `key=value` pairs",
            ),
            Self::NoHost => f.write_str(
                "a PostgreSQL address must name a host; sockets of the file system are not supported",
            ),
            Self::Option(name) => {
                write!(f, "the option `{name}` of the PostgreSQL address is not supported")
            }
        }
    }
}

impl std::error::Error for AddressError {}

impl PostgresAddress {
    /// Parses a URL or `key=value` pairs.
    ///
    /// # Errors
    ///
    /// See [`AddressError`]; none of them repeats what was given.
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        // The parser's own words may repeat a password.
        let config: Config = address.parse().map_err(|_| AddressError::Form)?;
        if !config.get_hostaddrs().is_empty() {
            return Err(AddressError::Option("hostaddr"));
        }
        if config.get_target_session_attrs() != TargetSessionAttrs::Any {
            return Err(AddressError::Option("target_session_attrs"));
        }
        let ports = config.get_ports();
        let mut hosts = Vec::new();
        for (index, host) in config.get_hosts().iter().enumerate() {
            let Host::Tcp(host) = host else { return Err(AddressError::NoHost) };
            if host.is_empty() {
                return Err(AddressError::NoHost);
            }
            // One port serves all hosts; otherwise there is one for each.
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            hosts.push((host.clone(), port));
        }
        if hosts.is_empty() {
            return Err(AddressError::NoHost);
        }
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(AddressError::Form);
        }
        Ok(Self { hosts, names_ports: !ports.is_empty(), config })
    }

    /// One of its hosts as Spin names it to guests: with its port where the address
    /// has one, and without user and database.
    pub(crate) fn shown(&self, (host, port): &(String, u16)) -> String {
        if self.names_ports {
            format!("postgres://{host}:{port}")
        } else {
            format!("postgres://{host}")
        }
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresAddress").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(address: &str) -> Result<Vec<(String, u16)>, AddressError> {
        PostgresAddress::parse(address).map(|address| address.hosts)
    }

    fn one(host: &str, port: u16) -> (String, u16) {
        (host.to_owned(), port)
    }

    #[test]
    fn every_host_has_its_port() {
        assert_eq!(hosts("postgres://u:p@a.test/db").unwrap(), [one("a.test", 5432)]);
        assert_eq!(hosts("postgresql://a.test:7000").unwrap(), [one("a.test", 7000)]);
        assert_eq!(hosts("host=a.test user=u password='p q'").unwrap(), [one("a.test", 5432)]);
        assert_eq!(hosts("host=a,b port=1,2").unwrap(), [one("a", 1), one("b", 2)]);
        assert_eq!(hosts("host=a,b port=1").unwrap(), [one("a", 1), one("b", 1)]);
        assert_eq!(hosts("postgres://a:1,b:2/db").unwrap(), [one("a", 1), one("b", 2)]);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for address in ["", "user=u", "host=/run/postgresql", "postgres://%2Frun/db"] {
            assert_eq!(hosts(address), Err(AddressError::NoHost), "{address}");
        }
        for address in ["a.test:5432", "host=a sslmode=maybe", "host=a,b,c port=1,2"] {
            assert_eq!(hosts(address), Err(AddressError::Form), "{address}");
        }
        assert_eq!(hosts("host=a hostaddr=127.0.0.1"), Err(AddressError::Option("hostaddr")));
        let only_primary = hosts("host=a target_session_attrs=read-write");
        assert_eq!(only_primary, Err(AddressError::Option("target_session_attrs")));
        let address = PostgresAddress::parse("postgres://u:secret@a.test").unwrap();
        assert!(!format!("{address:?}").contains("secret"));
    }
}
