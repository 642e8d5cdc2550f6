//! What one component may reach.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use outbound_hosts::{AllowedHosts, Destination, Grant, default_port};
use tokio::net::TcpStream;

use crate::OutboundNetwork;
use crate::connect::{self, ConnectError};
use crate::tls::Tls;

/// What one component may reach, and how it gets there.
pub struct ComponentNetwork {
    id: String,
    network: Arc<OutboundNetwork>,
    allowed: Arc<AllowedHosts>,
    on_denied: Box<dyn Fn(&NotPermitted) + Send + Sync>,
}

/// A destination that the component's `allowed_outbound_hosts` does not grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address {address} is not permitted")]
pub struct NotPermitted {
    address: String,
    destination: String,
}

/// Leave to connect to one host and port.
#[derive(Clone)]
pub struct Permit {
    network: Arc<OutboundNetwork>,
    host: String,
    port: u16,
    grant: Grant,
    tls: Arc<Tls>,
}

impl ComponentNetwork {
    /// The network of component `id`, which may reach `allowed`. `on_denied` is
    /// told of everything else it tries.
    pub fn new(
        id: &str,
        network: Arc<OutboundNetwork>,
        allowed: Arc<AllowedHosts>,
        on_denied: impl Fn(&NotPermitted) + Send + Sync + 'static,
    ) -> Self {
        Self { id: id.to_owned(), network, allowed, on_denied: Box::new(on_denied) }
    }

    /// The component's id.
    pub fn component(&self) -> &str {
        &self.id
    }

    /// What the component shares with the others of its app.
    pub fn shared(&self) -> &Arc<OutboundNetwork> {
        &self.network
    }

    /// The destinations that are granted.
    pub fn allowed(&self) -> &AllowedHosts {
        &self.allowed
    }

    /// Leave to connect to `port` of `host`, as a URL of this scheme names it.
    ///
    /// # Errors
    ///
    /// [`NotPermitted`] when no entry of `allowed_outbound_hosts` grants it.
    pub fn permit(&self, scheme: &str, host: &str, port: u16) -> Result<Permit, NotPermitted> {
        let destination = Destination { scheme, host, port: Some(port) };
        let Some(grant) = self.allowed.check(destination) else {
            let destination = entry(scheme, host, port);
            let denied = NotPermitted { address: destination.clone(), destination };
            (self.on_denied)(&denied);
            return Err(denied);
        };
        let (network, host) = (Arc::clone(&self.network), bare(host).to_owned());
        let tls = Arc::clone(network.tls_of(&self.id, &host));
        Ok(Permit { network, host, port, grant, tls })
    }
}

/// The entry of `allowed_outbound_hosts` that grants this destination.
fn entry(scheme: &str, host: &str, port: u16) -> String {
    if default_port(scheme) == Some(port) {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

impl fmt::Debug for ComponentNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentNetwork").field("id", &self.id).finish_non_exhaustive()
    }
}

impl NotPermitted {
    /// What to add to `allowed_outbound_hosts`.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// The same for guests, who know the address as they wrote it: that of Spin names it
    /// so. Passwords are left out; the address stays the destination where it is no
    /// URL.
    #[must_use]
    pub fn of_address(mut self, address: &str) -> Self {
        if let Some((scheme, rest)) = address.split_once("://") {
            let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
            let user = login.split(':').next().unwrap_or_default();
            let at = if user.is_empty() { "" } else { "@" };
            self.address = format!("{scheme}://{user}{at}{rest}");
        }
        self
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({}:{})", self.host, self.port)
    }
}

impl Permit {
    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What granted the destination.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// The TLS for a connection to the host.
    pub fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    /// Connects to the first address of the host that answers and is not
    /// blocked. The caller limits the time.
    ///
    /// Cancel safe: dropping the future closes what it opened.
    ///
    /// # Errors
    ///
    /// The name cannot be resolved, all its addresses are blocked, or none
    /// answers.
    pub async fn connect(&self) -> Result<TcpStream, ConnectError> {
        connect::tcp(&self.host, self.port, |address| self.leads_to(address)).await
    }

