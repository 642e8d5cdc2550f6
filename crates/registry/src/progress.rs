//! What happens during a transfer, for those who show it to a person.

use std::time::Duration;

use app::Digest;

/// One step of a pull or push.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// What is to be transferred is known.
    Planned {
        /// Number of distinct blobs, without the manifest.
        blobs: usize,
        /// Their size together, in bytes.
        bytes: u64,
    },
    /// A blob was there already.
    Present {
        /// Digest of the blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// So much of a blob has been transferred; smaller than before when the
    /// transfer of that blob had to begin again.
    Moved {
        /// Digest of the blob.
        digest: Digest,
        /// Bytes from the blob's beginning.
        position: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// A request failed and is sent again after a wait.
    Retrying {
        /// Why it failed.
        error: &'a crate::RegistryError,
        /// The wait.
        wait: Duration,
    },
    /// A mirror could not serve the reference; the next place is asked.
    MirrorFailed {
        /// Why it could not.
        error: &'a crate::RegistryError,
    },
}

/// Receives the steps of a transfer.
pub(crate) type Observer<'a> = &'a dyn Fn(Event<'_>);
