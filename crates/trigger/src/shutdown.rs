//! Ending what runs.

use std::sync::Arc;
use std::time::Duration;

use host::AppHost;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long what guests wrote may take to reach stdout and stderr in the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Tells running triggers to end. Clones tell the same ones.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<Stage>>);

/// What running triggers look at. Clones look at the same.
#[derive(Debug, Clone)]
pub struct ShutdownSignal(watch::Receiver<Stage>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serve,
    Drain(Instant),
    Cut,
}

/// How triggers ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything in flight was finished.
    Drained,
    /// Something in flight was cut: the deadline passed or a cut was asked for.
    Cut,
    /// There is nothing left to do: the guest was a program and this is its exit
    /// code.
    Exited(u8),
}

/// A means to end triggers, and their side of it.
pub fn shutdown() -> (Shutdown, ShutdownSignal) {
    let (sender, receiver) = watch::channel(Stage::Serve);
    (Shutdown(Arc::new(sender)), ShutdownSignal(receiver))
}

impl Shutdown {
    /// Ends triggers gently: nothing new is begun, what is in flight is finished,
    /// `limit` at most. Has no effect after the first call.
    pub fn drain(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.0.send_if_modified(|stage| {
            let serving = *stage == Stage::Serve;
            if serving {
                *stage = Stage::Drain(deadline);
            }
            serving
        });
    }

    /// Ends triggers at once; what is in flight is cut.
    pub fn cut(&self) {
        self.0.send_replace(Stage::Cut);
    }
}

impl ShutdownSignal {
    /// Resolves when draining is asked for, with its deadline; none for a cut.
    /// Nobody left to ask counts as no wish.
    ///
    /// Cancel safe.
    pub async fn asked(&mut self) -> Option<Instant> {
        match self.0.wait_for(|stage| *stage != Stage::Serve).await.map(|stage| *stage) {
            Ok(Stage::Drain(deadline)) => Some(deadline),
            Ok(_) => None,
            Err(_) => std::future::pending().await,
        }
    }

    /// Resolves when a cut is asked for.
    ///
    /// Cancel safe.
    pub async fn cut(&mut self) {
        if self.0.wait_for(|stage| *stage == Stage::Cut).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Runs `serving` until it is done. When `stop` asks to drain, `draining` is
/// cancelled, upon which `serving` is to begin nothing new and to end after what
/// is in flight; it is dropped at the deadline.
///
/// # Errors
/// Those of `serving`.
pub async fn drained<E>(
    serving: impl Future<Output = Result<(), E>>,
    draining: &CancellationToken,
    mut stop: ShutdownSignal,
) -> Result<Ended, E> {
    let mut serving = std::pin::pin!(serving);
    let deadline = tokio::select! {
        served = &mut serving => return served.map(|()| Ended::Drained),
        deadline = stop.asked() => deadline,
    };
    let Some(deadline) = deadline else { return Ok(Ended::Cut) };
    draining.cancel();
    tokio::select! {
        served = serving => served.map(|()| Ended::Drained),
        () = tokio::time::sleep_until(deadline) => Ok(Ended::Cut),
        () = stop.cut() => Ok(Ended::Cut),
    }
}

/// Waits until what guests wrote to stdout and stderr has been written, two
/// seconds at most.
pub async fn flush(host: &Arc<AppHost>) {
    let host = Arc::clone(host);
    let _ = tokio::task::spawn_blocking(move || host.output().flush(FLUSH)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn end(
        serving: impl Future<Output = ()>,
        draining: &CancellationToken,
        ask: impl FnOnce(&Shutdown),
    ) -> Ended {
        let (shutdown, signal) = shutdown();
        ask(&shutdown);
        let serving = async {
            serving.await;
            Ok::<_, std::convert::Infallible>(())
        };
        drained(serving, draining, signal).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_is_finished_before_the_deadline() {
        let draining = CancellationToken::new();
        let work = async {
            draining.cancelled().await;
            tokio::time::sleep(Duration::from_secs(9)).await;
        };
        let ended = end(work, &draining, |shutdown| shutdown.drain(Duration::from_secs(10))).await;
        assert_eq!(ended, Ended::Drained);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_the_deadline_or_meets_a_cut_is_cut() {
        let draining = CancellationToken::new();
        let forever = std::future::pending();
        let ended =
            end(forever, &draining, |shutdown| shutdown.drain(Duration::from_secs(1))).await;
        assert_eq!(ended, Ended::Cut);
        let ended = end(std::future::pending(), &draining, Shutdown::cut).await;
        assert_eq!(ended, Ended::Cut);
    }
}
