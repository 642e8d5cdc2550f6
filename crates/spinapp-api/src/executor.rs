//! Where and how the apps of an executor run.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What a SpinAppExecutor wants.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "core.spinkube.dev",
    version = "v1alpha1",
    kind = "SpinAppExecutor",
    plural = "spinappexecutors",
    namespaced,
    status = "SpinAppExecutorStatus",
    derive = "PartialEq",
    doc = "How the Spin apps that name this executor are run."
)]
#[serde(rename_all = "camelCase")]
pub struct SpinAppExecutorSpec {
    /// Whether the controller makes a Deployment for each app. When false,
    /// something else runs the app, and only its Service is made.
    pub create_deployment: bool,
    /// How the Deployments look. Needed when they are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_config: Option<DeploymentConfig>,
}

/// The part of an app's Deployment that its executor decides.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[x_kube(validation = (
    "has(self.runtimeClassName) != has(self.spinImage)",
    "exactly one of runtimeClassName and spinImage must be set"
))]
#[serde(rename_all = "camelCase")]
pub struct DeploymentConfig {
    /// The RuntimeClass of the pods: they run under its containerd handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// An image with the `spin` command line, which then serves the app in an
    /// ordinary container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spin_image: Option<String>,
    /// A Secret in the app's namespace whose key `ca-certificates.crt` holds the
    /// certificate authorities that apps trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert_secret: Option<String>,
    /// Whether the controller provides that Secret, with the authorities that
    /// browsers trust. It is called `spin-ca` unless `caCertSecret` says
    /// otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "installDefaultCACerts")]
    pub install_default_ca_certs: bool,
    /// Where apps send their telemetry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otel: Option<Otel>,
}

/// Endpoints that speak the OpenTelemetry protocol.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct Otel {
    /// For every kind of data that has no endpoint of its own.
    #[serde(rename = "exporter_otlp_endpoint", default, skip_serializing_if = "Option::is_none")]
    pub all: Option<String>,
    /// For traces.
    #[serde(
        rename = "exporter_otlp_traces_endpoint",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub traces: Option<String>,
    /// For metrics.
    #[serde(
        rename = "exporter_otlp_metrics_endpoint",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub metrics: Option<String>,
    /// For logs.
    #[serde(
        rename = "exporter_otlp_logs_endpoint",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub logs: Option<String>,
}

/// Nothing is reported on executors.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct SpinAppExecutorStatus {}
