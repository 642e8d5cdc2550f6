//! Requests that only read.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use spinapp_api::SpinApp;

use super::ReconcileError;
use crate::desired::pod_selector;
use crate::diagnosis;
use crate::references::{Contents, Kind, Reference};
use crate::status::Verdict;

/// How many pods of an app are looked at to tell why it does not run.
const PODS: u32 = 20;
/// The namespace label of Pod Security admission.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// What is behind an app's references. Only objects that the app names are read,
/// and nothing of them is kept.
pub(super) async fn contents(
    client: &Client,
    namespace: &str,
    references: &BTreeSet<Reference>,
) -> Result<Contents, ReconcileError> {
    let objects: BTreeSet<_> =
        references.iter().map(|reference| (reference.kind, reference.name.as_str())).collect();
    let mut contents = Contents::default();
    for (kind, name) in objects {
        let values = match kind {
            Kind::Secret => secret(client, namespace, name).await,
            Kind::ConfigMap => config_map(client, namespace, name).await,
        };
        let failed = ReconcileError::on(format!("read {kind} {namespace}/{name}"));
        if let Some(values) = values.map_err(failed)? {
            contents.insert(kind, name, values);
        }
    }
    Ok(contents)
}

type Values = BTreeMap<String, Vec<u8>>;

async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Values>, kube::Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await?;
    Ok(found.map(|secret| {
        secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
    }))
}

async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Values>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await?;
    Ok(found.map(|map| {
        let text = map.data.unwrap_or_default().into_iter();
        let text = text.map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.unwrap_or_default().into_iter();
        text.chain(binary.map(|(key, value)| (key, value.0))).collect()
    }))
}

/// Whether a namespace enforces the Pod Security standard "restricted".
pub(super) async fn is_restricted(
    client: &Client,
    namespace: &str,
) -> Result<bool, ReconcileError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let failed = ReconcileError::on(format!("read namespace {namespace}"));
    let found = api.get_metadata_opt(namespace).await.map_err(failed)?;
    Ok(found.is_some_and(|found| found.labels().get(ENFORCE).is_some_and(|it| it == "restricted")))
}

/// The app's Deployment as it is.
pub(super) async fn deployment(
    client: &Client,
    app: &SpinApp,
) -> Result<Option<Deployment>, ReconcileError> {
    let (namespace, name) = (app.namespace().unwrap_or_default(), app.name_any());
    let api: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let failed = ReconcileError::on(format!("read Deployment {namespace}/{name}"));
    api.get_opt(&name).await.map_err(failed)
}

/// Why an app is not ready, told by a few of its pods.
pub(super) async fn verdict_of_pods(
    client: &Client,
    app: &SpinApp,
    deployment: &Deployment,
) -> Result<Verdict, ReconcileError> {
    let (namespace, name) = (app.namespace().unwrap_or_default(), app.name_any());
    let labels = pod_selector(&name);
    let selector: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let some = ListParams::default().labels(&selector.join(",")).limit(PODS);
    let failed = ReconcileError::on(format!("list the pods of app {namespace}/{name}"));
    let pods = api.list(&some).await.map_err(failed)?.items;
    let sandbox_failure = match pods.iter().find(|pod| waits_for_its_sandbox(pod)) {
        Some(pod) => sandbox_failure(client, &namespace, pod).await?,
        None => None,
    };
    Ok(diagnosis::of_pods(deployment, &pods, sandbox_failure.as_deref()))
}

/// A pod that has a node but no address yet.
fn waits_for_its_sandbox(pod: &Pod) -> bool {
    let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    placed && pod.status.as_ref().is_some_and(|status| status.pod_ip.is_none())
}

/// What the kubelet last said about starting a pod, if it could not: a pod's
/// status does not tell.
async fn sandbox_failure(
    client: &Client,
    namespace: &str,
    pod: &Pod,
) -> Result<Option<String>, ReconcileError> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let uid = pod.uid().unwrap_or_default();
    let fields = format!("involvedObject.uid={uid},reason=FailedCreatePodSandBox");
    let failed = ReconcileError::on(format!("list the events of pod {}", pod.name_any()));
    let events = api.list(&ListParams::default().fields(&fields).limit(5)).await.map_err(failed)?;
    Ok(events.items.into_iter().rev().find_map(|event| event.message))
}
