//! Linux containers through a standard OCI runtime: runc, crun, or another with
//! runc's command line.
//!
//! The runtime is a program that is run for each step; nothing of it stays while a
//! container runs. The container's processes become children of the caller, which
//! must be a subreaper, and are handed out as [`Process`](containerd_task::Process)
//! with their exit statuses, however soon they end.
//!
//! - [`Options`]: which program and how, as containerd's configuration says.
//! - [`OciContainer`]: one container's steps.

mod console;
mod container;
mod options;

pub use container::{Io, OciContainer, RuntimeError};
pub use options::{Options, OptionsError};
