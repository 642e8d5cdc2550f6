//! What a guest may import, and the state behind each instance.
//!
//! - [`AppHost`]: what all components of an app share; made once, checks
//!   everything that can be checked before anything runs.
//! - [`ComponentContext`]: one component; makes a [`wasmtime::Store`] per instance.
//! - [`InstanceState`]: the data of that store.
//! - [`Linking`]: the capabilities, each in a module of its own, and how a
//!   component's imports are served by them. A further one is one
//!   [`Linking::add`] away.

mod chaining;
mod error;
mod guest_files;
mod language_models;
mod linking;
mod log_limit;
mod outbound_http;
mod outgoing_body;
mod output;
mod servers;
mod sockets;
pub mod spin_http;
mod spin_variables;
mod state;
mod storage;
mod told_storage;
mod wasi;
mod wasi_config;

pub use chaining::{ChainTarget, ChainedHandler, ChainedResponse, LONGEST_CHAIN};
pub use error::HostError;
pub use guest_files::{GuestFiles, GuestFilesError};
pub use linking::{Capability, LinkError, Linking, is_platform_interface};
pub use log_limit::LogLimit;
pub use outbound_http::HttpClientError;
pub use output::{LONGEST_LINE, Output, PATIENCE, QUEUE, Writes};
pub use servers::OutboundSettings;
pub use state::{AppHost, ComponentContext, HostSettings, InstanceState, MAX_RESOURCES, Program};
pub use storage::StorageSettings;
pub use variables::{ComponentVariables, Provider, VariableError, Variables};
