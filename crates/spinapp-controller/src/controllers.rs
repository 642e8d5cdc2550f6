//! What is watched, and which apps a change concerns.

use std::sync::Arc;
use std::time::Duration;

use futures::future::ready;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Config;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use spinapp_api::{GROUP, SpinApp, SpinAppExecutor};

use crate::context::{Context, GuardedApp};
use crate::references::Kind;
use crate::{executors, reconcile};

/// Changes of the same app within this time are one pass.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// The controller of apps before it runs, and with it the cache of all apps.
pub(crate) fn apps(client: &Client) -> Controller<GuardedApp> {
    Controller::new(Api::all(client.clone()), watcher::Config::default())
}

/// The controller of executors before it runs, and with it their cache.
pub(crate) fn executors(client: &Client) -> Controller<SpinAppExecutor> {
    Controller::new(Api::all(client.clone()), watcher::Config::default())
}

/// Reconciles apps until the process ends.
pub(crate) async fn run_apps(
    controller: Controller<GuardedApp>,
    context: Arc<Context>,
    concurrency: u16,
) {
    let client = &context.client;
    controller
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(concurrency))
        .reconcile_on(owned_by_apps::<Deployment>(client))
        .reconcile_on(owned_by_apps::<Service>(client))
        .reconcile_on(used_by_apps::<Secret>(&context, Kind::Secret))
        .reconcile_on(used_by_apps::<ConfigMap>(&context, Kind::ConfigMap))
        .watches(
            Api::<SpinAppExecutor>::all(client.clone()),
            watcher::Config::default(),
            apps_of_executor(context.apps.clone(), context.namespace.clone()),
        )
        .run(reconcile::reconcile, reconcile::after_failure, context)
        .for_each(|_| ready(()))
        .await;
}

/// Reconciles executors until the process ends.
pub(crate) async fn run_executors(controller: Controller<SpinAppExecutor>, context: Arc<Context>) {
    controller
        .with_config(Config::default().debounce(DEBOUNCE))
        .reconcile_on(beside_apps(&context))
        .run(executors::reconcile, executors::after_failure, context)
        .for_each(|_| ready(()))
        .await;
}

/// The executors beside an app that changes, whose finalizer may have to come or go.
/// Only metadata is sent and nothing is kept.
fn beside_apps(context: &Arc<Context>) -> impl Stream<Item = ObjectRef<SpinAppExecutor>> + use<> {
    let all = Api::<PartialObjectMeta<SpinApp>>::all(context.client.clone());
    let changes = watcher(all, watcher::Config::default());
    let executors = context.executors.clone();
    changes.default_backoff().touched_objects().flat_map(move |app| {
        let home = app.ok().and_then(|app| app.namespace());
        let beside = executors.state_filter(|executor| executor.namespace() == home);
        let beside: Vec<_> =
            beside.iter().map(|executor| ObjectRef::from_obj(executor.as_ref())).collect();
        futures::stream::iter(beside)
    })
}

/// The apps whose objects change. Only metadata is sent and nothing is kept.
fn owned_by_apps<K>(client: &Client) -> impl Stream<Item = ObjectRef<GuardedApp>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let labelled = watcher::Config::default().labels(&format!("{GROUP}/app-name"));
    let changes = watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), labelled);
    changes.default_backoff().touched_objects().filter_map(|object| {
        let object = object.ok();
        ready(object.and_then(|object| {
            let owner = object.owner_references().iter().find(|owner| {
                owner.kind == SpinApp::kind(&()) && owner.api_version == SpinApp::api_version(&())
            })?;
            Some(ObjectRef::new(&owner.name).within(&object.namespace()?))
        }))
    })
}

/// The apps that use a Secret or ConfigMap that changes. Only metadata is sent
/// and nothing is kept.
fn used_by_apps<K>(
    context: &Arc<Context>,
    kind: Kind,
) -> impl Stream<Item = ObjectRef<GuardedApp>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let all = Api::<PartialObjectMeta<K>>::all(context.client.clone());
    let changes = watcher(all, watcher::Config::default());
    let context = Arc::clone(context);
    changes.default_backoff().touched_objects().flat_map(move |object| {
        let apps = object.map_or_else(
            |_| Vec::new(),
            |object| {
                let namespace = object.namespace().unwrap_or_default();
                let apps = context.users.of(kind, &namespace, &object.name_any());
                apps.iter().map(|app| ObjectRef::new(app).within(&namespace)).collect()
            },
        );
        futures::stream::iter(apps)
    })
}

/// The apps that an executor's change concerns: those of its namespace that name
/// it, or those of all namespaces when it is the controller's.
fn apps_of_executor(
    apps: Store<GuardedApp>,
    namespace: String,
) -> impl Fn(SpinAppExecutor) -> Vec<ObjectRef<GuardedApp>> {
    move |executor| {
        let (name, home) = (executor.name_any(), executor.namespace());
        let everywhere = home.as_deref() == Some(namespace.as_str());
        let concerned = apps.state_filter(|app| {
            (everywhere || app.namespace() == home)
                && app.0.as_ref().is_ok_and(|app| app.spec.executor == name)
        });
        concerned.iter().map(|app| ObjectRef::from_obj(app.as_ref())).collect()
    }
}
