//! Addresses of brokers.

use std::fmt;

use outbound_hosts::{parse_url, percent_decoded};

/// Where a broker is, and as whom it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct MqttAddress {
    /// The scheme as it was given.
    pub scheme: String,
    /// Whether TLS is wanted.
    pub secure: bool,
    /// A name or an IP address, IPv6 in brackets.
    pub host: String,
    /// 1883 if the URL has none, with TLS 8883.
    pub port: u16,
    /// The client id.
    pub client_id: String,
    /// User and password in the URL.
    pub(crate) login: Option<(String, String)>,
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no URL.
    #[error("an MQTT address must be of the form `mqtt://host[:port]?client_id=ID`")]
    Form,
    /// It does not say who connects.
    #[error("an MQTT address must have a `client_id`: `mqtt://host[:port]?client_id=ID`")]
    NoClientId,
}

impl MqttAddress {
    /// Parses a URL. Options other than `client_id` are for clients of another
    /// kind and change nothing.
    ///
    /// # Errors
    ///
    /// See [`AddressError`].
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        let url = parse_url(address).ok_or(AddressError::Form)?;
        let secure = match url.scheme() {
            "mqtt" | "tcp" => false,
            "mqtts" | "ssl" => true,
            _ => return Err(AddressError::Form),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressError::Form)?;
        let client_id = url
            .query_pairs()
            .find(|(name, _)| name == "client_id")
            .map(|(_, value)| value.into_owned())
            .ok_or(AddressError::NoClientId)?;
        let login = if url.username().is_empty() {
            None
        } else {
            let decoded = |text| percent_decoded(text).ok_or(AddressError::Form);
            Some((decoded(url.username())?, decoded(url.password().unwrap_or_default())?))
        };
        let port = url.port().unwrap_or(if secure { 8883 } else { 1883 });
        let (scheme, host) = (url.scheme().to_owned(), host.to_ascii_lowercase());
        Ok(Self { scheme, secure, host, port, client_id, login })
    }
}

impl fmt::Debug for MqttAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_all_its_parts() {
        let address = MqttAddress::parse("mqtt://Broker.Test?client_id=a%20b&clean_session=true");
        let address = address.unwrap();
        assert_eq!((&*address.host, address.port, address.secure), ("broker.test", 1883, false));
        assert_eq!((&*address.client_id, &address.login), ("a b", &None));
        let address = MqttAddress::parse("mqtts://u:p%40@[::1]?client_id=x").unwrap();
        assert_eq!((&*address.host, address.port, address.secure), ("[::1]", 8883, true));
        assert_eq!(address.login, Some(("u".to_owned(), "p@".to_owned())));
        assert!(!format!("{address:?}").contains("p@"));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for address in
            ["", "broker.test:1883", "http://broker.test?client_id=x", "mqtt://?client_id=x"]
        {
            assert_eq!(MqttAddress::parse(address), Err(AddressError::Form), "{address}");
        }
        assert_eq!(MqttAddress::parse("mqtt://broker.test"), Err(AddressError::NoClientId));
    }
}
