//! Makes a node able to run Spin apps, and takes that back.
//!
//! Facts about the node are read first; from them a plan is made, which is pure
//! and can be printed; then the plan is carried out: the shim is put in place,
//! the handlers `spin` and `spin-v2` are registered with containerd, containerd
//! is restarted if it has to be, and it is asked whether it knows them. If it
//! does not come back, everything is as it was before. What was changed is
//! written down on the node, so that removal restores it byte for byte.

mod apply;
mod config;
mod content;
mod cri;
mod diagnosis;
mod distribution;
mod facts;
mod journal;
mod plan;
mod removal;
mod root;
mod service;
mod template;

pub use apply::{InstallError, Installed, install};
pub use config::RuntimeTableError;
pub use cri::{Cri, CriError};
pub use diagnosis::{Check, State, diagnose};
pub use distribution::Distribution;
pub use facts::{ConfigFile, Facts, FactsError, Version};
pub use plan::{Plan, PlanError, Write, plan};
pub use removal::{Removal, RemovalError, Step, uninstall};
pub use root::Root;
pub use service::{Containerd, Restart, RestartError, Service, ServiceManager};

/// The handlers that are registered: what existing RuntimeClasses name.
pub const HANDLERS: [&str; 2] = ["spin", "spin-v2"];
/// The file name of the shim, by which containerd knows its runtime type.
pub const SHIM: &str = "containerd-shim-spin-v2";
