//! What an app needs in the cluster, as a function of what it says: no I/O.
//!
//! Names, labels, ports, environment and mounts are those of the spin-operator,
//! so that an app does not change when one controller takes over from the other.

mod deployment;
mod disruption_budget;
mod environment;
mod mounts;
mod pod_security;
mod service;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource as _, ResourceExt as _};
use spinapp_api::{GROUP, SpinApp, SpinAppExecutor};

/// What the pods' port is called; the Service points at the name.
const PORT_NAME: &str = "http-app";
/// Where every app listens.
const PORT: i32 = 80;

/// Everything that decides about an app's objects.
#[derive(Clone, Copy)]
pub(crate) struct Situation<'a> {
    /// The app.
    pub(crate) app: &'a SpinApp,
    /// Its executor.
    pub(crate) executor: &'a SpinAppExecutor,
    /// The Secret with its runtime configuration.
    pub(crate) runtime_config_secret: &'a str,
    /// Changes whenever a Secret or ConfigMap that its containers use changes;
    /// none when they use none.
    pub(crate) references_digest: Option<&'a str>,
    /// Whether its namespace enforces the Pod Security standard "restricted".
    pub(crate) restricted: bool,
}

/// What should be there; what is absent here should not be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Objects {
    /// Runs the app, unless something else does.
    pub(crate) deployment: Option<Deployment>,
    /// Leads to its pods.
    pub(crate) service: Service,
    /// Protects its pods from drains.
    pub(crate) disruption_budget: Option<PodDisruptionBudget>,
}

/// Why an app cannot be run as it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    /// No way to run a pod.
    #[error(
        "SpinAppExecutor {0:?} makes Deployments but says neither runtimeClassName nor spinImage \
         in deploymentConfig; set one of them"
    )]
    ExecutorWithoutWay(String),
    /// Two ways to run a pod.
    #[error(
        "SpinAppExecutor {0:?} says both runtimeClassName and spinImage in deploymentConfig; \
         remove one of them"
    )]
    ExecutorWithTwoWays(String),
    /// Annotations for what is not made.
    #[error(
        "{field} has no effect because SpinAppExecutor {executor:?} makes no Deployments; remove it"
    )]
    NoDeployment {
        /// The field of the app.
        field: &'static str,
        /// The executor.
        executor: String,
    },
    /// Not a quantity.
    #[error("invocationLimits.memory is {0:?}, expected a quantity of bytes such as 128Mi")]
    InvocationMemory(String),
}

/// The objects for an app.
///
/// # Errors
/// Fails when the app and its executor contradict themselves or each other.
pub(crate) fn objects(situation: &Situation<'_>) -> Result<Objects, Contradiction> {
    let Situation { app, executor, .. } = *situation;
    let deployment = if executor.spec.create_deployment {
        Some(deployment::deployment(situation)?)
    } else {
        refuse_deployment_fields(app, executor)?;
        None
    };
    let disruption_budget =
        deployment.as_ref().and_then(|_| disruption_budget::disruption_budget(app));
    Ok(Objects { deployment, service: service::service(app), disruption_budget })
}

fn refuse_deployment_fields(
    app: &SpinApp,
    executor: &SpinAppExecutor,
) -> Result<(), Contradiction> {
    let fields = [
        ("deploymentAnnotations", app.spec.deployment_annotations.is_empty()),
        ("podAnnotations", app.spec.pod_annotations.is_empty()),
    ];
    match fields.into_iter().find(|(_, empty)| !empty) {
        Some((field, _)) => {
            Err(Contradiction::NoDeployment { field, executor: executor.name_any() })
        }
        None => Ok(()),
    }
}

/// The label of everything that belongs to an app.
pub(crate) fn app_label(app: &str) -> (String, String) {
    (format!("{GROUP}/app-name"), app.to_owned())
}

/// The label of the pods that take an app's traffic.
fn ready_label(app: &str) -> (String, String) {
    (format!("{GROUP}/app.{app}.status"), "ready".to_owned())
}

/// The labels by which an app's Deployment knows its pods.
pub(crate) fn pod_selector(app: &str) -> BTreeMap<String, String> {
    [app_label(app), ready_label(app)].into()
}

/// What an app's objects have in common: its name, its label, its ownership.
fn metadata(app: &SpinApp, annotations: &BTreeMap<String, String>) -> ObjectMeta {
    let name = app.name_any();
    ObjectMeta {
        labels: Some([app_label(&name)].into()),
        annotations: some(annotations.clone()),
        owner_references: app.controller_owner_ref(&()).map(|owner| vec![owner]),
        namespace: app.namespace(),
        name: Some(name),
        ..ObjectMeta::default()
    }
}

/// An app as the owner of what it does not control alone.
pub(crate) fn owner(app: &SpinApp) -> Option<OwnerReference> {
    app.owner_ref(&())
}

/// An empty collection is left out of what is applied.
fn some<C>(collection: C) -> Option<C>
where
    C: IntoIterator,
    for<'a> &'a C: IntoIterator,
{
    let empty = (&collection).into_iter().next().is_none();
    (!empty).then_some(collection)
}

#[cfg(test)]
mod tests;
