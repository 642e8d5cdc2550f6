//! `spinlet inspect`: what an app is made of and what it may use.

mod report;
mod table;

use artifact::layout::Layout;
use artifact::{Image, read_app};
use clap::Args;

use crate::console::{Console, print};
use crate::environment::Environment;
use crate::local_app;
use crate::registry_arguments::RegistryArguments;
use crate::subject::{self, Subject};

use report::Report;

const EXAMPLES: &str = "\
Examples:
  spinlet inspect ghcr.io/me/hello:v1
  spinlet inspect .
  spinlet inspect ghcr.io/me/hello:v1 --json | jq '.components[].allowed_outbound_hosts'

Of an image in a registry only the description is read, not its layers.";

/// Arguments of `spinlet inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InspectArguments {
    /// Folder with a spin.toml, a spin.toml, a .wasm file, an OCI image layout
    /// (folder or .tar), or an image reference
    #[arg(value_name = "PATH|REFERENCE", default_value = ".")]
    app: String,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    registry: RegistryArguments,
}

/// Reads and prints.
pub(crate) async fn run(
    arguments: InspectArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<()> {
    let report = report(&arguments, environment, console).await?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&report)?
    } else {
        table::render(&report, console)
    };
    print(&text)?;
    Ok(())
}

async fn report(
    arguments: &InspectArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<Report> {
    match subject::decide(&arguments.app)? {
        Subject::Reference(reference) => {
            let registry = arguments.registry.registry(environment)?;
            let transfer = console.transfer(format!("Reading {reference}"));
            let described = registry.describe(&reference, &|event| transfer.observe(event)).await?;
            Ok(Report::of_image(&described.app, &described.image))
        }
        Subject::Layout(path) => {
            let layout = Layout::open(&path)?;
            let image: Image = layout.image(None)?;
            match read_app(&image, &layout)? {
                Some(app) => Ok(Report::of_image(&app, &image)),
                None => anyhow::bail!("{} holds an ordinary image, not a Spin app", path.display()),
            }
        }
        local => Ok(Report::of_artifact(&local_app::load(&local)?)),
    }
}
