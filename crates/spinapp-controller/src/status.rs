//! What an app's status says, as a function of what was found: no I/O.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;
use spinapp_api::{SpinApp, SpinAppStatus};

use crate::desired::pod_selector;

/// Whether an app takes traffic, and if not, why, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) ready: Ready,
    /// One word, as conditions want it.
    pub(crate) reason: String,
    /// A sentence that says what is wrong and what to do.
    pub(crate) message: String,
}

/// The three states of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    Yes,
    No,
    /// Something else runs the app.
    Unknown,
}

impl Ready {
    fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "True",
            Self::No => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Verdict {
    pub(crate) fn no(reason: &str, message: impl Into<String>) -> Self {
        Self { ready: Ready::No, reason: reason.to_owned(), message: message.into() }
    }
}

/// What is known about an app after its objects were applied.
pub(crate) struct Found<'a> {
    pub(crate) executor: &'a str,
    /// None when something else runs the app.
    pub(crate) deployment: Option<&'a Deployment>,
    /// Whether the Service was applied.
    pub(crate) service: bool,
    pub(crate) verdict: Verdict,
}

/// The status of an app. Conditions keep the time of their last change.
pub(crate) fn status(app: &SpinApp, found: Found<'_>, now: Timestamp) -> SpinAppStatus {
    let before = app.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let generation = app.metadata.generation;
    let ready = Condition {
        type_: "Ready".to_owned(),
        status: found.verdict.ready.as_str().to_owned(),
        reason: found.verdict.reason,
        message: found.verdict.message,
        observed_generation: generation,
        last_transition_time: Time(now),
    };
    let of_deployment = found.deployment.map(|deployment| {
        let none = DeploymentStatus::default();
        deployment_conditions(deployment.status.as_ref().unwrap_or(&none), generation, now)
    });
    let conditions = [ready].into_iter().chain(of_deployment.into_iter().flatten());
    let conditions = conditions.map(|condition| keep_transition(condition, before)).collect();
    let deployed = found.deployment.and_then(|deployment| deployment.status.clone());
    let deployed = deployed.unwrap_or_default();
    SpinAppStatus {
        conditions,
        active_scheduler: found.executor.to_owned(),
        ready_replicas: deployed.ready_replicas.unwrap_or_default(),
        replicas: deployed.replicas.unwrap_or_default(),
        selector: selector(&app.name_any()),
        observed_generation: generation,
        deployment_name: found.deployment.map(kube::ResourceExt::name_any),
        service_name: found.service.then(|| app.name_any()),
    }
}

/// `Available` and `Progressing` as the Deployment has them.
fn deployment_conditions(
    status: &DeploymentStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let conditions = status.conditions.iter().flatten();
    let copied = conditions.filter_map(|found| {
        let name = found.type_.clone()?;
        ["Available", "Progressing"].contains(&name.as_str()).then(|| Condition {
            status: found.status.clone().unwrap_or_default(),
            // A Deployment may leave it out, a condition of ours may not.
            reason: found.reason.clone().unwrap_or_else(|| name.clone()),
            type_: name,
            message: found.message.clone().unwrap_or_default(),
            observed_generation: generation,
            last_transition_time: found.last_transition_time.clone().unwrap_or(Time(now)),
        })
    });
    copied.collect()
}

fn keep_transition(mut condition: Condition, before: &[Condition]) -> Condition {
    let same =
        before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
    if let Some(old) = same {
        condition.last_transition_time = old.last_transition_time.clone();
    }
    condition
}

fn selector(app: &str) -> String {
    let labels = pod_selector(app);
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
