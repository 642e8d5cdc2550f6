//! How long a request is wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Context;

use futures::task::AtomicWaker;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::Broken;

/// One request, as its instance sees it.
pub(super) struct Ticket {
    deadline: Option<Instant>,
    stage: AtomicU8,
    cancelled: CancellationToken,
    broken: Broken,
    /// The instance's task, which looks at tickets from outside its event loop.
    watcher: AtomicWaker,
}

/// Waits for a response.
const WAITING: u8 = 0;
/// The response has begun.
const ANSWERED: u8 = 1;
/// The response is complete.
const DONE: u8 = 2;

impl Ticket {
    pub(super) fn new(deadline: Option<Instant>) -> Self {
        Self {
            deadline,
            stage: AtomicU8::new(WAITING),
            cancelled: CancellationToken::new(),
            broken: Broken::default(),
            watcher: AtomicWaker::new(),
        }
    }

    /// Wakes the current task when the ticket is cancelled or done.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.watcher.register(cx.waker());
    }

    /// The instance is about to end.
    pub(super) fn instance_ends(&self) {
        if !self.is_done() {
            self.broken.set();
        }
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    fn cancel(&self) {
        self.cancelled.cancel();
        self.watcher.wake();
    }

    /// Whether nobody waits for it any more although it is not done.
    pub(super) fn is_over(&self) -> bool {
        self.stage.load(Ordering::SeqCst) != DONE
            && (self.cancelled.is_cancelled() || self.is_late())
    }

    /// Whether it is done.
    pub(super) fn is_done(&self) -> bool {
        self.stage.load(Ordering::SeqCst) == DONE
    }

    /// Resolves when nobody waits for it any more.
    pub(super) async fn over(&self) {
        match self.deadline {
            Some(deadline) => tokio::select! {
                () = self.cancelled.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => {}
            },
            None => self.cancelled.cancelled().await,
        }
    }
}

/// Whoever waits for the response; when dropped, the request is cancelled.
pub(super) struct Caller(Option<Arc<Ticket>>);

impl Caller {
    pub(super) fn new(ticket: Arc<Ticket>) -> Self {
        Self(Some(ticket))
    }

    /// Whether its time is over.
    pub(super) fn is_late(&self) -> bool {
        self.0.as_ref().is_some_and(|ticket| ticket.is_late())
    }

    /// The response has begun.
    pub(super) fn answered(mut self) -> (Reader, Broken) {
        let ticket = self.0.take();
        let broken = ticket.as_ref().map(|ticket| ticket.broken.clone());
        if let Some(ticket) = &ticket {
            ticket.stage.store(ANSWERED, Ordering::SeqCst);
        }
        (Reader(ticket), broken.unwrap_or_default())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.cancel();
        }
    }
}

/// Whoever reads the response; when dropped, the request is done.
pub(super) struct Reader(Option<Arc<Ticket>>);

impl Reader {
    /// The rest of the response is not wanted.
    pub(super) fn abandon(mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.cancel();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.stage.store(DONE, Ordering::SeqCst);
            ticket.cancel();
        }
    }
}
