//! What the components of an app share on their way out.

use std::sync::Arc;

use outbound_hosts::BlockedNetworks;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connect::ConnectError;

/// What all components of an app share: blocked networks, and the certificates
/// that servers are checked with.
pub struct OutboundNetwork {
    blocked: BlockedNetworks,
    /// Read by the first connection over TLS: it takes milliseconds and a
    /// megabyte.
    roots: OnceCell<(RootCertStore, Arc<ClientConfig>)>,
}

impl OutboundNetwork {
    /// A network from which nothing leads to `blocked`.
    pub fn new(blocked: BlockedNetworks) -> Self {
        Self { blocked, roots: OnceCell::new() }
    }

    /// The networks nothing leads to.
    pub fn blocked(&self) -> &BlockedNetworks {
        &self.blocked
    }

    /// The certificates of the platform that can be read, for clients that make
    /// their own TLS settings.
    pub async fn platform_certificates(&self) -> Vec<CertificateDer<'static>> {
        platform_certificates().await
    }

    /// TLS settings that trust the certificates of the platform (the pod's
    /// bundle) and Mozilla's; read once.
    ///
    /// # Errors
    ///
    /// [`ConnectError::TlsSettings`] when TLS itself cannot be set up.
    pub async fn tls(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        self.tls_also_trusting(&[]).await
    }

    /// The same, trusting `authorities` besides.
    ///
    /// # Errors
    ///
    /// [`ConnectError::TlsSettings`] when one of them is not a certificate.
    pub async fn tls_also_trusting(
        &self,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Arc<ClientConfig>, ConnectError> {
        let (roots, shared) = self
            .roots
            .get_or_try_init(|| async {
                let roots = known_roots().await;
                let config = config(roots.clone())?;
                Ok((roots, config))
            })
            .await?;
        if authorities.is_empty() {
            return Ok(Arc::clone(shared));
        }
        let mut roots = roots.clone();
        for authority in authorities {
            roots.add(authority.clone()).map_err(ConnectError::TlsSettings)?;
        }
        config(roots)
    }

    /// Secures `stream`, a connection to `host`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Tls`] when the handshake fails.
    pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        config: Arc<ClientConfig>,
        host: &str,
        stream: S,
    ) -> Result<TlsStream<S>, ConnectError> {
        let failed = |source| ConnectError::Tls { host: host.to_owned(), source };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| failed(std::io::Error::other(error)))?;
        TlsConnector::from(config).connect(name, stream).await.map_err(failed)
    }
}

/// The certificates of the platform and Mozilla's.
async fn known_roots() -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(platform_certificates().await);
    roots
}

async fn platform_certificates() -> Vec<CertificateDer<'static>> {
    let read = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let Ok(read) = read else { return Vec::new() };
    for error in read.errors {
        tracing::debug!(%error, "a certificate of the platform cannot be read");
    }
    read.certs
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::TlsSettings)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
