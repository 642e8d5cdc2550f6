//! One node after the other: whoever is about to restart containerd holds a
//! Lease, so that a configuration that containerd does not take is found out on
//! one node and not on all of them at once.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};

/// What the Lease is called.
const NAME: &str = "node-installer";
/// A node that says nothing for so long has ended without giving its turn back.
/// Longer than containerd may take to come back, twice.
const PATIENCE: Duration = Duration::from_mins(5);
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the API server may be away.
const RECOVERY: Duration = Duration::from_mins(1);

/// The turn of this node.
pub(crate) struct Turn {
    leases: Api<Lease>,
    namespace: String,
    node: String,
}

impl Turn {
    /// Waits until it is this node's turn. A turn that was never given back passes
    /// on after five minutes.
    pub(crate) async fn wait(client: Client, namespace: &str, node: &str) -> anyhow::Result<Self> {
        let leases = Api::namespaced(client, namespace);
        let turn = Self { leases, namespace: namespace.to_owned(), node: node.to_owned() };
        let mut announced = None;
        // The Lease as it was when it last changed, by this node's own clock.
        let mut seen: Option<(Option<String>, Instant)> = None;
        loop {
            let found =
                turn.leases.get_opt(NAME).await.context("cannot read the Lease of turns")?;
            let holder = holder(found.as_ref()).filter(|holder| *holder != turn.node);
            let version = found.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            let since = match &seen {
                Some((known, since)) if *known == version => *since,
                _ => {
                    let now = Instant::now();
                    seen = Some((version, now));
                    now
                }
            };
            if let Some(other) = holder.filter(|_| since.elapsed() < PATIENCE) {
                if announced.as_ref() != Some(&other) {
                    tracing::info!(
                        node = other,
                        "containerd is restarted on another node; waiting"
                    );
                    announced = Some(other);
                }
            } else if turn.write(found.as_ref(), &turn.node).await? {
                return Ok(turn);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Lets the next node go on. Where containerd's restart restarts the API server
    /// too, that takes some attempts.
    pub(crate) async fn give_back(self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            match self.try_to_give_back().await {
                Err(error) if started.elapsed() < RECOVERY => {
                    tracing::warn!(error = process_setup::chain(error.as_ref()), "trying again");
                    tokio::time::sleep(INTERVAL).await;
                }
                result => return result,
            }
        }
    }

    async fn try_to_give_back(&self) -> anyhow::Result<()> {
        let found = self.leases.get_opt(NAME).await.context("cannot read the Lease of turns")?;
        if holder(found.as_ref()).as_ref() == Some(&self.node) {
            self.write(found.as_ref(), "").await?;
        }
        Ok(())
    }

    /// Writes who has the turn; false when somebody else wrote at the same time.
    async fn write(&self, before: Option<&Lease>, holder: &str) -> anyhow::Result<bool> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(self.namespace.clone()),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(PATIENCE.as_secs() as i32),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        };
        let parameters = PostParams::default();
        let result = match before {
            Some(_) => self.leases.replace(NAME, &parameters, &lease).await,
            None => self.leases.create(&parameters, &lease).await,
        };
        match result {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(false),
            Err(error) => Err(error).context("cannot write the Lease of turns"),
        }
    }
}

fn holder(lease: Option<&Lease>) -> Option<String> {
    let holder = lease?.spec.as_ref()?.holder_identity.clone()?;
    Some(holder).filter(|holder| !holder.is_empty())
}
