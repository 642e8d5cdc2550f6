//! One pass over one app: read what decides about it, apply what it needs, say
//! how it is.
//!
//! Every pass does a bounded number of requests, whatever the cluster holds, and
//! may be repeated at any time: it applies the whole state.

mod apply;
mod look;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use spinapp_api::{DeploymentConfig, SpinApp, SpinAppExecutor};

use crate::context::{Context, FIELD_MANAGER, GuardedApp};
use crate::desired::{self, Contradiction, Objects, Situation};
use crate::references::{self, Contents, MissingReference};
use crate::status::{Found, Ready, Verdict, status};
use crate::{ca_bundle, diagnosis, runtime_config};

/// How soon an app that is not well is looked at again; what usually happens
/// before is that its Deployment changes.
const SOON: Duration = Duration::from_secs(15);

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// A request to the API server failed.
    #[error("cannot {attempt}")]
    Request {
        /// What was attempted.
        attempt: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ReconcileError {
    fn on(attempt: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Request { attempt, source: Box::new(source) }
    }
}

/// What keeps an app from being applied.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error(transparent)]
    Missing(#[from] MissingReference),
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
}

impl Obstacle {
    fn verdict(&self) -> Verdict {
        let reason = match self {
            Self::Missing(missing) => missing.reason(),
            Self::Contradiction(_) => "InvalidSpec",
        };
        Verdict::no(reason, self.to_string())
    }
}

/// Brings an app's objects and status to what the app says.
///
/// # Errors
/// Fails when a request to the API server does; the pass is then repeated.
pub(crate) async fn reconcile(
    app: Arc<GuardedApp>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    let result = match &app.0 {
        Ok(app) => Box::pin(pass(app, &context)).await,
        Err(unreadable) => {
            tracing::error!(
                namespace = unreadable.metadata.namespace,
                app = unreadable.metadata.name,
                error = unreadable.error,
                "this app cannot be read and is left as it is"
            );
            Ok(Action::await_change())
        }
    };
    context.metrics.reconciled("spinapp", started.elapsed(), result.is_ok());
    result
}

async fn pass(app: &SpinApp, context: &Context) -> Result<Action, ReconcileError> {
    if app.meta().deletion_timestamp.is_some() {
        // What belongs to the app has it as its owner and goes with it.
        context.forget(app);
        return Ok(Action::await_change());
    }
    let Some(executor) = context.executor_of(app) else {
        return report(app, context, &missing_executor(app, context)).await;
    };
    let none = DeploymentConfig::default();
    let config = executor.spec.deployment_config.as_ref().unwrap_or(&none);
    let namespace = app.namespace().unwrap_or_default();
    provide_ca_bundle(config, &namespace, context).await?;

    let references = references::of_app(&app.spec, config);
    context.users.set(&namespace, &app.name_any(), &references);
    let contents = look::contents(&context.client, &namespace, &references).await?;
    let restricted = look::is_restricted(&context.client, &namespace).await?;
    match plan(app, &executor, &contents, restricted) {
        Ok(planned) => {
            let deployment = apply_all(app, &planned, context).await?;
            conclude(app, &executor, deployment.as_ref(), contents.missing(&references), context)
                .await
        }
        Err(obstacle) => report(app, context, &obstacle.verdict()).await,
    }
}

fn missing_executor(app: &SpinApp, context: &Context) -> Verdict {
    let message = format!(
        "SpinAppExecutor {:?} exists neither in namespace {:?} nor in {:?}; create it or correct \
         spec.executor",
        app.spec.executor,
        app.namespace().unwrap_or_default(),
        context.namespace
    );
    Verdict::no("MissingExecutor", message)
}

async fn provide_ca_bundle(
    config: &DeploymentConfig,
    namespace: &str,
    context: &Context,
) -> Result<(), ReconcileError> {
    match ca_bundle::secret_name(config) {
        Some(name) if config.install_default_ca_certs => {
            apply::create_ca_bundle(&context.client, name, namespace).await
        }
        _ => Ok(()),
    }
}

/// What to apply, and the Secret that goes with it.
struct Planned {
    objects: Objects,
    runtime_config: Option<k8s_openapi::api::core::v1::Secret>,
    runtime_config_name: String,
}

fn plan(
    app: &SpinApp,
    executor: &SpinAppExecutor,
    contents: &Contents,
    restricted: bool,
) -> Result<Planned, Obstacle> {
    let runtime_config = runtime_config::secret(app, contents)?;
    let own = app.spec.runtime_config.as_ref().and_then(runtime_config::own_secret);
    let generated = runtime_config.as_ref().map(kube::ResourceExt::name_any);
    let runtime_config_name = generated.or(own.map(str::to_owned)).unwrap_or_default();
    let digest = contents.digest();
    let objects = desired::objects(&Situation {
        app,
        executor,
        runtime_config_secret: &runtime_config_name,
        references_digest: digest.as_deref(),
        restricted,
    })?;
    Ok(Planned { objects, runtime_config, runtime_config_name })
}

/// The Secret first, so that pods find it; then the rest.
async fn apply_all(
    app: &SpinApp,
    planned: &Planned,
    context: &Context,
) -> Result<Option<Deployment>, ReconcileError> {
    let client = &context.client;
    if let Some(secret) = planned.runtime_config.as_ref().filter(|_| runs_pods(planned)) {
        apply::apply(client, secret).await?;
    }
    apply::apply(client, &planned.objects.service).await?;
    let deployment =
        apply::apply_or_delete(client, app, planned.objects.deployment.as_ref()).await?;
    apply::apply_or_delete(client, app, planned.objects.disruption_budget.as_ref()).await?;
    if let Some(deployment) = deployment.as_ref().filter(|found| diagnosis::is_complete(found)) {
        sweep(app, deployment, &planned.runtime_config_name, context).await?;
    }
    Ok(deployment)
}

fn runs_pods(planned: &Planned) -> bool {
    planned.objects.deployment.is_some()
}

/// Removes runtime configurations that no pod uses any more.
async fn sweep(
    app: &SpinApp,
    deployment: &Deployment,
    current: &str,
    context: &Context,
) -> Result<(), ReconcileError> {
    let id = app.uid().unwrap_or_default();
    if context.must_sweep(&id, current) && deployment.metadata.deletion_timestamp.is_none() {
        apply::delete_old_runtime_configs(&context.client, app, current).await?;
        context.has_swept(&id, current);
    }
    Ok(())
}

/// Says how an app is whose objects were applied.
async fn conclude(
    app: &SpinApp,
    executor: &SpinAppExecutor,
    deployment: Option<&Deployment>,
    missing: Option<MissingReference>,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let verdict = match (deployment, missing) {
        (_, Some(missing)) => Verdict::no(missing.reason(), missing.to_string()),
        (None, None) => Verdict {
            ready: Ready::Unknown,
            reason: "RunElsewhere".to_owned(),
            message: format!("SpinAppExecutor {:?} makes no Deployments", executor.name_any()),
        },
        (Some(deployment), None) => match diagnosis::of_deployment(deployment) {
            Some(verdict) => verdict,
            None => look::verdict_of_pods(&context.client, app, deployment).await?,
        },
    };
    let well = verdict.ready != Ready::No;
    let executor = executor.name_any();
    let found = Found { executor: &executor, deployment, service: true, verdict };
    write_status(app, found, context).await?;
    Ok(if well { Action::await_change() } else { Action::requeue(SOON) })
}

/// Says why nothing was applied. A change of what is missing brings the app back.
async fn report(
    app: &SpinApp,
    context: &Context,
    verdict: &Verdict,
) -> Result<Action, ReconcileError> {
    let deployment = look::deployment(&context.client, app).await?;
    let known = app.status.as_ref().is_some_and(|status| status.service_name.is_some());
    let found = Found {
        executor: &app.spec.executor,
        deployment: deployment.as_ref(),
        service: known,
        verdict: verdict.clone(),
    };
    write_status(app, found, context).await?;
    Ok(Action::await_change())
}

/// Writes the status where it changes, and an event where its reason does.
async fn write_status(
    app: &SpinApp,
    found: Found<'_>,
    context: &Context,
) -> Result<(), ReconcileError> {
    let verdict = found.verdict.clone();
    let status = status(app, found, Timestamp::now());
    if app.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let apps: Api<SpinApp> =
        Api::namespaced(context.client.clone(), &app.namespace().unwrap_or_default());
    let patch = Patch::Merge(json!({ "status": status }));
    let parameters =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..<_>::default() };
    match apps.patch_status(&app.name_any(), &parameters, &patch).await {
        // Deleted meanwhile.
        Err(kube::Error::Api(error)) if error.code == 404 => return Ok(()),
        result => result.map_err(ReconcileError::on("write the app's status"))?,
    };
    announce(app, &verdict, context).await;
    Ok(())
}

async fn announce(app: &SpinApp, verdict: &Verdict, context: &Context) {
    let before = app.status.iter().flat_map(|status| &status.conditions);
    let mut before = before.filter(|condition| condition.type_ == "Ready");
    if before.next().is_some_and(|condition| condition.reason == verdict.reason) {
        return;
    }
    let kind = match verdict.reason.as_str() {
        "Progressing" => return,
        _ if verdict.ready == Ready::No => EventType::Warning,
        _ => EventType::Normal,
    };
    context.record(app, kind, &verdict.reason, &verdict.message).await;
}

/// What to do after a failed pass: again, later each time the API server is
/// asked in vain.
pub(crate) fn after_failure(
    app: Arc<GuardedApp>,
    error: &ReconcileError,
    _: Arc<Context>,
) -> Action {
    let namespace = app.meta().namespace.as_deref().unwrap_or_default();
    let error = process_setup::chain(error);
    tracing::warn!(namespace, app = app.name_any(), error, "an app could not be reconciled");
    Action::requeue(SOON)
}
