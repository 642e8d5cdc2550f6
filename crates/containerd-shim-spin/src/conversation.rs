//! What the shim and a runtime process say to each other until the application
//! listens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use control::{Channel, ControlError, FromRuntime, Phase, RunSpec, ToRuntime};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::compilers::{Compilers, Source, Tier};

/// Why a conversation did not come to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The runtime said why the application cannot be run.
    Failed(String),
    /// The image is an ordinary one.
    NotSpin,
    /// The runtime is gone without a word.
    Gone,
    /// The task was ended meanwhile.
    Cancelled,
    /// It took too long.
    TimedOut,
    /// The control socket itself failed.
    Broken(ControlError),
    /// The runtime said something at the wrong time.
    OutOfOrder(FromRuntime),
}

impl From<ControlError> for Stopped {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Closed => Self::Gone,
            error => Self::Broken(error),
        }
    }
}

/// A loaded application.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// How long the runtime's steps took.
    pub(crate) phases: Vec<Phase>,
    /// Components that run on code of the first tier.
    pub(crate) first_tier: Vec<FirstTier>,
}

/// A component that runs on code of the first tier.
#[derive(Debug)]
pub(crate) struct FirstTier {
    /// What optimized code is made of.
    pub(crate) source: Source,
    /// Where that will be, below the node's cache.
    pub(crate) entry: PathBuf,
}

/// Has an application loaded, compiling what the runtime asks for, until its
/// container is made.
pub(crate) async fn load(
    channel: &Channel,
    compilers: &Arc<Compilers>,
    spec: RunSpec,
    cancel: &CancellationToken,
) -> Result<Loaded, Stopped> {
    let tier = if spec.first_tier { Tier::First } else { Tier::Optimized };
    channel.send(&ToRuntime::Run(Box::new(spec)), None).await?;
    let mut compilations = JoinSet::new();
    let mut first_tier = Vec::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Err(Stopped::Cancelled),
            Some(answer) = compilations.join_next() => {
                let answer = answer.map_err(|_| Stopped::Cancelled)?;
                channel.send(&answer, None).await?;
            }
            message = channel.receive() => match message? {
                (FromRuntime::Compile { digest, component, .. }, Some(bytes)) => {
                    let source = Source { digest, component, bytes };
                    compilations.spawn(compiled(Arc::clone(compilers), source, tier));
                }
                (FromRuntime::Optimize { digest, component, entry, .. }, Some(bytes)) => {
                    let source = Source { digest, component, bytes };
                    first_tier.push(FirstTier { source, entry });
                }
                (FromRuntime::Created { phases }, _) => {
                    return Ok(Loaded { phases, first_tier });
                }
                (FromRuntime::Failed { message }, _) => return Err(Stopped::Failed(message)),
                (FromRuntime::NotSpin, _) => return Err(Stopped::NotSpin),
                (message, _) => return Err(Stopped::OutOfOrder(message)),
            },
        }
    }
}

async fn compiled(compilers: Arc<Compilers>, source: Source, tier: Tier) -> ToRuntime {
    let digest = source.digest.clone();
    ToRuntime::Compiled { digest, error: compilers.compile(source, tier).await.err() }
}

/// Has a loaded application listen. Returns how long the runtime's steps took.
pub(crate) async fn listen(channel: &Channel, limit: Duration) -> Result<Vec<Phase>, Stopped> {
    let answer = async {
        channel.send(&ToRuntime::Start, None).await?;
        match channel.receive().await?.0 {
            FromRuntime::Listening { addresses, phases, .. } => {
                tracing::info!(?addresses, "the application listens");
                Ok(phases)
            }
            FromRuntime::Failed { message } => Err(Stopped::Failed(message)),
            message => Err(Stopped::OutOfOrder(message)),
        }
    };
    timeout(limit, answer).await.unwrap_or(Err(Stopped::TimedOut))
}

#[cfg(test)]
mod tests;
