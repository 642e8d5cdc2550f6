//! Pull and push Spin artifacts from and to OCI registries, following the OCI
//! distribution specification 1.1.
//!
//! Guarantees: every blob is verified against its digest and size before it
//! appears under its final name; an interrupted pull leaves only blobs that are
//! whole; credentials are sent to the registry they belong to and to nobody else.
//!
//! Limits: [`PARALLEL_TRANSFERS`] blobs at a time, manifests of at most
//! [`MAX_MANIFEST_BYTES`] bytes.
//!
//! Cancel safety: dropping a pending pull or push leaves temporary files neither
//! in the layout nor anything named in the registry.

mod credentials;
mod describe;
mod docker_config;
mod endpoint;
mod error;
#[cfg(test)]
mod fake_registry;
mod identity_token;
mod progress;
mod pull;
mod push;
mod reference;
mod retry;
mod session;

use std::path::PathBuf;

pub use credentials::{Credentials, Password};
pub use describe::Described;
pub use docker_config::{CredentialsError, DockerConfig};
pub use endpoint::{Mirror, is_loopback};
pub use error::RegistryError;
pub use oci_client::Reference;
pub use progress::Event;
pub use pull::Pulled;
pub use push::Pushed;
pub use reference::parse as parse_reference;
pub use retry::RetryPolicy;

/// How many blobs are transferred at the same time.
pub const PARALLEL_TRANSFERS: usize = 16;

/// The largest manifest that is read, in bytes; the distribution specification
/// asks registries to accept at least this much.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Use plain HTTP. Loopback registries use it anyway, unless `ca_files`
    /// names a certificate authority for them.
    pub plain_http: bool,
    /// PEM files of certificate authorities to trust besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// Registries to ask before the one a reference names, when pulling.
    pub mirrors: Vec<Mirror>,
    /// Where user names and passwords come from.
    pub credentials: Credentials,
    /// HTTP proxies; loopback registries are always reached directly.
    pub proxy: Proxy,
    /// When and how often a failed request is sent again.
    pub retry: RetryPolicy,
}

/// HTTP proxies, in the form of the usual environment variables.
#[derive(Debug, Clone, Default)]
pub struct Proxy {
    /// Proxy for plain HTTP, for example `http://proxy:3128`.
    pub http: Option<String>,
    /// Proxy for HTTPS.
    pub https: Option<String>,
    /// Hosts to reach directly, comma separated.
    pub except: Option<String>,
}

/// Access to OCI registries.
#[derive(Debug, Clone)]
pub struct Registry {
    options: Options,
}

impl Registry {
    /// Prepares access; nothing is sent yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}
