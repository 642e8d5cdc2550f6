//! Addresses of MySQL servers.

use std::fmt;

use mysql_async::Opts;
use outbound_hosts::parse_url;

/// Where a server is and how to log in.
#[derive(Clone)]
pub struct MysqlAddress {
    /// A name or an IP address, IPv6 in brackets.
    pub host: String,
    /// 3306 if the URL has none.
    pub port: u16,
    /// Whether TLS is wanted.
    pub secure: bool,
    pub(crate) options: Opts,
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no URL.
    #[error("a MySQL address must be of the form `mysql://user:password@host[:port]/database`")]
    Form,
    /// It has an option that is not known, or that has a value which is not.
    #[error("an option of the MySQL address is not supported or has a wrong value")]
    Option,
}

impl MysqlAddress {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// See [`AddressError`]; none of them repeats what was given.
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        let mut url = parse_url(address).ok_or(AddressError::Form)?;
        if url.scheme() != "mysql" {
            return Err(AddressError::Form);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressError::Form)?;
        let (host, port) = (host.to_ascii_lowercase(), url.port().unwrap_or(3306));
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let (mode, others): (Vec<_>, Vec<_>) = pairs
            .into_iter()
            .partition(|(name, _)| name.eq_ignore_ascii_case("ssl-mode") || name == "sslmode");
        let secure = mode.iter().any(|(_, value)| !value.eq_ignore_ascii_case("disabled"));
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
        let options = Opts::from_url(url.as_str()).map_err(|_| AddressError::Option)?;
        let secure = secure || options.ssl_opts().is_some();
        Ok(Self { host, port, secure, options })
    }
}

impl fmt::Debug for MysqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mysql://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_all_its_parts() {
        let address = MysqlAddress::parse("mysql://me:p/w#d@Db.Test:7000/shop").unwrap();
        assert_eq!((&*address.host, address.port, address.secure), ("db.test", 7000, false));
        assert_eq!(address.options.user(), Some("me"));
        assert_eq!(address.options.pass(), Some("p/w#d"));
        assert_eq!(address.options.db_name(), Some("shop"));
        assert_eq!(MysqlAddress::parse("mysql://me@db.test/shop").unwrap().port, 3306);
        for (mode, secure) in [
            ("ssl-mode=DISABLED", false),
            ("sslmode=disabled", false),
            ("ssl-mode=REQUIRED", true),
            ("sslmode=verify-ca", true),
        ] {
            let address = MysqlAddress::parse(&format!("mysql://me@db.test/shop?{mode}")).unwrap();
            assert_eq!(address.secure, secure, "{mode}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for address in ["", "db.test:3306", "postgres://me@db.test/shop", "mysql:///shop"] {
            assert_eq!(MysqlAddress::parse(address).unwrap_err(), AddressError::Form, "{address}");
        }
        let unknown = MysqlAddress::parse("mysql://me:secret@db.test/shop?nonsense=1").unwrap_err();
        assert_eq!(unknown, AddressError::Option);
        let address = MysqlAddress::parse("mysql://me:secret@db.test/shop").unwrap();
        assert_eq!(format!("{address:?}"), "mysql://db.test:3306");
    }
}
