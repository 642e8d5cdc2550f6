//! One of several controllers works: the one that holds the Lease.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};

/// What the Lease is called.
const NAME: &str = "spinapp-controller";
/// How long a leader may be silent before another one takes over.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the leader speaks, and the others listen.
const INTERVAL: Duration = Duration::from_secs(5);

/// Why this process does not lead any more.
#[derive(Debug, thiserror::Error)]
#[error("leadership was lost to {0:?}; this process ends so that the other one works alone")]
pub(crate) struct Lost(String);

/// A wish to lead.
pub(crate) struct Candidate {
    leases: Api<Lease>,
    namespace: String,
    identity: String,
    /// The Lease as it was when it last changed, and when that was by this
    /// process's clock: clocks of other machines are not compared with.
    seen: Option<(Option<String>, Instant)>,
}

impl Candidate {
    pub(crate) fn new(client: Client, namespace: &str, identity: &str) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
            seen: None,
        }
    }

    /// Returns when this process leads. Failed requests are repeated.
    pub(crate) async fn wait(&mut self) {
        let mut announced = false;
        loop {
            match self.try_once().await {
                Ok(None) => return,
                Ok(Some(leader)) if !announced => {
                    tracing::info!(leader, "another controller leads; waiting");
                    announced = true;
                }
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!(%error, "the lease cannot be had"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Returns when this process leads no more: somebody else has the Lease, or it
    /// could not be renewed for so long that somebody else may have it.
    pub(crate) async fn keep(&mut self) -> Lost {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(INTERVAL).await;
            // A request must not outlast the time in which it makes sense.
            match tokio::time::timeout(INTERVAL, self.try_once()).await {
                Ok(Ok(None)) => renewed = Instant::now(),
                Ok(Ok(Some(leader))) => return Lost(leader),
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
                Err(_) => tracing::warn!("the lease could not be renewed in time"),
            }
            if renewed.elapsed() > PATIENCE {
                return Lost("nobody known".to_owned());
            }
        }
    }

    /// Takes or renews the Lease; returns who has it when that is somebody else.
    async fn try_once(&mut self) -> Result<Option<String>, kube::Error> {
        let parameters = PostParams::default();
        let Some(found) = self.leases.get_opt(NAME).await? else {
            let result = self.leases.create(&parameters, &self.lease(None)).await;
            return judge(result);
        };
        let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        let holder = holder.filter(|holder| !holder.is_empty());
        if let Some(other) = holder.filter(|holder| *holder != self.identity)
            && !self.is_silent(&found)
        {
            return Ok(Some(other));
        }
        let result = self.leases.replace(NAME, &parameters, &self.lease(Some(&found))).await;
        judge(result)
    }

    fn is_silent(&mut self, lease: &Lease) -> bool {
        let version = lease.metadata.resource_version.clone();
        match &self.seen {
            Some((known, since)) if *known == version => since.elapsed() > PATIENCE,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    /// The Lease as this process wants it. The version of the one that it replaces
    /// makes the API server refuse it if that has changed.
    fn lease(&self, before: Option<&Lease>) -> Lease {
        let old = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let kept = old.holder_identity.as_deref() == Some(self.identity.as_str());
        let now = MicroTime(Timestamp::now());
        let transitions = old.lease_transitions.unwrap_or_default();
        Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(self.namespace.clone()),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(PATIENCE.as_secs() as i32),
                acquire_time: if kept { old.acquire_time } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(if kept { transitions } else { transitions + 1 }),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// A conflict means that somebody else was faster.
fn judge(result: Result<Lease, kube::Error>) -> Result<Option<String>, kube::Error> {
    match result {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(error)) if error.code == 409 => Ok(Some("another".to_owned())),
        Err(error) => Err(error),
    }
}
