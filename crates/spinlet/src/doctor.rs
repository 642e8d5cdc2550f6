//! `spinlet doctor`: what an app needs, or this machine as a node, and whether it
//! is there.

mod given;
mod imports;
mod needs;
mod node;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use artifact::Artifact;
use clap::Args;
use control::AppSource;
use serde::Serialize;

use crate::arguments::KeyValue;
use crate::console::{Console, print};
use crate::environment::Environment;
use crate::node::NodeArguments;
use crate::registry_arguments::RegistryArguments;
use crate::subject::{self, Subject};
use crate::{local_app, up};

use given::Given;
use needs::Need;

const EXAMPLES: &str = "\
Examples:
  spinlet doctor                                 can this node run Spin apps?
  spinlet doctor .
  spinlet doctor ghcr.io/me/hello:v1 --variable greeting=Hi
  spinlet doctor . --runtime-config-file config.toml
  spinlet doctor . --json | jq '.needs[] | select(.here != \"yes\")'

The app is loaded as `spinlet up` would load it, with the same environment, and is
not served. The exit code is 0 if it could be, else 1; for a node it is 0 if Spin
apps can run on it. Nothing is changed.";

/// Arguments of `spinlet doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArguments {
    /// Folder with a spin.toml, a spin.toml, a .wasm file, an OCI image layout
    /// (folder or .tar), or an image reference
    ///
    /// Without it, this machine is looked at as a node of a cluster
    #[arg(value_name = "PATH|REFERENCE")]
    app: Option<String>,

    /// Look at this machine as a node of a cluster
    #[arg(long, conflicts_with = "app")]
    node: bool,

    #[command(flatten)]
    node_arguments: NodeArguments,

    /// Set a variable of the environment that configures the app; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE")]
    env: Vec<KeyValue>,

    /// Set a variable of the app; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    variable: Vec<KeyValue>,

    /// The runtime-config.toml that the app will have
    #[arg(long, value_name = "FILE", requires = "app")]
    runtime_config_file: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    registry: RegistryArguments,
}

/// What was found out of an app.
#[derive(Debug, Serialize)]
struct Diagnosis {
    app: String,
    /// Whether the app could be served here.
    ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    needs: Vec<Need>,
}

/// Looks and prints; the code tells whether the app could be served.
pub(crate) async fn run(
    arguments: DoctorArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<ExitCode> {
    let Some(app) = &arguments.app else {
        return node::run(&arguments.node_arguments, arguments.json, console).await;
    };
    let mut variables = up::app_environment(&arguments.env, &arguments.variable, environment)?;
    up::use_runtime_config(arguments.runtime_config_file.as_deref(), &mut variables)?;
    let subject = subject::decide(app)?;
    let source = up::source(subject, &arguments.registry, environment, console).await?;
    local_app::check_variables(&source, &arguments.variable)?;
    let artifact = load(&source)?;
    let problem = up::check(source, variables.clone(), environment, console).await?;
    let given = Given::new(&variables, problem.as_deref());
    let needs = needs::of(&artifact, &given)?;
    let name = artifact.app.metadata.name.clone();
    let diagnosis = Diagnosis { app: name, ready: problem.is_none(), problem, needs };
    let text = if arguments.json {
        serde_json::to_string_pretty(&diagnosis)?
    } else {
        render(&diagnosis, console)
    };
    print(&text)?;
    Ok(if diagnosis.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load(source: &AppSource) -> anyhow::Result<Artifact> {
    match source {
        AppSource::Manifest(path) => local_app::load(&Subject::Manifest(path.clone())),
        AppSource::Wasm(path) => local_app::load(&Subject::Wasm(path.clone())),
        AppSource::Layout(path) => local_app::load_layout(path),
        AppSource::Containerd { .. } => bail!("the app of a container cannot be looked at"),
    }
}

/// The diagnosis as people read it: one line for each need, the verdict last.
fn render(diagnosis: &Diagnosis, console: &Console) -> String {
    let width = |column: fn(&Need) -> &str| {
        diagnosis.needs.iter().map(|need| column(need).chars().count()).max().unwrap_or_default()
    };
    let (kinds, names) = (width(|need| need.kind), width(|need| &need.name));
    let mut text = String::new();
    let mut part = None;
    for need in &diagnosis.needs {
        if part != Some(&need.component) {
            part = Some(&need.component);
            let title = match &need.component {
                Some(component) => format!("component {component}"),
                None => format!("app {}", diagnosis.app),
            };
            text += &console.bold(&title);
            text.push('\n');
        }
        let line = format!("  {:kinds$}  {:names$}  {}", need.kind, need.name, need.here);
        text += line.trim_end();
        text.push('\n');
    }
    match &diagnosis.problem {
        None => text += "\nEverything is there: the app can be served.\n",
        Some(problem) => {
            text.extend(["\nThe app cannot be served: ", problem.as_str(), "\n"]);
        }
    }
    text
}
