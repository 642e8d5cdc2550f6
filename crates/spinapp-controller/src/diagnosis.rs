//! Why an app does not run, told from its Deployment and its pods: no I/O.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use crate::status::{Ready, Verdict};

/// Reasons of a waiting container that will not go away by waiting.
const STUCK: &[&str] = &[
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// The verdict on the Deployment alone; none when it is not done and only its
/// pods can tell why.
pub(crate) fn of_deployment(deployment: &Deployment) -> Option<Verdict> {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = wanted(deployment);
    if is_complete(deployment) {
        let message = format!("{wanted} of {wanted} pods take traffic");
        return Some(Verdict { ready: Ready::Yes, reason: "Serving".to_owned(), message });
    }
    let failure = condition(&status, "ReplicaFailure")?;
    let message = failure.message.clone().unwrap_or_default();
    let reason = failure.reason.as_deref().unwrap_or("ReplicaFailure");
    Some(Verdict::no(reason, explained(&message)))
}

/// Whether every pod is of the newest template and takes traffic.
pub(crate) fn is_complete(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let wanted = wanted(deployment);
    let count = Option::unwrap_or_default;
    status.observed_generation >= deployment.metadata.generation
        && count(status.updated_replicas) == wanted
        && count(status.replicas) == wanted
        && count(status.available_replicas) == wanted
}

/// The verdict on pods of an app whose Deployment is not done. `sandbox_failure`
/// is what the kubelet last said about starting one of them, if it could not.
pub(crate) fn of_pods(
    deployment: &Deployment,
    pods: &[Pod],
    sandbox_failure: Option<&str>,
) -> Verdict {
    let statuses = pods.iter().filter_map(|pod| pod.status.as_ref());
    if let Some(verdict) = statuses.clone().find_map(stuck_container) {
        return verdict;
    }
    if let Some(message) = sandbox_failure {
        return Verdict::no("FailedCreatePodSandBox", explained(message));
    }
    if let Some(verdict) = statuses.clone().find_map(unscheduled) {
        return verdict;
    }
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas);
    let message =
        format!("{} of {} pods take traffic", ready.unwrap_or_default(), wanted(deployment));
    Verdict::no("Progressing", message)
}

fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

fn condition<'a>(
    status: &'a DeploymentStatus,
    name: &str,
) -> Option<&'a k8s_openapi::api::apps::v1::DeploymentCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|found| {
        found.type_.as_deref() == Some(name) && found.status.as_deref() == Some("True")
    })
}

fn stuck_container(status: &PodStatus) -> Option<Verdict> {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    containers.flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| STUCK.contains(reason))?;
        let message = waiting.message.clone().unwrap_or_default();
        let message = match last_end(container) {
            Some(end) => format!("{message}; {end}"),
            None => message,
        };
        let name = &container.name;
        Some(Verdict::no(reason, explained(&format!("container {name:?}: {message}"))))
    })
}

/// How a container ended the last time, with what it said.
fn last_end(container: &ContainerStatus) -> Option<String> {
    let end = container.last_state.as_ref()?.terminated.as_ref()?;
    let reason = end.reason.as_deref().unwrap_or("it ended");
    let said = end.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let said = said.map(|message| format!(": {message}")).unwrap_or_default();
    Some(format!("last end: {reason}, exit code {}{said}", end.exit_code))
}

fn unscheduled(status: &PodStatus) -> Option<Verdict> {
    let mut conditions = status.conditions.iter().flatten();
    let found =
        conditions.find(|found| found.type_ == "PodScheduled" && found.status == "False")?;
    let reason = found.reason.as_deref().unwrap_or("Unschedulable");
    Some(Verdict::no(reason, explained(found.message.as_deref().unwrap_or_default())))
}

/// The message, with a hint where its cause is known.
fn explained(message: &str) -> String {
    let hint = HINTS.iter().find(|(symptom, _)| message.contains(symptom));
    match hint {
        Some((_, hint)) => format!("{} ({hint})", message.trim_end_matches('.')),
        None => message.to_owned(),
    }
}

const PULL_SECRET: &str =
    "name a Secret with the registry's credentials in spec.imagePullSecrets, or correct it";

const HINTS: &[(&str, &str)] = &[
    (
        "no runtime for",
        "the node's containerd does not know the handler: see `kubectl describe node` and the \
         node installer's log in namespace spinlet",
    ),
    (
        "RuntimeClass",
        "apply runtimeclass/runtimeclass.yaml, or correct runtimeClassName in the executor",
    ),
    (
        "node affinity/selector",
        "no node that fits carries the label spinlet.dev/ready=true, which the node installer \
         sets when a node can run Spin apps; see `kubectl get pods -n spinlet`",
    ),
    ("authorization failed", PULL_SECRET),
    ("401 Unauthorized", PULL_SECRET),
    ("403 Forbidden", PULL_SECRET),
    (
        "violates PodSecurity",
        "set podOptions.securityContext and podOptions.containerSecurityContext as the namespace's \
         Pod Security standard demands",
    ),
];

#[cfg(test)]
mod tests;
