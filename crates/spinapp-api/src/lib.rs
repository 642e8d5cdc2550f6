//! The resources that describe Spin apps to a cluster: `SpinApp` and
//! `SpinAppExecutor` of `core.spinkube.dev/v1alpha1`.
//!
//! Fields, names, defaults and meaning are those of the spin-operator, so that
//! manifests written for it are accepted as they are and either controller can
//! take over from the other. Its admission rules are CEL rules of the schema
//! here: no webhook and no certificate is needed for them. What goes beyond the
//! spin-operator is under one key, [`SpinAppSpec::pod_options`].
#![expect(unreachable_pub, reason = "the schema macro repeats each struct inside a function")]

mod executor;
mod pod_options;
mod runtime_config;
mod schema;
mod spin_app;

pub use executor::{
    DeploymentConfig, Otel, SpinAppExecutor, SpinAppExecutorSpec, SpinAppExecutorStatus,
};
pub use pod_options::{DisruptionBudget, ImagePullPolicy, PodOptions};
pub use runtime_config::{
    KeyValueStore, LlmCompute, RuntimeConfig, RuntimeConfigOption, RuntimeConfigOptionSource,
    SqliteDatabase,
};
pub use schema::custom_resource_definitions;
pub use spin_app::{
    HealthCheck, HealthChecks, HttpGet, HttpHeader, Resources, SpinApp, SpinAppSpec, SpinAppStatus,
    Variable,
};

/// The API group of both resources, and the prefix of their labels.
pub const GROUP: &str = "core.spinkube.dev";
/// The executor of an app that names none: what the node installer provides.
pub const DEFAULT_EXECUTOR: &str = "containerd-shim-spin";
