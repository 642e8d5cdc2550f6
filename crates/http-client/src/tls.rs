//! Whom clients trust.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("no version of TLS can be used")]
pub struct TlsError(#[from] rustls::Error);

/// By whom the certificates of servers must be signed.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// By those that the system trusts, or Mozilla.
    #[default]
    System,
    /// By one of these and nobody else.
    Only(Arc<RootCertStore>),
}

/// A file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} has no certificate in PEM that can be trusted", path.display())]
pub struct TrustError {
    path: PathBuf,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Trust {
    /// Trusts only the certificates in a PEM file, which is read now.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read, or has none.
    pub fn only(path: &Path) -> Result<Self, TrustError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| TrustError {
            path: path.to_owned(),
            source: Some(source),
        };
        let text = fs_err::read(path).map_err(|error| failed(error.into()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| failed(error.into()))?;
            roots.add(certificate).map_err(|error| failed(error.into()))?;
        }
        if roots.is_empty() {
            return Err(TrustError { path: path.to_owned(), source: None });
        }
        Ok(Self::Only(Arc::new(roots)))
    }

    /// Settings for a client without a certificate of its own. Reading the
    /// certificates of the system takes milliseconds and a megabyte; it is done on
    /// another thread.
    ///
    /// # Errors
    ///
    /// The cryptography cannot be used for TLS.
    pub async fn tls_config(&self) -> Result<ClientConfig, TlsError> {
        config(match self {
            Self::System => system().await,
            Self::Only(roots) => RootCertStore::clone(roots),
        })
    }
}

/// Settings that trust whom the system and Mozilla trust, see [`Trust::tls_config`].
///
/// # Errors
///
/// The cryptography cannot be used for TLS.
pub async fn tls_config() -> Result<ClientConfig, TlsError> {
    Trust::System.tls_config().await
}

async fn system() -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Ok(native) = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await {
        for error in native.errors {
            tracing::debug!(%error, "a certificate of the system cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
    }
    roots
}

fn config(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
