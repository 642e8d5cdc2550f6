//! What the installer DaemonSet runs on each node.
//!
//! `run` installs, verifies, labels the node and then, until the pod ends, has the
//! shim compile apps as their images are pulled; `remove` takes everything back. The node's file system is mounted at
//! `SPINLET_NODE_ROOT`, and its service manager is reached by entering the
//! namespaces of its first process.

mod enter;
mod image_compiler;
mod node;
mod settings;
mod turn;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use node_install::{
    Cri, Distribution, Facts, InstallError, Installed, Plan, Removal, SHIM, ServiceManager, Step,
};
use process_setup::Environment;
use tokio::signal::unix::{SignalKind, signal};

use crate::node::Node;
use crate::settings::Settings;
use crate::turn::Turn;

/// Installs Spinlet on the node that this process runs on.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install, verify, label the node, and compile apps as they are pulled.
    Run,
    /// Take the installation back.
    Remove,
    /// Run a program of the node in the node's own namespaces.
    #[command(hide = true)]
    Enter {
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        // Before any thread exists: a process with threads cannot change its
        // mount namespace.
        Command::Enter { words } => enter::exec(&words),
        Command::Run => with_runtime(run),
        Command::Remove => with_runtime(remove),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", process_setup::chain(error.as_ref()));
            process_setup::ExitCode::Failure.into()
        }
    }
}

fn with_runtime<F>(command: impl FnOnce(Settings) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    process_setup::start_logging("info", process_setup::LogFormat::Text)?;
    let settings = Settings::read(&Environment::of_process())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(command(settings))
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let node = Node::of(&settings).await?;
    if let Err(error) = install(&settings, &node).await {
        let reason = process_setup::chain(error.as_ref());
        node.report_failure(&reason).await;
        return Err(error);
    }
    node.report_ready().await?;
    tracing::info!("the node is ready for Spin apps");
    tokio::select! {
        () = told_to_stop() => {}
        () = compile_images(&settings), if settings.compile_images => {}
    }
    Ok(())
}

/// Has the node's shim compile apps as their images are pulled; never ends.
async fn compile_images(settings: &Settings) {
    match on_node(settings) {
        Ok(prefix) => {
            let shim = Path::new(Distribution::of(&settings.root).program_folder()).join(SHIM);
            image_compiler::keep_running(&prefix, &shim, &socket_on_node(settings)).await;
        }
        Err(error) => {
            tracing::error!("{}", process_setup::chain(error.as_ref()));
            std::future::pending::<()>().await;
        }
    }
}

async fn install(settings: &Settings, node: &Node) -> anyhow::Result<()> {
    let mut plan = plan(settings).await?;
    let turn = match plan.restart {
        Some(_) => {
            let client = node.client();
            let turn = Turn::wait(client, &settings.namespace, &settings.node).await?;
            // The node may be another one than before the wait.
            plan = self::plan(settings).await?;
            Some(turn)
        }
        None => None,
    };
    let result = carry_out(settings, plan).await?;
    // A node whose containerd is down keeps the turn: the others stay as they are.
    let down = result.as_ref().is_err_and(|error| matches!(error, InstallError::Down(_)));
    if let Some(turn) = turn.filter(|_| !down) {
        turn.give_back().await?;
    }
    let done = result?;
    tracing::info!(changed = done.program_changed, restarted = done.restarted, "installed");
    Ok(())
}

async fn carry_out(
    settings: &Settings,
    plan: Plan,
) -> anyhow::Result<Result<Installed, InstallError>> {
    let (root, program) = (settings.root.clone(), settings.shim.clone());
    let mut containerd = service_manager(settings)?;
    let done = tokio::task::spawn_blocking(move || {
        node_install::install(&root, &plan, &program, &mut containerd)
    });
    done.await.context("the installation ended early")
}

async fn plan(settings: &Settings) -> anyhow::Result<Plan> {
    let facts = facts(settings).await?;
    tracing::info!("facts:\n{facts}");
    let plan = node_install::plan(&facts)?;
    tracing::info!("plan for {plan}");
    Ok(plan)
}

async fn facts(settings: &Settings) -> anyhow::Result<Facts> {
    let mut facts = Facts::gather(&settings.root, &socket(settings)).await?;
    if settings.restart.is_some() {
        facts.service.clone_from(&settings.restart);
    }
    Ok(facts)
}

/// Where this process finds containerd's socket.
fn socket(settings: &Settings) -> PathBuf {
    settings.root.resolve(&socket_on_node(settings))
}

fn socket_on_node(settings: &Settings) -> PathBuf {
    let default = Distribution::of(&settings.root).socket();
    settings.socket.clone().unwrap_or_else(|| default.into())
}

fn service_manager(settings: &Settings) -> anyhow::Result<ServiceManager> {
    Ok(ServiceManager { prefix: on_node(settings)?, socket: socket(settings) })
}

/// What comes before a command that is to run as the node's own.
fn on_node(settings: &Settings) -> anyhow::Result<Vec<String>> {
    if settings.root.is_own() {
        return Ok(Vec::new());
    }
    let own = std::env::current_exe().context("cannot tell this program's own file")?;
    Ok(vec![own.display().to_string(), "enter".to_owned()])
}

async fn remove(settings: Settings) -> anyhow::Result<()> {
    let node = Node::of(&settings).await?;
    node.report_removal().await?;
    let pods = Cri::connect(&socket(&settings)).await?.our_pods().await?;
    anyhow::ensure!(
        pods.is_empty(),
        "these pods still run under the handlers; delete them first: {}",
        pods.join(", ")
    );
    let removal = Removal::plan(&settings.root, &facts(&settings).await?)?;
    tracing::info!("plan:\n{removal}");
    let (root, mut containerd) = (settings.root.clone(), service_manager(&settings)?);
    let steps = removal.steps.clone();
    tokio::task::spawn_blocking(move || node_install::uninstall(&root, &removal, &mut containerd))
        .await??;
    for step in steps {
        let path = step.path().display();
        match step {
            Step::Restore(_) | Step::Delete(_) => {
                tracing::info!(%path, "as before the installation");
            }
            Step::Edit { .. } => {
                tracing::warn!(%path, "changed by somebody else; only our part is gone");
            }
            Step::Leave(_) => {
                tracing::warn!(%path, "changed by somebody else and unreadable; left as it is");
            }
        }
    }
    tracing::info!("the node is as it was before the installation");
    told_to_stop().await;
    Ok(())
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
}
