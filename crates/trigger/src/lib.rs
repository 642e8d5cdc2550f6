//! The seam between an app and what starts its components.
//!
//! A type of trigger is a crate of its own that implements two traits, in the
//! order of an app's life:
//!
//! 1. It is made from [`Surroundings`]: what the environment says of it.
//! 2. [`TriggerType::check`]: the app's triggers of this type, before anything is
//!    compiled, bound or written.
//! 3. [`TriggerType::reserve`]: what needs privileges that are dropped next.
//! 4. [`TriggerType::prepare`]: components are linked and their handlers found.
//!    What remains can only fail for reasons outside the app.
//! 5. [`Trigger::run`]: it connects or listens, says that it is [`Ready`], and
//!    serves until its [`ShutdownSignal`] asks it to drain.
//!
//! Each step is complete, for all types, before the next begins. The rest of this
//! crate is what several types need for that: [`Handler`] calls a guest,
//! [`Lanes`] hands messages to guests in order and drains, [`Backoff`] spaces out
//! attempts to connect, [`Replaceable`] takes better code while all of it goes on.

mod backoff;
mod config;
mod handler;
mod lanes;
mod parts;
mod replaceable;
mod settings;
mod shutdown;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use app::{LockedApp, Problems};
use async_trait::async_trait;
use tokio::sync::oneshot;

pub use backoff::{Attempts, Backoff};
pub use config::{Configured, check_template, settings, triggers};
pub use handler::{Export, Failure, Handler, HandlerError};
pub use lanes::{Lane, Lanes, QUEUE};
pub use parts::{AppParts, LinkedComponent, LoadedComponent, chain};
pub use replaceable::{Replace, Replaceable, Replacements};
pub use settings::{MessageSettings, parse_duration};
pub use shutdown::{Ended, Shutdown, ShutdownSignal, drained, flush, shutdown};

/// What surrounds an app: everything that may configure its triggers beside the
/// app itself.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment: the container's or the command line's.
    pub environment: &'a BTreeMap<String, String>,
    /// `host:port` to listen on when the environment names none.
    pub default_listen: &'a str,
    /// The arguments of the container or of the command line.
    pub arguments: &'a [String],
}

/// One type of trigger.
#[async_trait]
pub trait TriggerType: Send {
    /// Its name in manifests, for example `http`.
    fn name(&self) -> &'static str;

    /// Checks the app's triggers of this type; everything that is wrong with
    /// them goes to `problems`, each a sentence that names the trigger.
    fn check(&self, app: &LockedApp, problems: &mut Problems);

    /// Takes what only a privileged process may have, such as port 80. The
    /// process has one thread and has entered its container. Called once.
    ///
    /// # Errors
    /// It cannot be had.
    fn reserve(&mut self) -> Result<(), TriggerError> {
        Ok(())
    }

    /// Makes everything ready that needs no connection. None means that there
    /// are problems, all of which went to `problems`.
    async fn prepare(
        self: Box<Self>,
        parts: &AppParts<'_>,
        problems: &mut Problems,
    ) -> Option<Box<dyn Trigger>>;
}

/// All triggers of one type in an app, ready to run.
#[async_trait]
pub trait Trigger: Send {
    /// Serves. Says that it is `ready` once, when what happens from then on
    /// reaches the app; ends when `stop` asks it to, after what is in flight, and
    /// by itself only when there is nothing left to do.
    ///
    /// # Errors
    /// It cannot become ready, or cannot go on. A failing guest and a lost
    /// connection are neither.
    async fn run(
        self: Box<Self>,
        ready: Ready,
        stop: ShutdownSignal,
    ) -> Result<Ended, TriggerError>;
}

/// Why triggers cannot run; displays as what is inside.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TriggerError(Box<dyn std::error::Error + Send + Sync>);

impl TriggerError {
    /// Wraps the error of one type of trigger.
    pub fn new(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// What is shown of triggers that are ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// Addresses that clients can connect to.
    pub addresses: Vec<SocketAddr>,
    /// What leads to which component: id and a route, channel, topic, ….
    pub routes: Vec<(String, String)>,
}

/// The means to say that triggers are ready.
#[derive(Debug)]
pub struct Ready(oneshot::Sender<Serving>);

/// Where it is heard.
pub type BecomesReady = oneshot::Receiver<Serving>;

/// A means to say that triggers are ready, and where it is heard; an error there
/// means that they ended before.
pub fn ready() -> (Ready, BecomesReady) {
    let (sender, receiver) = oneshot::channel();
    (Ready(sender), receiver)
}

impl Ready {
    /// Says so.
    pub fn tell(self, serving: Serving) {
        // Nobody listens when the app ends while it starts.
        let _ = self.0.send(serving);
    }
}
