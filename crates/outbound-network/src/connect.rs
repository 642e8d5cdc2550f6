//! From a name to a connection: resolve, check, connect.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

/// How long a client may take to reach a server: resolving its name, connecting,
/// TLS and logging in together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("the name {host:?} cannot be resolved")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// It has, but none may be connected to.
    #[error("every address of {host:?} is in a blocked network")]
    Blocked {
        /// The name.
        host: String,
    },
    /// No address answers.
    #[error("cannot connect to port {port} of {host:?}")]
    Connect {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// What the last address tried answered.
        #[source]
        source: io::Error,
    },
    /// Connecting took longer than [`CONNECT_TIMEOUT`].
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// There are no TLS settings that could be used.
    #[error("TLS cannot be set up")]
    TlsSettings(#[source] rustls::Error),
    /// The server's certificate or its TLS is not what it should be.
    #[error("the TLS handshake with {host:?} failed")]
    Tls {
        /// The name.
        host: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
}

/// The addresses of `host` for which `permitted` holds, at least one.
pub(crate) async fn addresses(
    host: &str,
    permitted: impl Fn(IpAddr) -> bool,
) -> Result<Vec<IpAddr>, ConnectError> {
    let mut addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => resolve(host).await?,
    };
    addresses.retain(|address| permitted(*address));
    if addresses.is_empty() {
        return Err(ConnectError::Blocked { host: host.to_owned() });
    }
    Ok(addresses)
}

/// All addresses of the name `host`, at least one.
async fn resolve(host: &str) -> Result<Vec<IpAddr>, ConnectError> {
    let failed = |source| ConnectError::Resolve { host: host.to_owned(), source };
    let found = tokio::net::lookup_host((host, 0)).await.map_err(failed)?;
    let addresses: Vec<_> = found.map(|address| address.ip()).collect();
    if addresses.is_empty() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

/// Connects to the first address of `host` that answers and for which
/// `permitted` holds.
pub(crate) async fn tcp(
    host: &str,
    port: u16,
    permitted: impl Fn(IpAddr) -> bool,
) -> Result<TcpStream, ConnectError> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses(host, permitted).await? {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => {
                // A failure costs latency, nothing else.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(ConnectError::Connect { host: host.to_owned(), port, source: failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_failure_has_a_name() {
        let error = tcp("name.invalid", 80, |_| true).await.unwrap_err();
        assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
        let error = tcp("127.0.0.1", 80, |_| false).await.unwrap_err();
        assert!(matches!(error, ConnectError::Blocked { .. }), "{error}");
        // Port 1 of loopback has no listener.
        let error = tcp("127.0.0.1", 1, |_| true).await.unwrap_err();
        assert_eq!(error.to_string(), r#"cannot connect to port 1 of "127.0.0.1""#);
    }
}
