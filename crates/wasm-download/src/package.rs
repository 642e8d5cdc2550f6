//! Packages: which repository of which OCI registry has them.
//!
//! A registry tells where its packages are at `/.well-known/wasm-pkg/registry.json`;
//! one that tells nothing has them itself.

use app::manifest::PackageName;
use artifact::Blob;
use http::StatusCode;
use semver::{Op, Version, VersionReq};
use serde::Deserialize;

use crate::download::{self, Download, DownloadError};
use crate::oci::{Repository, RepositoryError};

/// Where a registry tells about itself.
const METADATA: &str = "/.well-known/wasm-pkg/registry.json";

/// Namespaces whose registry everybody knows.
const KNOWN: [(&str, &str); 2] = [("wasi", "wasi.dev"), ("ba", "bytecodealliance.org")];

/// The only protocol that is spoken here.
const OCI: &str = "oci";

/// Why a package could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    #[error("no registry is known for it; name one as `registry`")]
    NoRegistry,
    #[error("registry {registry} does not tell where its packages are: {source}")]
    Metadata { registry: String, source: DownloadError },
    #[error("what registry {registry} tells about its packages is not understood: {reason}")]
    Unreadable { registry: String, reason: String },
    #[error("registry {registry} speaks {protocol:?}; only OCI registries can be asked")]
    Protocol { registry: String, protocol: String },
    #[error("{repository} cannot be asked: {source}")]
    Repository { repository: String, source: RepositoryError },
    #[error("{repository} has no version {wanted}; it has: {there}")]
    Version { repository: String, wanted: VersionReq, there: String },
}

/// What a registry tells about itself, in today's form and in the first one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    preferred_protocol: Option<String>,
    oci: Option<OciMetadata>,
    warg: Option<serde_json::Value>,
    oci_registry: Option<String>,
    oci_namespace_prefix: Option<String>,
    warg_url: Option<String>,
}

/// Where the packages of a registry are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OciMetadata {
    registry: Option<String>,
    namespace_prefix: Option<String>,
}

/// The Wasm of the newest version of `package` that `version` admits.
pub(crate) async fn fetch(
    download: &Download,
    registry: Option<&str>,
    package: &PackageName,
    version: &VersionReq,
) -> Result<Blob, PackageError> {
    let known = || KNOWN.iter().find(|(namespace, _)| *namespace == package.namespace());
    let registry = registry
        .or_else(|| known().map(|(_, registry)| *registry))
        .ok_or(PackageError::NoRegistry)?;
    let metadata = metadata(download, registry).await?;
    let (host, repository) = metadata.place(registry, package)?;
    let mut repository = Repository::new(download, &host, &repository);
    let name = repository.to_string();
    let failed = |source| PackageError::Repository { repository: name.clone(), source };
    let tag = if let Some(exact) = exact(version) {
        exact.to_string()
    } else {
        let mut versions = repository.versions().await.map_err(failed)?;
        versions.sort_unstable();
        let newest = versions.iter().rev().find(|found| version.matches(found));
        let newest = newest.ok_or_else(|| PackageError::Version {
            repository: name.clone(),
            wanted: version.clone(),
            there: listed(&versions),
        })?;
        newest.to_string()
    };
    repository.wasm(&tag).await.map_err(failed)
}

/// The one version that a requirement admits, if it is one.
fn exact(version: &VersionReq) -> Option<Version> {
    match version.comparators.as_slice() {
        [only] if only.op == Op::Exact => Some(Version {
            major: only.major,
            minor: only.minor?,
            patch: only.patch?,
            pre: only.pre.clone(),
            build: semver::BuildMetadata::EMPTY,
        }),
        _ => None,
    }
}

fn listed(versions: &[Version]) -> String {
    if versions.is_empty() {
        return "none".to_owned();
    }
    versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ")
}

async fn metadata(download: &Download, registry: &str) -> Result<Metadata, PackageError> {
    let url = format!("{}://{registry}{METADATA}", download::scheme_of(registry));
    let body = match download.get(&url).await {
        Ok((_, body)) => body,
        Err(DownloadError::Status(StatusCode::NOT_FOUND)) => return Ok(Metadata::default()),
        Err(source) => {
            return Err(PackageError::Metadata { registry: registry.to_owned(), source });
        }
    };
    serde_json::from_slice(&body).map_err(|error| PackageError::Unreadable {
        registry: registry.to_owned(),
        reason: error.to_string(),
    })
}

impl Metadata {
    /// The OCI registry and the repository of a package.
    fn place(
        self,
        registry: &str,
        package: &PackageName,
    ) -> Result<(String, String), PackageError> {
        let only_warg = self.oci.is_none()
            && self.oci_registry.is_none()
            && (self.warg.is_some() || self.warg_url.is_some());
        let protocol = self.preferred_protocol.or(only_warg.then(|| "warg".to_owned()));
        if let Some(protocol) = protocol.filter(|protocol| protocol != OCI) {
            return Err(PackageError::Protocol { registry: registry.to_owned(), protocol });
        }
        let oci = self.oci.unwrap_or_default();
        let host = self.oci_registry.or(oci.registry).unwrap_or_else(|| registry.to_owned());
        let prefix = self.oci_namespace_prefix.or(oci.namespace_prefix).unwrap_or_default();
        let repository = format!("{prefix}{}/{}", package.namespace(), package.name());
        let plain = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/:[]".contains(&byte))
        };
        if host.is_empty() || host.contains('/') || !plain(&host) || !plain(&repository) {
            return Err(PackageError::Unreadable {
                registry: registry.to_owned(),
                reason: format!("{host:?} with {prefix:?} is no place in a registry"),
            });
        }
        Ok((host, repository))
    }
}
