//! The Node object: its label, its condition, its events.

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, Node as NodeObject, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::settings::Settings;

/// The label by which the RuntimeClass finds nodes that can run Spin apps.
const READY: &str = "spinlet.dev/ready";
/// The condition that says in words why a node cannot.
const CONDITION: &str = "SpinAppsReady";
/// Events of nodes, which belong to no namespace, are kept here.
const EVENTS: &str = "default";

/// The node that this process runs on, as the cluster knows it.
pub(crate) struct Node {
    client: Client,
    nodes: Api<NodeObject>,
    name: String,
}

impl Node {
    /// The node that the settings name.
    pub(crate) async fn of(settings: &Settings) -> anyhow::Result<Self> {
        let client = Client::try_default().await.context("cannot find the API server")?;
        let nodes = Api::all(client.clone());
        Ok(Self { client, nodes, name: settings.node.clone() })
    }

    /// The API server.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Says that the node can run Spin apps: from now on they are placed there.
    pub(crate) async fn report_ready(&self) -> anyhow::Result<()> {
        self.set_condition("True", "Installed", "the handlers are registered").await?;
        self.set_label(Some("true")).await
    }

    /// Says that the node cannot, and why. That itself may fail; the reason is in
    /// the log in any case.
    pub(crate) async fn report_failure(&self, reason: &str) {
        let reported = async {
            self.set_label(Some("false")).await?;
            self.set_condition("False", "InstallationFailed", reason).await?;
            self.record(reason).await
        };
        if let Err(error) = reported.await {
            let error = process_setup::chain(error.as_ref());
            tracing::warn!(error, "the failure could not be reported on the node");
        }
    }

    /// Takes the label away, so that no pod is placed there any more.
    pub(crate) async fn report_removal(&self) -> anyhow::Result<()> {
        self.set_label(None).await?;
        self.set_condition("False", "Removed", "Spinlet is not installed").await
    }

    async fn set_label(&self, value: Option<&str>) -> anyhow::Result<()> {
        let patch = json!({ "metadata": { "labels": { READY: value } } });
        let result = self.nodes.patch(&self.name, &parameters(), &Patch::Merge(patch)).await;
        result.map(|_| ()).with_context(|| format!("cannot label node {}", self.name))
    }

    async fn set_condition(&self, status: &str, reason: &str, message: &str) -> anyhow::Result<()> {
        let now = Time(Timestamp::now());
        let patch = json!({ "status": { "conditions": [{
            "type": CONDITION,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }]}});
        let patch = Patch::Strategic(patch);
        let result = self.nodes.patch_status(&self.name, &parameters(), &patch).await;
        result.map(|_| ()).with_context(|| format!("cannot set a condition of node {}", self.name))
    }

    async fn record(&self, reason: &str) -> anyhow::Result<()> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), EVENTS);
        let now = Time(Timestamp::now());
        let node = self.nodes.get_metadata(&self.name).await?;
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some("spinlet-".to_owned()),
                namespace: Some(EVENTS.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(self.name.clone()),
                uid: node.uid(),
                ..ObjectReference::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some("SpinletInstallationFailed".to_owned()),
            message: Some(reason.chars().take(900).collect()),
            source: Some(EventSource {
                component: Some("spinlet-node-installer".to_owned()),
                host: Some(self.name.clone()),
            }),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Event::default()
        };
        events.create(&PostParams::default(), &event).await?;
        Ok(())
    }
}

fn parameters() -> PatchParams {
    PatchParams {
        field_manager: Some("spinlet-node-installer".to_owned()),
        ..PatchParams::default()
    }
}
