//! Whom clients trust, and who they are.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connect::ConnectError;

/// Whom a client trusts, and who it is. The default trusts the certificates of
/// the platform (the pod's bundle, or what `SSL_CERT_FILE` and `SSL_CERT_DIR`
/// name) and Mozilla's.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Whether the certificates of the platform are trusted.
    pub platform: bool,
    /// Whether Mozilla's certificates are trusted.
    pub webpki: bool,
    /// Further certificates that are trusted.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Who the client is.
    pub identity: Option<ClientIdentity>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { platform: true, webpki: true, authorities: Vec::new(), identity: None }
    }
}

/// The certificate of a client and its key.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificates, and the key.
    pem: Arc<(Vec<u8>, Vec<u8>)>,
    resolver: Arc<SingleCertAndKey>,
}

/// A file of certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It cannot be read, or is not PEM.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// It is PEM but has nothing of what is needed.
    #[error("there is no {} in {}", .what, .path.display())]
    Empty {
        /// What it should have.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
    },
    /// What is in it is not a certificate.
    #[error("{} has a certificate that cannot be used", .path.display())]
    Certificate {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// Key and certificate do not fit, or the key is of no known kind.
    #[error("the key in {} is not that of the certificate in {}", .key.display(), .certificates.display())]
    Key {
        /// Where the key is.
        key: PathBuf,
        /// Where the certificate is.
        certificates: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// Reads the certificates that a client is to trust, in PEM, at least one.
///
/// # Errors
///
/// [`TlsFileError`], which names the file.
pub fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let certificates = certificates(path, &read(path)?)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|source| TlsFileError::Certificate { path: path.to_owned(), source })?;
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    fs_err::read(path).map_err(|error| TlsFileError::Read {
        path: path.to_owned(),
        source: pem::Error::Io(error),
    })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates =
        parsed.map_err(|source| TlsFileError::Read { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsFileError::Empty { what: "certificate", path: path.to_owned() });
    }
    Ok(certificates)
}

impl ClientIdentity {
    /// Reads a certificate, followed by those that lead to its root, and its key,
    /// both in PEM.
    ///
    /// # Errors
    ///
    /// [`TlsFileError`], which names the file.
    pub fn read(certificates: &Path, key: &Path) -> Result<Self, TlsFileError> {
        let pem = (read(certificates)?, read(key)?);
        let chain = self::certificates(certificates, &pem.0)?;
        let private = PrivateKeyDer::from_pem_slice(&pem.1).map_err(|source| match source {
            pem::Error::NoItemsFound => {
                TlsFileError::Empty { what: "private key", path: key.to_owned() }
            }
            source => TlsFileError::Read { path: key.to_owned(), source },
        })?;
        let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|source| {
            let (key, certificates) = (key.to_owned(), certificates.to_owned());
            TlsFileError::Key { key, certificates, source }
        })?;
        Ok(Self { pem: Arc::new(pem), resolver: Arc::new(SingleCertAndKey::from(certified)) })
    }

    /// The certificates and the key, for clients that make their own TLS.
    pub fn pem(&self) -> (&[u8], &[u8]) {
        (&self.pem.0, &self.pem.1)
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

/// The TLS of connections that have their settings in common. Nothing is read
/// before the first of them: it takes milliseconds and a megabyte.
#[derive(Debug, Default)]
pub struct Tls {
    number: usize,
    settings: TlsSettings,
    made: OnceCell<(RootCertStore, Arc<ClientConfig>)>,
}

impl Tls {
    fn new(number: usize, settings: TlsSettings) -> Self {
        Self { number, settings, made: OnceCell::new() }
    }

    /// Tells it from the others of its network.
    pub fn number(&self) -> usize {
        self.number
    }

    /// What the connections have in common; for clients that make their own TLS.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// The certificates that are trusted, Mozilla's apart; for clients that make
    /// their own TLS.
    pub async fn authorities(&self) -> Vec<CertificateDer<'static>> {
        let mut authorities = self.settings.authorities.clone();
        if self.settings.platform {
            authorities.extend(platform_certificates().await);
        }
        authorities
    }

    /// The settings for `rustls`; made once.
    ///
    /// # Errors
    ///
    /// [`ConnectError::TlsSettings`] when TLS itself cannot be set up.
    pub async fn config(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        self.config_also_trusting(&[]).await
    }

    /// The same, trusting `authorities` besides.
    ///
    /// # Errors
    ///
    /// [`ConnectError::TlsSettings`] when one of them is not a certificate.
    pub async fn config_also_trusting(
        &self,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Arc<ClientConfig>, ConnectError> {
        let (roots, shared) = self
            .made
            .get_or_try_init(|| async {
                let roots = self.roots().await;
                let config = self.config_of(roots.clone())?;
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
        self.config_of(roots)
    }

    /// Secures `stream`, a connection to `host`.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up, or the handshake fails.
    pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<TlsStream<S>, ConnectError> {
        secure(self.config().await?, host, stream).await
    }

    async fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        if self.settings.webpki {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots.add_parsable_certificates(self.authorities().await);
        roots
    }

    fn config_of(&self, roots: RootCertStore) -> Result<Arc<ClientConfig>, ConnectError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(ConnectError::TlsSettings)?
            .with_root_certificates(roots);
        Ok(Arc::new(match &self.settings.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let resolver: Arc<dyn ResolvesClientCert> = Arc::clone(&identity.resolver) as _;
                builder.with_client_cert_resolver(resolver)
            }
        }))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Secures `stream`, a connection to `host`, as `config` says.
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

async fn platform_certificates() -> Vec<CertificateDer<'static>> {
    let read = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let Ok(read) = read else { return Vec::new() };
    for error in read.errors {
        tracing::warn!("a certificate of the platform cannot be read: {error}");
    }
    read.certs
}

/// TLS settings for connections of some components to some hosts.
#[derive(Debug, Clone)]
pub struct TlsRule {
    /// The components' ids.
    pub components: Vec<String>,
    /// The hosts, in lower case.
    pub hosts: Vec<String>,
    /// The settings.
    pub settings: TlsSettings,
}

/// Which TLS is for which connection.
#[derive(Debug, Default)]
pub(crate) struct TlsRules {
    other: Arc<Tls>,
    of_components: HashMap<String, HashMap<String, Arc<Tls>>>,
}

impl TlsRules {
    /// Of two rules for one connection the first one counts.
    pub(crate) fn new(rules: Vec<TlsRule>) -> Self {
        let mut of_components: HashMap<String, HashMap<String, Arc<Tls>>> = HashMap::new();
        for (index, TlsRule { components, hosts, settings }) in rules.into_iter().enumerate() {
            // 0 is the one that no rule is about.
            let tls = Arc::new(Tls::new(index + 1, settings));
            for component in components {
                let of_hosts = of_components.entry(component).or_default();
                for host in &hosts {
                    of_hosts.entry(host.clone()).or_insert_with(|| Arc::clone(&tls));
                }
            }
        }
        Self { other: Arc::default(), of_components }
    }

    /// The TLS of connections that no rule is about.
    pub(crate) fn other(&self) -> &Arc<Tls> {
        &self.other
    }

    pub(crate) fn of(&self, component: &str, host: &str) -> &Arc<Tls> {
        let Some(of_hosts) = self.of_components.get(component) else { return &self.other };
        of_hosts.get(&host.to_ascii_lowercase()).unwrap_or(&self.other)
    }
}

#[cfg(test)]
mod tests;
