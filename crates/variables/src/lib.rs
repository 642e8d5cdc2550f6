//! The variables of an app.
//!
//! An app declares variables; a component has names of its own, each with a
//! template over them, and reads nothing else. The value of a variable comes from
//! the first that has one:
//!
//! 1. the providers of the configuration, in their order;
//! 2. the environment that configures the app ([`EnvironmentValues`]);
//! 3. the default of the variable.
//!
//! - [`Provider`]: who has values. Those of the environment and of files are fixed
//!   when an app starts; a [`RemoteProvider`] is asked whenever a guest asks.
//! - [`Variables`]: all variables of an app. What no remote provider has a say in
//!   is resolved once; an app without one pays nothing per call.
//! - [`ComponentVariables`]: what one component may read.
//!
//! No value reaches a log, an error or a `Debug` form: all may be secret.

mod azure_key_vault;
mod component;
mod dotenv;
mod environment;
mod fixed;
mod provider;
mod resolve;
mod vault;

pub use azure_key_vault::AzureKeyVault;
pub use component::ComponentVariables;
pub use dotenv::{DotenvError, read_dotenv};
pub use environment::{EnvironmentValues, PREFIX};
pub use fixed::{StaticError, read_static};
pub use provider::{Provider, ProviderError, RemoteProvider};
pub use resolve::{VariableError, Variables};
pub use vault::Vault;

#[cfg(test)]
mod tests;
