//! Why an artifact cannot be used.

use app::{Digest, LockedAppError, Problems};

use crate::assemble::BoxError;
use crate::blob::BlobError;
use crate::oci::ManifestError;

/// Why an artifact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A blob is missing, damaged or too large.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A blob cannot be had.
    #[error("cannot fetch blob {digest} ({media_type})")]
    Fetch {
        /// Its digest.
        digest: Digest,
        /// Its type.
        media_type: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// An image document is broken.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The locked app is broken.
    #[error("the locked app {digest} cannot be used")]
    LockedApp {
        /// Its digest.
        digest: Digest,
        /// Why.
        #[source]
        source: LockedAppError,
    },
    /// A package of more than one layer.
    #[error("expected single layer in OCI package, found {found} layers")]
    LayerCount {
        /// How many it has.
        found: usize,
    },
    /// Something exceeds a limit.
    #[error("{what}: {found} is more than the {limit} allowed")]
    Limit {
        /// What is too large, or too many.
        what: String,
        /// How large it is.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The app and its content do not fit together; everything that is wrong is
    /// listed.
    #[error("the artifact is not usable: {0}")]
    Invalid(Problems),
}

/// Refuses `found` beyond `limit`.
pub(crate) fn within(what: impl Into<String>, found: u64, limit: u64) -> Result<(), ArtifactError> {
    if found > limit {
        return Err(ArtifactError::Limit { what: what.into(), found, limit });
    }
    Ok(())
}
