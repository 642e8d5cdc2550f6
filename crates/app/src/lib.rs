//! The Spin application model: pure data, without input or output.
//!
//! - [`LockedApp`]: what an artifact carries, all generations (Spin 0.8 to 4.x).
//! - [`manifest::Manifest`]: a `spin.toml`, version 1 or 2, in one normal form.
//! - [`Template`]: `{{ variable }}` strings.
//! - [`Digest`]: the name of a blob.
//!
//! Everything read here comes from outside. Parsing validates every string that
//! may later touch a path and reports all problems at once.

pub mod composition;
mod digest;
pub mod http_hosts;
mod locked;
pub mod manifest;
mod problems;
mod retention;
pub mod template;

pub use composition::Composition;
pub use digest::{Digest, DigestError, Hasher};
pub use locked::{
    AppMetadata, ComponentMetadata, ContentRef, FilePathError, Inherit, LockedApp, LockedAppError,
    LockedComponent, LockedDependency, LockedFile, LockedSource, LockedTrigger, MustUnderstand,
    TriggerConfigError, UnsupportedRequirement, Variable, check_file_path,
};
pub use problems::Problems;
pub use retention::RetainError;
pub use template::Template;
