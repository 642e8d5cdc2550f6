//! The SpinApp controller: turns SpinApps into Deployments and Services.
//!
//! Reads its settings, serves metrics, waits until it leads, then reconciles
//! until it is told to stop or leads no more. It takes no arguments.

mod ca_bundle;
mod context;
mod controllers;
mod desired;
mod diagnosis;
mod executors;
mod http_server;
mod leadership;
mod metrics;
mod quantity;
mod reconcile;
mod references;
mod runtime_config;
mod settings;
mod status;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use kube::Client;
use kube::api::{Api, ListParams};
use process_setup::Environment;
use spinapp_api::SpinApp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::leadership::Candidate;
use crate::settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", process_setup::chain(error.as_ref()));
            process_setup::ExitCode::Failure.into()
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let settings = match Settings::read(&Environment::of_process()) {
        Ok(settings) => settings,
        Err(error) => {
            process_setup::start_logging("info", process_setup::LogFormat::Text)?;
            return Err(error.into());
        }
    };
    process_setup::start_logging(&settings.log_filter, settings.log_format)?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}; set SPINLET_LISTEN", settings.listen))?;
    let client = Client::try_default().await.context("cannot find the API server")?;
    require_resources(&client).await?;
    tracing::info!(namespace = settings.namespace, listen = %settings.listen, "started");
    tokio::select! {
        result = work(&settings, client, listener) => result,
        () = told_to_stop() => Ok(()),
    }
}

/// Fails with what to do when the resources are not installed.
async fn require_resources(client: &Client) -> anyhow::Result<()> {
    let one = ListParams::default().limit(1);
    let apps: Api<SpinApp> = Api::all(client.clone());
    match apps.list(&one).await {
        Err(kube::Error::Api(error)) if error.code == 404 => {
            bail!("SpinApps are not known to the cluster; apply runtimeclass/crds.yaml")
        }
        // One that cannot be read is reported when it is reconciled.
        Ok(_) | Err(kube::Error::SerdeError(_)) => Ok(()),
        Err(error) => Err(error).context("cannot list SpinApps"),
    }
}

async fn work(settings: &Settings, client: Client, listener: TcpListener) -> anyhow::Result<()> {
    let apps = controllers::apps(&client);
    let executors = controllers::executors(&client);
    let context = Arc::new(Context::new(
        client.clone(),
        settings.namespace.clone(),
        settings.identity.clone(),
        executors.store(),
        apps.store(),
    ));
    tokio::spawn(http_server::serve(listener, Arc::clone(&context)));

    let mut candidate = Candidate::new(client.clone(), &settings.namespace, &settings.identity);
    candidate.wait().await;
    context.metrics.lead();
    tracing::info!(identity = settings.identity, "this controller leads");
    executors::provide_default(&client, &settings.namespace)
        .await
        .context("cannot create the default SpinAppExecutor")?;

    let known = context.executors.clone();
    let reconcile_apps = async {
        // An app must not be told that its executor is missing because executors
        // are not read yet.
        if known.wait_until_ready().await.is_ok() {
            controllers::run_apps(apps, Arc::clone(&context), settings.concurrency).await;
        }
    };
    tokio::select! {
        lost = candidate.keep() => Err(lost.into()),
        () = controllers::run_executors(executors, Arc::clone(&context)) => bail!("watching SpinAppExecutors ended"),
        () = reconcile_apps => bail!("watching SpinApps ended"),
    }
}

async fn told_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
}
