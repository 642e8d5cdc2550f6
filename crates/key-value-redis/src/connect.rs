//! Connections to a Redis server.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_client::{TlsError, tls_config};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, RedisError,
};
use runtime_config::{Secret, SecretError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::TIMEOUT;

/// How long connecting and logging in may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection and the task that sends and receives over it.
pub(crate) struct Open {
    pub(crate) connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

/// No connection. No error contains the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("there is no URL of the Redis server")]
    Secret(#[from] SecretError),
    #[error("the URL of the Redis server cannot be used")]
    Url,
    #[error("cannot connect to the Redis server at {host}:{port}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("the Redis server at {host}:{port} does not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout { host: String, port: u16 },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the Redis server at {host}:{port} does not let us in")]
    LogIn { host: String, port: u16, source: RedisError },
}

/// Where a server is and how to log in.
struct Server {
    host: String,
    port: u16,
    secure: bool,
    login: RedisConnectionInfo,
}

impl Open {
    pub(crate) fn is_alive(&self) -> bool {
        !self.driver.is_finished()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Open")
    }
}

pub(crate) async fn open(url: &Secret) -> Result<Open, ConnectError> {
    let server = Server::parse(&url.reveal()?)?;
    let (host, port) = (server.host.clone(), server.port);
    tokio::time::timeout(CONNECT_TIMEOUT, server.open())
        .await
        .map_err(|_| ConnectError::Timeout { host, port })?
}

impl Server {
    fn parse(url: &str) -> Result<Self, ConnectError> {
        // The client refuses a scheme for which it was not built; TLS is ours.
        let (secure, plain) = match url.strip_prefix("rediss://") {
            Some(rest) => (true, format!("redis://{rest}")),
            None => (false, url.to_owned()),
        };
        let info = plain.into_connection_info().map_err(|_| ConnectError::Url)?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return Err(ConnectError::Url) };
        let login = info.redis_settings().clone();
        Ok(Self { host: host.clone(), port: *port, secure, login })
    }

    async fn open(self) -> Result<Open, ConnectError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|source| self.failed(source))?;
        // A failure costs latency, nothing else.
        let _ = stream.set_nodelay(true);
        if !self.secure {
            return self.log_in(stream).await;
        }
        let connector = TlsConnector::from(Arc::new(tls_config().await?));
        let name = ServerName::try_from(self.host.clone()).map_err(|_| ConnectError::Url)?;
        let stream = connector.connect(name, stream).await.map_err(|source| self.failed(source))?;
        self.log_in(stream).await
    }

    async fn log_in<S>(self, stream: S) -> Result<Open, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT));
        let opened = MultiplexedConnection::new_with_config(&self.login, stream, config).await;
        let (connection, driver) = opened.map_err(|source| ConnectError::LogIn {
            host: self.host,
            port: self.port,
            source,
        })?;
        Ok(Open { connection, driver: tokio::spawn(driver) })
    }

    fn failed(&self, source: io::Error) -> ConnectError {
        ConnectError::Connect { host: self.host.clone(), port: self.port, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_server_is_and_never_appears_in_an_error() {
        let server = Server::parse("rediss://me:hunter2@redis.test/3").unwrap();
        assert_eq!((server.host.as_str(), server.port, server.secure), ("redis.test", 6379, true));
        assert_eq!(server.login.username(), Some("me"));
        let server = Server::parse("redis://127.0.0.1:7000").unwrap();
        assert_eq!((server.port, server.secure), (7000, false));
        for url in ["http://:hunter2@x", "redis+unix:///hunter2", "hunter2"] {
            let error = Server::parse(url).err().unwrap();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_without_its_password() {
        let url = Secret::Inline("redis://:hunter2@127.0.0.1:1".to_owned());
        let text = http_client::chain(&open(&url).await.unwrap_err());
        assert!(text.contains("127.0.0.1:1") && text.contains("refused"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
