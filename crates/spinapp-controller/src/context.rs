//! What all reconciliations share.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::{Client, Resource, ResourceExt as _};
use spinapp_api::{SpinApp, SpinAppExecutor};

use crate::metrics::Metrics;
use crate::references::{Kind, Reference};

/// The field manager of everything that is applied. It is the spin-operator's:
/// whichever of the two takes over an app owns the fields that the other set,
/// and can remove them again.
pub(crate) const FIELD_MANAGER: &str = "spin-operator";

/// An app that may be written in a way that this version cannot read.
pub(crate) type GuardedApp = kube::core::DeserializeGuard<SpinApp>;

/// Shared by all reconciliations of this process.
pub(crate) struct Context {
    pub(crate) client: Client,
    /// The namespace of the controller, whose executors are everybody's.
    pub(crate) namespace: String,
    pub(crate) executors: Store<SpinAppExecutor>,
    pub(crate) apps: Store<GuardedApp>,
    pub(crate) users: Users,
    pub(crate) metrics: Metrics,
    recorder: Recorder,
    /// The runtime configuration of each app, by unique id, whose predecessors
    /// are removed already.
    swept: Mutex<HashMap<String, String>>,
}

impl Context {
    pub(crate) fn new(
        client: Client,
        namespace: String,
        instance: String,
        executors: Store<SpinAppExecutor>,
        apps: Store<GuardedApp>,
    ) -> Self {
        let reporter =
            Reporter { controller: "spinapp-controller".to_owned(), instance: Some(instance) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            namespace,
            executors,
            apps,
            users: Users::default(),
            metrics: Metrics::default(),
            swept: Mutex::default(),
        }
    }

    /// The executor that an app names: the one of its namespace, else the one of
    /// the controller's namespace.
    pub(crate) fn executor_of(&self, app: &SpinApp) -> Option<std::sync::Arc<SpinAppExecutor>> {
        let namespace = app.namespace().unwrap_or_default();
        let find = |namespace: &str| {
            self.executors.find(|executor| {
                executor.name_any() == app.spec.executor
                    && executor.namespace().as_deref() == Some(namespace)
                    && executor.metadata.deletion_timestamp.is_none()
            })
        };
        find(&namespace).or_else(|| find(&self.namespace))
    }

    /// Records an event that `kubectl describe` shows. An event that cannot be
    /// recorded is no reason to fail.
    pub(crate) async fn record<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        kind: EventType,
        reason: &str,
        note: &str,
    ) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            // The API refuses more than 1 kB.
            note: Some(note.chars().take(900).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(%error, reason, "an event could not be recorded");
        }
    }

    /// Whether older runtime configurations of an app still have to be removed.
    pub(crate) fn must_sweep(&self, app: &str, current: &str) -> bool {
        let swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        swept.get(app).is_none_or(|known| known != current)
    }

    pub(crate) fn has_swept(&self, app: &str, current: &str) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        swept.insert(app.to_owned(), current.to_owned());
    }

    /// Forgets an app that is gone.
    pub(crate) fn forget(&self, app: &SpinApp) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        swept.remove(&app.uid().unwrap_or_default());
        self.users.set(&app.namespace().unwrap_or_default(), &app.name_any(), []);
    }
}

/// Which apps use which Secrets and ConfigMaps, so that a change of one finds its
/// apps without looking at all of them.
#[derive(Default)]
pub(crate) struct Users {
    maps: Mutex<UserMaps>,
}

#[derive(Default)]
struct UserMaps {
    /// Apps by kind, namespace and name of what they use.
    apps: HashMap<(Kind, String, String), HashSet<String>>,
    /// What an app uses, by its namespace and name.
    uses: HashMap<(String, String), HashSet<(Kind, String)>>,
}

impl Users {
    /// Says what an app uses from now on.
    pub(crate) fn set<'a>(
        &self,
        namespace: &str,
        app: &str,
        references: impl IntoIterator<Item = &'a Reference>,
    ) {
        let now: HashSet<_> = references
            .into_iter()
            .map(|reference| (reference.kind, reference.name.clone()))
            .collect();
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), app.to_owned());
        for (kind, name) in maps.uses.remove(&key).unwrap_or_default().difference(&now) {
            let used = (*kind, namespace.to_owned(), name.clone());
            if let Some(apps) = maps.apps.get_mut(&used) {
                apps.remove(app);
                if apps.is_empty() {
                    maps.apps.remove(&used);
                }
            }
        }
        for (kind, name) in &now {
            let used = (*kind, namespace.to_owned(), name.clone());
            maps.apps.entry(used).or_default().insert(app.to_owned());
        }
        if !now.is_empty() {
            maps.uses.insert(key, now);
        }
    }

    /// The apps that use an object.
    pub(crate) fn of(&self, kind: Kind, namespace: &str, name: &str) -> Vec<String> {
        let maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let used = (kind, namespace.to_owned(), name.to_owned());
        maps.apps.get(&used).into_iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str) -> Reference {
        Reference::key(Kind::Secret, name, "key", false)
    }

    #[test]
    fn a_change_finds_the_apps_that_use_it_now() {
        let users = Users::default();
        users.set("a", "app", [&secret("one"), &secret("two")]);
        users.set("a", "other", [&secret("two")]);
        assert_eq!(users.of(Kind::Secret, "a", "one"), ["app"]);
        assert_eq!(users.of(Kind::Secret, "a", "two").len(), 2);
        users.set("a", "app", [&secret("three")]);
        assert!(users.of(Kind::Secret, "a", "one").is_empty());
        assert_eq!(users.of(Kind::Secret, "a", "two"), ["other"]);
    }

    #[test]
    fn namespaces_and_kinds_are_kept_apart() {
        let users = Users::default();
        users.set("a", "app", [&secret("one")]);
        assert!(users.of(Kind::Secret, "b", "one").is_empty());
        assert!(users.of(Kind::ConfigMap, "a", "one").is_empty());
    }

    #[test]
    fn an_app_that_uses_nothing_any_more_leaves_nothing_behind() {
        let users = Users::default();
        users.set("a", "app", [&secret("one")]);
        users.set("a", "app", []);
        let maps = users.maps.lock().unwrap();
        assert!(maps.apps.is_empty() && maps.uses.is_empty());
    }
}
