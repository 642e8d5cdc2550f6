//! `spinlet compile`: fill the cache of compiled code.

use anyhow::{Context, bail};
use clap::Args;

use crate::compiler::{Compiled, Compiler};
use crate::console::{Console, bytes};
use crate::environment::Environment;
use crate::registry_arguments::RegistryArguments;
use crate::subject::{self, Subject};
use crate::{images, local_app};

const EXAMPLES: &str = "\
Examples:
  spinlet compile ghcr.io/me/hello:v1    before the app is started on this machine
  spinlet compile .                      check that every component compiles";

/// Arguments of `spinlet compile`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompileArguments {
    /// Folder with a spin.toml, a spin.toml, a .wasm file, an OCI image layout
    /// (folder or .tar), or an image reference
    #[arg(value_name = "PATH|REFERENCE", default_value = ".")]
    app: String,

    #[command(flatten)]
    registry: RegistryArguments,
}

/// Compiles every component that a trigger uses and that the cache lacks.
pub(crate) async fn run(
    arguments: CompileArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<()> {
    let subject = subject::decide(&arguments.app)?;
    let compiler = Compiler::locate(environment)?;
    let artifact = match &subject {
        Subject::Reference(reference) => {
            let (layout, _) =
                images::pull(reference, &arguments.registry, environment, console).await?;
            local_app::load_layout(&layout)?
        }
        local => local_app::load(local)?,
    };
    for (digest, (id, input)) in artifact.code() {
        let what = format!("component {id} ({})", bytes(input.size()));
        let step = console.step(format!("Compiling {what}"));
        let source = input.open().with_context(|| format!("cannot read component {id}"))?;
        match compiler.compile(&digest.to_string(), id, source, false).await {
            Ok(Compiled { cached: true, .. }) => {
                step.done(&format!("Found optimized code of {what} in the cache"));
            }
            Ok(Compiled { replaced_first_tier: true, .. }) => {
                step.done(&format!("Compiled {what}, which had code of the first tier only,"));
            }
            Ok(_) => step.done(&format!("Compiled {what}")),
            Err(reason) => bail!(reason),
        }
    }
    Ok(())
}
