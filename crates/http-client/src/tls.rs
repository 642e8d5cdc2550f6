//! Whom clients trust.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("no version of TLS can be used")]
pub struct TlsError(#[from] rustls::Error);

/// Settings that trust the certificates of the system and Mozilla's. Reading
/// them takes milliseconds and a megabyte; it is done on another thread.
///
/// # Errors
///
/// The cryptography cannot be used for TLS.
pub async fn tls_config() -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Ok(native) = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await {
        for error in native.errors {
            tracing::debug!(%error, "a certificate of the system cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
