//! Addresses of Redis servers.

use std::fmt;

use outbound_hosts::parse_url;
use redis::{ProtocolVersion, RedisConnectionInfo};

/// Where a server is and how to log in.
#[derive(Clone)]
pub struct RedisAddress {
    /// `redis`, or `rediss` for TLS.
    pub scheme: &'static str,
    /// A name or an IP address, IPv6 in brackets.
    pub host: String,
    /// 6379 if the URL has none.
    pub port: u16,
    pub(crate) login: RedisConnectionInfo,
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no URL.
    #[error("a Redis address must be of the form `redis://host[:port][/database]`")]
    Form,
    /// Its scheme is another one.
    #[error("a Redis address must begin with `redis://` or `rediss://`, not `{0}:`")]
    Scheme(String),
    /// The path is not the number of a database.
    #[error("the Redis database {0:?} is not a number")]
    Database(String),
    /// An option nobody knows.
    #[error("the option {0:?} of the Redis address is not supported; `protocol=resp3` is")]
    Option(String),
}

impl RedisAddress {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// See [`AddressError`]; none of them repeats user or password.
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        let url = parse_url(address).ok_or(AddressError::Form)?;
        let scheme = match url.scheme() {
            "redis" => "redis",
            "rediss" => "rediss",
            other => return Err(AddressError::Scheme(other.to_owned())),
        };
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if !url.username().is_empty() {
            login = login.set_username(decoded(url.username())?);
        }
        if let Some(password) = url.password() {
            login = login.set_password(decoded(password)?);
        }
        match url.path().trim_matches('/') {
            "" => {}
            path => {
                let number = path.parse().map_err(|_| AddressError::Database(path.to_owned()))?;
                login = login.set_db(number);
            }
        }
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("protocol", "resp2" | "2") => {}
                ("protocol", "resp3" | "3") => login = login.set_protocol(ProtocolVersion::RESP3),
                _ => return Err(AddressError::Option(name.into_owned())),
            }
        }
        if let Some(fragment) = url.fragment() {
            return Err(AddressError::Option(fragment.to_owned()));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressError::Form)?;
        let port = url.port().unwrap_or(6379);
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port, login })
    }
}

fn decoded(text: &str) -> Result<String, AddressError> {
    outbound_hosts::percent_decoded(text).ok_or(AddressError::Form)
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_all_its_parts() {
        let address = RedisAddress::parse("redis://me:p%40ss@Db.Test:7000/3?protocol=resp3");
        let address = address.unwrap();
        assert_eq!((address.scheme, &*address.host, address.port), ("redis", "db.test", 7000));
        assert_eq!(address.login.username(), Some("me"));
        assert_eq!(address.login.password(), Some("p@ss"));
        assert_eq!(address.login.db(), 3);
        assert_eq!(address.login.protocol(), ProtocolVersion::RESP3);
        let address = RedisAddress::parse("rediss://[::1]").unwrap();
        assert_eq!((address.scheme, &*address.host, address.port), ("rediss", "[::1]", 6379));
        assert_eq!((address.login.username(), address.login.password()), (None, None));
    }

    #[test]
    fn passwords_need_not_be_encoded() {
        let address = RedisAddress::parse("redis://:a/b?c#d@e@db.test:1/").unwrap();
        assert_eq!((&*address.host, address.port), ("db.test", 1));
        assert_eq!(address.login.password(), Some("a/b?c#d@e"));
    }

    #[test]
    fn what_cannot_be_used_is_named_and_secrets_are_not() {
        for (address, expected) in [
            ("", "must be of the form"),
            ("localhost:6379", "must be of the form"),
            ("redis://", "must be of the form"),
            ("http://user:secret@a.test", "must begin with `redis://`"),
            ("redis://user:secret@a.test/orders", r#"database "orders" is not a number"#),
            ("redis://a.test/?tls=no", r#"option "tls""#),
            ("rediss://a.test/#insecure", r#"option "insecure""#),
        ] {
            let text = RedisAddress::parse(address).unwrap_err().to_string();
            assert!(text.contains(expected) && !text.contains("secret"), "{address}: {text}");
        }
        let address = RedisAddress::parse("redis://user:secret@a.test").unwrap();
        assert_eq!(format!("{address:?}"), "redis://a.test:6379");
    }
}
