//! Compiling the Spin apps among a containerd's images as they are pulled, so that
//! even the first pod of an app finds its code: this program once more, run on a
//! node beside containerd for as long as somebody wants that.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use artifact::Artifact;
use container::cgroup::Layout;
use content_store::{ContentStoreError, Images};
use process_setup::{Environment, LogFormat, chain, start_logging};
use tokio::signal::unix::{SignalKind, signal};

use crate::compilers::{Compilers, Source, Tier};
use crate::settings::Settings;

/// The first argument of such a process; the second is containerd's socket, the
/// third a namespace.
pub(crate) const ACTION: &str = "compile-images";
/// By when containerd has certainly begun to tell of images.
const SUBSCRIBED: Duration = Duration::from_secs(1);
/// How long to wait for a containerd that is away.
const RECONNECT: Duration = Duration::from_secs(2);

/// Compiles what is there and what comes until SIGTERM.
///
/// What cannot be compiled is logged and passed over: a pod that needs it gets the
/// same error. A containerd that is not there is waited for.
pub(crate) fn run(socket: &Path, namespace: &str) -> anyhow::Result<()> {
    let settings = Settings::read(&Environment::of_process())?;
    start_logging(&settings.log_filter, LogFormat::Text)?;
    let layout = Layout::detect().context("cannot make cgroups for compilers")?;
    let compilers = Compilers::of_node(&settings.state_dir, layout);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            () = compile_all(&compilers, socket, namespace) => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

/// Follows one containerd after the other; never ends.
async fn compile_all(compilers: &Compilers, socket: &Path, namespace: &str) {
    loop {
        match follow(compilers, socket, namespace).await {
            Ok(()) => tracing::debug!("containerd has ended"),
            Err(error) => tracing::warn!("waiting for containerd: {}", chain(&error)),
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Until containerd ends.
async fn follow(
    compilers: &Compilers,
    socket: &Path,
    namespace: &str,
) -> Result<(), ContentStoreError> {
    let mut images = Images::connect(socket, namespace).await?;
    let mut pulled = images.pulled();
    compile_present(compilers, &mut images).await?;
    // Once more what is there: what came before containerd began to tell.
    tokio::time::sleep(SUBSCRIBED).await;
    compile_present(compilers, &mut images).await?;
    while let Some(name) = pulled.next().await? {
        compile_image(compilers, &mut images, &name).await;
    }
    Ok(())
}

/// Compiles the images that are there.
async fn compile_present(
    compilers: &Compilers,
    images: &mut Images,
) -> Result<(), ContentStoreError> {
    for name in images.names().await? {
        compile_image(compilers, images, &name).await;
    }
    Ok(())
}

/// Compiles the image `name` if it is a Spin app. One after the other: pods that
/// start meanwhile have their own compilers.
async fn compile_image(compilers: &Compilers, images: &mut Images, name: &str) {
    match images.unread_artifact(name).await {
        Ok(Some(artifact)) => match compile_artifact(compilers, &artifact).await {
            Ok(()) => tracing::info!(image = name, "its code is in the cache"),
            Err(reason) => tracing::warn!(image = name, "{reason}"),
        },
        Ok(None) => {}
        Err(error) => tracing::warn!(image = name, "{}", chain(&error)),
    }
}

/// Compiles the components that triggers name; the error is a sentence.
async fn compile_artifact(compilers: &Compilers, artifact: &Artifact) -> Result<(), String> {
    for (digest, (component, input)) in artifact.code() {
        let bytes = input.open().map_err(|error| chain(&error))?;
        let (digest, component) = (digest.to_string(), component.to_owned());
        let source = Source { digest, component, bytes: bytes.into() };
        compilers.compile(source, Tier::Optimized).await?;
    }
    Ok(())
}