    /// The addresses of the host that are not blocked, at least one; for clients
    /// that connect by themselves.
    ///
    /// # Errors
    ///
    /// The name cannot be resolved, or all its addresses are blocked.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, ConnectError> {
        connect::addresses(&self.host, |address| self.leads_to(address)).await
    }

    fn leads_to(&self, address: IpAddr) -> bool {
        self.network.blocked().permit(address, self.grant)
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use outbound_hosts::BlockedNetworks;
    use tokio::net::TcpListener;

    use super::*;

    fn network(allowed: &[&str], blocked: &[&str]) -> ComponentNetwork {
        let blocked = BlockedNetworks::parse(blocked).unwrap();
        let shared = Arc::new(OutboundNetwork::new(blocked, None, Vec::new()));
        let allowed = Arc::new(AllowedHosts::parse(allowed, &[]).unwrap());
        ComponentNetwork::new("shop", shared, allowed, |_| {})
    }

    #[test]
    fn what_is_denied_is_named_as_it_is_to_be_allowed() {
        let denied = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&denied);
        let shared = Arc::new(OutboundNetwork::default());
        let allowed = Arc::new(AllowedHosts::parse(&["redis://a.test"], &[]).unwrap());
        let network = ComponentNetwork::new("shop", shared, allowed, move |denied| {
            seen.lock().unwrap().push(denied.destination().to_owned());
        });
        assert!(network.permit("redis", "a.test", 6379).is_ok());
        for (scheme, host, port) in
            [("redis", "a.test", 6380), ("redis", "b.test", 6379), ("rediss", "a.test", 6379)]
        {
            assert!(network.permit(scheme, host, port).is_err());
        }
        let expected = ["redis://a.test:6380", "redis://b.test", "rediss://a.test:6379"];
        assert_eq!(*denied.lock().unwrap(), expected);
        let text = network.permit("redis", "b.test", 6379).err().unwrap().to_string();
        assert_eq!(text, "address redis://b.test is not permitted");
    }

    #[test]
    fn a_guest_is_denied_the_address_that_it_wrote_but_for_the_password() {
        for (address, shown) in [
            ("mqtt://b.test:1883?client_id=x", "mqtt://b.test:1883?client_id=x"),
            ("mysql://me@b.test/shop", "mysql://me@b.test/shop"),
            ("mysql://me:p@:/ss@b.test/shop", "mysql://me@b.test/shop"),
            ("host=b.test password=secret", "postgres://b.test"),
        ] {
            let denied = network(&[], &[]).permit("postgres", "b.test", 5432).err().unwrap();
            let text = denied.of_address(address).to_string();
            assert_eq!(text, format!("address {shown} is not permitted"));
        }
    }

    #[tokio::test]
    async fn an_address_is_checked_after_its_name_was_resolved() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = network(&["*://*:*"], &[]);
        open.permit("tcp", "localhost", port).unwrap().connect().await.unwrap();
        let blocked = network(&["*://*:*"], &["private"]);
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let permit = blocked.permit("tcp", host, port).unwrap();
            let error = permit.connect().await.unwrap_err();
            assert!(matches!(error, ConnectError::Blocked { .. }), "{host}: {error}");
            let error = permit.addresses().await.unwrap_err();
            assert!(matches!(error, ConnectError::Blocked { .. }), "{host}: {error}");
        }
    }

    #[tokio::test]
    async fn a_wildcard_does_not_lead_to_the_metadata_address() {
        let wildcard = network(&["http://*:80"], &[]);
        let permit = wildcard.permit("http", "169.254.169.254", 80).unwrap();
        assert!(matches!(permit.addresses().await, Err(ConnectError::Blocked { .. })));
        let named = network(&["http://169.254.169.254"], &[]);
        let permit = named.permit("http", "169.254.169.254", 80).unwrap();
        assert_eq!(permit.addresses().await.unwrap().len(), 1);
    }
}
