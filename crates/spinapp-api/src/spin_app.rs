//! One Spin app.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVarSource, LocalObjectReference, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{DEFAULT_EXECUTOR, PodOptions, RuntimeConfig};

/// What a SpinApp wants.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "core.spinkube.dev",
    version = "v1alpha1",
    kind = "SpinApp",
    plural = "spinapps",
    namespaced,
    status = "SpinAppStatus",
    derive = "PartialEq",
    doc = "A Spin app: what to run, how many times, and with which configuration.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Executor", type_ = "string", json_path = ".spec.executor"),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Deployment",
        type_ = "string",
        json_path = ".status.deploymentName",
        priority = 1
    ),
    printcolumn(name = "Service", type_ = "string", json_path = ".status.serviceName", priority = 1),
    validation = Rule::new(
        "size(self.metadata.name) <= 52 && \
         self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
    ).message(
        "the name must be that of a Service (lower case letters, digits and dashes, beginning \
         with a letter) of at most 52 characters, because labels contain it"
    )
)]
#[x_kube(
    validation = (
        "has(self.enableAutoscaling) && self.enableAutoscaling ? \
         !has(self.replicas) || self.replicas == 0 : has(self.replicas) && self.replicas >= 1",
        "replicas must be at least 1, or absent when enableAutoscaling is true"
    ),
    validation = (
        "!has(self.invocationLimits) || !('memory' in self.invocationLimits) || \
         isQuantity(self.invocationLimits['memory'])",
        "invocationLimits.memory must be a quantity such as 128Mi"
    ),
    validation = (
        "!has(self.invocationLimits) || !('memory' in self.invocationLimits) || \
         !isQuantity(self.invocationLimits['memory']) || !has(self.resources) || \
         (has(self.resources.limits) && 'memory' in self.resources.limits ? \
         quantity(self.invocationLimits['memory'])\
         .compareTo(quantity(string(self.resources.limits['memory']))) <= 0 : \
         !has(self.resources.requests) || !('memory' in self.resources.requests) || \
         quantity(self.invocationLimits['memory'])\
         .compareTo(quantity(string(self.resources.requests['memory']))) <= 0)",
        "invocationLimits.memory must not be more than the memory in resources"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SpinAppSpec {
    /// The SpinAppExecutor that runs the app.
    #[serde(default = "default_executor")]
    #[schemars(length(min = 1))]
    pub executor: String,
    /// The app as an OCI artifact or image.
    pub image: String,
    /// Secrets with credentials of the image's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Requests that tell whether the app is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<HealthChecks>,
    /// How many pods run the app; absent when something else scales its
    /// Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Whether something else scales the app's Deployment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enable_autoscaling: bool,
    /// Backends of the host interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_config: Option<RuntimeConfig>,
    /// Volumes of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Where the app finds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Values of the app's variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_annotations: BTreeMap<String, String>,
    /// Annotations of the Deployment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deployment_annotations: BTreeMap<String, String>,
    /// Annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_annotations: BTreeMap<String, String>,
    /// Labels of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_labels: BTreeMap<String, String>,
    /// What the app's container may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The components to run; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub components: Option<Vec<String>>,
    /// The service account of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// What one invocation of a component may use. Known key: `memory`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16), inner(length(max = 64)))]
    pub invocation_limits: BTreeMap<String, String>,
    /// More of the pod: scheduling, sidecars, security, disruption. The
    /// spin-operator does not know this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_options: Option<PodOptions>,
}

fn default_executor() -> String {
    DEFAULT_EXECUTOR.to_owned()
}

/// Requests that the kubelet sends to the app.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct HealthChecks {
    /// Traffic goes to a pod only while this succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<HealthCheck>,
    /// The app is started anew when this fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<HealthCheck>,
}

/// One request and how its answers are judged.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// Seconds from the start to the first request.
    #[serde(default = "ten")]
    pub initial_delay_seconds: i32,
    /// Seconds that an answer may take.
    #[serde(default = "one")]
    pub timeout_seconds: i32,
    /// Seconds between requests.
    #[serde(default = "ten")]
    pub period_seconds: i32,
    /// Answers in a row that make an app well again.
    #[serde(default = "one")]
    pub success_threshold: i32,
    /// Answers in a row that make an app unwell.
    #[serde(default = "three")]
    pub failure_threshold: i32,
}

fn one() -> i32 {
    1
}

fn three() -> i32 {
    3
}

fn ten() -> i32 {
    10
}

/// A GET request to port 80 of the app.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpGet {
    /// Its path.
    pub path: String,
    /// Its headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HttpHeader>,
}

/// A header of a request.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The value of an app variable.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// The variable.
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value is, when not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Limits and requests of the app's container.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct Resources {
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub limits: BTreeMap<String, Quantity>,
    /// What is set aside for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub requests: BTreeMap<String, Quantity>,
}

/// What the controller says about an app.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpinAppStatus {
    /// `Ready` says in words what is wrong; `Available` and `Progressing` are
    /// those of the Deployment.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The executor in use.
    #[serde(default)]
    pub active_scheduler: String,
    /// Pods that take traffic.
    pub ready_replicas: i32,
    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,
    /// The labels of the app's pods, for autoscalers.
    #[serde(default)]
    pub selector: String,
    /// The generation of the app that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The app's Deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_name: Option<String>,
    /// The app's Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
}
