//! The runtime process: assemble an app, enter its container, serve, drain, exit.
//!
//! A supervisor (the shim or the command line) starts one such process for each
//! Spin container and talks to it as the `control` crate describes. In order:
//!
//! 1. [`Settings`]: what the container's environment says, all problems at once.
//! 2. [`source`]: the app, from containerd, files, or the root filesystem.
//! 3. [`checks`]: what this version cannot run is refused by name.
//! 4. [`Code`]: compiled code for each component, from the node's cache, which
//!    the supervisor fills; this process has no compiler.
//! 5. [`Sandbox`]: the container's namespaces, file system and privileges.
//! 6. [`Configuration`]: the runtime configuration of the container or of the
//!    command line; [`state_dir`]: where the app keeps what it stores; [`log_dir`]:
//!    where copies of what guests write go.
//! 7. [`serve`]: every type of trigger in [`triggers`] that the app uses becomes
//!    ready and serves, until a signal asks to drain.
//!
//! The process has one thread until the container is entered, and threads for
//! serving afterwards. It ends at once when its supervisor dies: nobody would
//! report its end.

pub mod checks;
mod code;
mod configuration;
mod environment;
mod error;
pub mod log_dir;
mod phases;
mod sandbox;
pub mod serve;
mod signals;
pub mod source;
pub mod state_dir;
mod supervisor;
pub mod triggers;

pub use code::{Code, LoadedApp};
pub use configuration::Configuration;
pub use environment::Settings;
pub use error::RuntimeError;
pub use phases::Phases;
pub use sandbox::{EnteredSandbox, Sandbox};
pub use signals::StopSignals;
pub use supervisor::Supervisor;
