//! `spinlet pull`: pull an app from a registry.

use std::path::{Path, PathBuf};

use clap::Args;
use registry::{Reference, parse_reference};

use crate::console::{Console, print};
use crate::environment::Environment;
use crate::registry_arguments::RegistryArguments;
use crate::{images, layout_tar};

const EXAMPLES: &str = "\
Examples:
  spinlet pull ghcr.io/me/hello:v1                       for a later `spinlet up`
  spinlet pull ghcr.io/me/hello:v1 --output hello        a folder to copy or look into
  spinlet pull ghcr.io/me/hello:v1 --output hello.tar    one file, for `ctr image import`

The image's reference by digest is printed.";

/// Arguments of `spinlet pull`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PullArguments {
    /// What to pull: NAME:TAG or NAME@DIGEST, after HOST/ or HOST:PORT/
    reference: String,

    /// Write an OCI image layout: a folder, or one file when the name ends in .tar
    #[arg(long, short, value_name = "DIR|FILE.tar")]
    output: Option<PathBuf>,

    #[command(flatten)]
    registry: RegistryArguments,
}

/// Pulls, and writes where it is wanted.
pub(crate) async fn run(
    arguments: PullArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<()> {
    let reference = parse_reference(&arguments.reference)?;
    let registry = &arguments.registry;
    let pulled = match &arguments.output {
        Some(output) if !is_tar(output) => {
            images::pull_into(&reference, output, registry, environment, console).await?
        }
        output => {
            let (layout, pulled) = images::pull(&reference, registry, environment, console).await?;
            if let Some(file) = output {
                layout_tar::write(&layout, &pulled, file)?;
            }
            pulled
        }
    };
    print(&by_digest(&reference, &pulled.descriptor.digest.to_string()))?;
    Ok(())
}

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tar")
}

fn by_digest(reference: &Reference, digest: &str) -> String {
    format!("{}/{}@{digest}", reference.registry(), reference.repository())
}
