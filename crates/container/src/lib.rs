//! From an OCI runtime spec to kernel state: cgroups, namespaces, mounts and
//! privileges of one container.
//!
//! Two processes use this crate. The *supervisor* makes the container's
//! [`cgroup`] and starts the container's process straight into it with
//! [`spawn`]. That process, still single-threaded and still root, then calls
//! [`enter`] to take on everything else the [`bundle`] asks for. No program of
//! the image is ever executed, so nothing is prepared for one: there is no
//! console, and `/dev` holds six nodes.
//!
//! # Guarantees
//! - Nothing is mounted outside the container's own mount namespace: the kernel
//!   unmounts everything when the process ends, however it ends.
//! - Paths inside the container's root filesystem are resolved by the kernel
//!   beneath that root (`openat2`), so that no symbolic link in an image leads out.
//! - What a spec asks for and this crate cannot give is an error, never left out
//!   in silence, where it concerns security.
//!
//! # Limits
//! Linux 5.12 or newer on x86-64, AArch64 or riscv64, 5.19 where an overlay's files
//! have other owners; no time namespaces, no OCI hooks, no devices besides the six
//! standard ones.

pub mod bundle;
pub mod cgroup;
pub mod enter;
pub mod heap;
pub mod spawn;
mod syscalls;

pub use bundle::{Bundle, BundleError, RootfsMount};
