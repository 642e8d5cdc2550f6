//! The triggers of an app while they run.

use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use tokio::task::{JoinError, JoinSet};
use trigger::{
    BecomesReady, Ended, Serving, Shutdown, ShutdownSignal, Trigger, TriggerError, ready,
};

use super::Workers;
use crate::RuntimeError;

/// Triggers that run, each in a task of its own. Dropping this stops them.
pub(super) struct Running {
    tasks: JoinSet<Result<Ended, TriggerError>>,
    ready: Vec<BecomesReady>,
    ended: Vec<Ended>,
}

impl Running {
    pub(super) fn start(
        triggers: Vec<Box<dyn Trigger>>,
        workers: &Workers,
        signal: &ShutdownSignal,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let mut becoming = Vec::new();
        for trigger in triggers {
            let (ready, becomes_ready) = ready();
            becoming.push(becomes_ready);
            tasks.spawn_on(trigger.run(ready, signal.clone()), &workers.handle);
        }
        Self { tasks, ready: becoming, ended: Vec::new() }
    }

    /// Waits until all triggers are ready: what all of them serve together.
    ///
    /// # Errors
    /// One of them cannot become ready.
    pub(super) async fn ready(&mut self) -> Result<Serving, RuntimeError> {
        let mut all = try_join_all(std::mem::take(&mut self.ready)).fuse();
        loop {
            tokio::select! {
                biased;
                Ok(ready) = &mut all => return Ok(together(ready)),
                Some(ended) = self.tasks.join_next() => self.ended.push(result(ended)?),
                else => {
                    let source = std::io::ErrorKind::UnexpectedEof.into();
                    return Err(RuntimeError::Process { attempt: "become ready", source });
                }
            }
        }
    }

    /// Waits for the end of all triggers: with the first that ends by itself, the
    /// others are asked to drain.
    ///
    /// # Errors
    /// The first error of a trigger.
    pub(super) async fn end(
        &mut self,
        shutdown: &Shutdown,
        drain_timeout: Duration,
    ) -> Result<Vec<Ended>, RuntimeError> {
        let mut failed = None;
        if !self.ended.is_empty() {
            shutdown.drain(drain_timeout);
        }
        while let Some(ended) = self.tasks.join_next().await {
            shutdown.drain(drain_timeout);
            match result(ended) {
                Ok(ended) => self.ended.push(ended),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.ended)),
        }
    }
}

fn together(parts: Vec<Serving>) -> Serving {
    let mut all = Serving::default();
    for part in parts {
        all.addresses.extend(part.addresses);
        all.routes.extend(part.routes);
    }
    all
}

fn result(ended: Result<Result<Ended, TriggerError>, JoinError>) -> Result<Ended, RuntimeError> {
    let ended = ended.map_err(|error| RuntimeError::Process {
        attempt: "serve",
        source: std::io::Error::other(error),
    })?;
    Ok(ended?)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use trigger::{Ready, shutdown};

    use super::*;

    /// Becomes ready, then ends as it is told or when it is drained.
    struct Fake {
        becomes_ready: bool,
        ends: Option<Ended>,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct CannotConnect;

    #[async_trait]
    impl Trigger for Fake {
        async fn run(
            self: Box<Self>,
            ready: Ready,
            mut stop: ShutdownSignal,
        ) -> Result<Ended, TriggerError> {
            if !self.becomes_ready {
                return Err(TriggerError::new(CannotConnect));
            }
            ready.tell(Serving { addresses: Vec::new(), routes: vec![("c".into(), "/".into())] });
            if self.ends.is_none() {
                stop.asked().await;
            }
            Ok(self.ends.unwrap_or(Ended::Drained))
        }
    }

    fn start(fakes: Vec<Fake>) -> (Running, Shutdown) {
        let workers = Workers::start(1).unwrap();
        let (shutdown, signal) = shutdown();
        let triggers = fakes.into_iter().map(|fake| Box::new(fake) as Box<dyn Trigger>).collect();
        (Running::start(triggers, &workers, &signal), shutdown)
    }

    const SERVES: Fake = Fake { becomes_ready: true, ends: None };

    #[tokio::test]
    async fn all_triggers_become_ready_and_drain_together() {
        let (mut running, shutdown) = start(vec![SERVES, SERVES]);
        assert_eq!(running.ready().await.unwrap().routes.len(), 2);
        shutdown.drain(Duration::from_secs(1));
        let ended = running.end(&shutdown, Duration::from_secs(1)).await.unwrap();
        assert_eq!(ended, [Ended::Drained, Ended::Drained]);
    }

    #[tokio::test]
    async fn one_that_cannot_become_ready_fails_the_start() {
        let fails = Fake { becomes_ready: false, ends: None };
        let (mut running, _shutdown) = start(vec![SERVES, fails]);
        assert_eq!(running.ready().await.unwrap_err().to_string(), "cannot connect");
    }

    #[tokio::test]
    async fn a_program_that_ends_ends_the_app_with_its_code() {
        let program = Fake { becomes_ready: true, ends: Some(Ended::Exited(7)) };
        let (mut running, shutdown) = start(vec![SERVES, program]);
        running.ready().await.unwrap();
        let ended = running.end(&shutdown, Duration::from_secs(1)).await.unwrap();
        assert!(ended.contains(&Ended::Exited(7)) && ended.contains(&Ended::Drained), "{ended:?}");
    }
}
