//! Spin apps as OCI artifacts: read, verify, unpack and pack them.
//!
//! An [`Artifact`] is an app with everything its components are made of. It comes
//! from
//! - an OCI image: [`assemble`] over any [`BlobSource`] (containerd's content
//!   store, a registry, an [OCI image layout](layout)), all three generations of
//!   Spin artifacts;
//! - a `spin.toml` or a bare `.wasm`: [`local`].
//!
//! [`pack`] turns an artifact into what `spin registry push` would have written;
//! [`assets`] puts a component's files on disk, once per content.
//!
//! # Guarantees
//!
//! - No byte of a blob is handed out by a function with `verified` in its name
//!   before the whole blob was checked against its digest and size.
//! - Nothing outside the [`limits`] is read, unpacked or written.
//! - Native code is refused wherever Wasm is expected: an image is only ever input
//!   to the compiler on this machine.

mod archive;
mod artifact;
mod assemble;
pub mod assets;
mod blob;
mod error;
mod input;
pub mod layout;
pub mod limits;
pub mod local;
pub mod media_type;
mod oci;
pub mod pack;
pub mod wasm;

pub use artifact::{Artifact, ComponentContent, FileContent, FileEntry, Mount, WasmError};
pub use assemble::{BlobSource, BoxError, Image, assemble, read_app};
pub use blob::{Blob, BlobError, BlobReader};
pub use error::ArtifactError;
pub use input::CompilerInput;
pub use oci::{Descriptor, ImageConfig, ImageIndex, ImageManifest, ManifestError, Platform};
