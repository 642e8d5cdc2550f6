//! `spinlet push`: push an app to a registry.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use artifact::layout::Layout;
use artifact::pack::{Options, Packed, pack};
use artifact::{Artifact, Blob};
use clap::{ArgAction, Args};
use registry::parse_reference;

use crate::arguments::KeyValue;
use crate::compiler::Compiler;
use crate::console::{Console, print};
use crate::environment::Environment;
use crate::local_app;
use crate::registry_arguments::RegistryArguments;
use crate::subject::{self, Subject};

const EXAMPLES: &str = "\
Examples:
  spinlet push . ghcr.io/me/hello:v1
  spinlet push examples/hello-rust localhost:5000/hello:v1
  spinlet push hello.wasm localhost:5000/hello:v1
  echo $TOKEN | spinlet push . ghcr.io/me/hello:v1 -u me --password-stdin

The image is one that `spin registry pull`, Kubernetes and `spinlet up` understand.
Its reference by digest is printed.";

/// Arguments of `spinlet push`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PushArguments {
    /// Folder with a spin.toml, a spin.toml, a .wasm file, or an OCI image layout
    /// (folder or .tar)
    #[arg(value_name = "PATH")]
    app: String,

    /// Where to push it to: NAME:TAG, after HOST/ or HOST:PORT/
    reference: String,

    /// Put the files of each component into one archive instead of a layer each
    #[arg(long)]
    archive_layers: bool,

    /// Whether components are composed with their dependencies and middleware;
    /// otherwise whoever runs the app does that
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    compose: bool,

    /// Add an annotation to the image's manifest; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<KeyValue>,

    #[command(flatten)]
    registry: RegistryArguments,
}

/// Packs and pushes.
pub(crate) async fn run(
    arguments: PushArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<()> {
    let reference = parse_reference(&arguments.reference)?;
    let registry = arguments.registry.registry(environment)?;
    let image = image(&arguments, environment, console).await?;
    let transfer = console.transfer(format!("Pushing {reference}"));
    let pushed = registry.push(&reference, &image, &|event| transfer.observe(event)).await?;
    transfer.done(&format!("Pushed {reference}"), pushed.transferred);
    print(&pushed.reference)?;
    Ok(())
}

async fn image(
    arguments: &PushArguments,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<Packed> {
    let subject = subject::decide_local(&arguments.app)?;
    if let Subject::Layout(path) = &subject {
        if arguments.archive_layers || !arguments.annotation.is_empty() || !arguments.compose {
            bail!(
                "{} is an image already: it is pushed as it is, without --archive-layers, \
                 --annotation and --compose",
                path.display()
            );
        }
        return Ok(Layout::open(path)?.packed(None)?);
    }
    let annotations: BTreeMap<String, String> =
        arguments.annotation.iter().cloned().map(|KeyValue { key, value }| (key, value)).collect();
    let options = Options { archive: arguments.archive_layers, annotations, ..Options::default() };
    let mut artifact = local_app::load(&subject)?;
    if arguments.compose {
        compose(&mut artifact, environment, console).await?;
    }
    Ok(pack(&artifact, &options)?)
}

/// Composes every component with its dependencies and middleware.
async fn compose(
    artifact: &mut Artifact,
    environment: &Environment,
    console: &Console,
) -> anyhow::Result<()> {
    let mut composed = Vec::new();
    for (id, input) in artifact.uncomposed() {
        let compiler = Compiler::locate(environment)?;
        let step = console.step(format!("Composing component {id}"));
        let source = input.open().with_context(|| format!("cannot read component {id}"))?;
        let digest = input.digest().to_string();
        let wasm = compiler.compose(&digest, id, source).await.map_err(anyhow::Error::msg)?;
        step.done(&format!("Composed component {id}"));
        composed.push((id.to_owned(), Blob::from_bytes(wasm)));
    }
    for (id, wasm) in composed {
        artifact.set_composed(&id, wasm);
    }
    Ok(())
}
