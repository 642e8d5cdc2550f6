//! SpinAppExecutors: the default one exists, and none goes while apps need it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use spinapp_api::{DEFAULT_EXECUTOR, DeploymentConfig, SpinAppExecutor, SpinAppExecutorSpec};

use crate::context::{Context, FIELD_MANAGER};
use crate::reconcile::ReconcileError;

/// Keeps an executor until no app names it; the spin-operator's key.
const FINALIZER: &str = "core.spinkube.dev/finalizer";
/// The RuntimeClass of the node installer.
const RUNTIME_CLASS: &str = "wasmtime-spin-v2";
/// How often an executor that apps need is looked at again: the cache of apps may
/// have been behind the change that led to a pass.
const AGAIN: Duration = Duration::from_secs(10);

/// Creates the executor that apps use unless they name another, in the
/// controller's own namespace, where apps of all namespaces find it. One that is
/// there already is left as it is.
///
/// # Errors
/// Fails when the API server refuses.
pub(crate) async fn provide_default(client: &Client, namespace: &str) -> Result<(), kube::Error> {
    let mut executor = SpinAppExecutor::new(
        DEFAULT_EXECUTOR,
        SpinAppExecutorSpec {
            create_deployment: true,
            deployment_config: Some(DeploymentConfig {
                runtime_class_name: Some(RUNTIME_CLASS.to_owned()),
                install_default_ca_certs: true,
                ..DeploymentConfig::default()
            }),
        },
    );
    executor.metadata.namespace = Some(namespace.to_owned());
    let api: Api<SpinAppExecutor> = Api::namespaced(client.clone(), namespace);
    let parameters =
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&parameters, &executor).await {
        Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Keeps the finalizer on an executor as long as an app of its namespace names it,
/// and no longer: once there are no apps, executors and their definition can be
/// deleted at the same time as this controller.
///
/// # Errors
/// Fails when a request to the API server does; the pass is then repeated.
pub(crate) async fn reconcile(
    executor: Arc<SpinAppExecutor>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    let result = pass(&executor, &context).await;
    context.metrics.reconciled("spinappexecutor", started.elapsed(), result.is_ok());
    result
}

async fn pass(executor: &SpinAppExecutor, context: &Context) -> Result<Action, ReconcileError> {
    let held = executor.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let going = executor.meta().deletion_timestamp.is_some();
    let user = user(executor, context);
    match &user {
        Some(app) if going && held => {
            let note = format!("SpinApp {app} still uses this executor");
            context.record(executor, EventType::Warning, "DeletionBlocked", &note).await;
        }
        Some(_) if !going && !held => {
            let kept = executor.finalizers().iter().cloned();
            set_finalizers(executor, kept.chain([FINALIZER.to_owned()]).collect(), context).await?;
        }
        None if held => {
            let others = executor.finalizers().iter().filter(|other| *other != FINALIZER);
            set_finalizers(executor, others.cloned().collect(), context).await?;
        }
        _ => {}
    }
    Ok(if user.is_some() { Action::requeue(AGAIN) } else { Action::await_change() })
}

/// An app that names the executor and has it from its own namespace.
fn user(executor: &SpinAppExecutor, context: &Context) -> Option<String> {
    let name = executor.name_any();
    let app = context.apps.find(|app| {
        app.namespace() == executor.namespace()
            && app.0.as_ref().is_ok_and(|app| app.spec.executor == name)
    })?;
    Some(format!("{}/{}", app.namespace().unwrap_or_default(), app.name_any()))
}

async fn set_finalizers(
    executor: &SpinAppExecutor,
    finalizers: Vec<String>,
    context: &Context,
) -> Result<(), ReconcileError> {
    let namespace = executor.namespace().unwrap_or_default();
    let api: Api<SpinAppExecutor> = Api::namespaced(context.client.clone(), &namespace);
    // The version makes sure that nobody else's finalizer is lost.
    let patch = json!({ "metadata": {
        "finalizers": finalizers,
        "resourceVersion": executor.resource_version(),
    }});
    let parameters =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..<_>::default() };
    match api.patch(&executor.name_any(), &parameters, &Patch::Merge(patch)).await {
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        result => result.map(|_| ()).map_err(|source| ReconcileError::Request {
            attempt: format!("set the finalizers of SpinAppExecutor {}", executor.name_any()),
            source: Box::new(source),
        }),
    }
}

/// What to do after a failed pass.
pub(crate) fn after_failure(
    executor: Arc<SpinAppExecutor>,
    error: &ReconcileError,
    _: Arc<Context>,
) -> Action {
    let error = process_setup::chain(error);
    tracing::warn!(executor = executor.name_any(), error, "an executor could not be reconciled");
    Action::requeue(AGAIN)
}
