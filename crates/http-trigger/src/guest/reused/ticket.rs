//! How long a request is wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One request, as its instance sees it.
pub(super) struct Ticket {
    deadline: Option<Instant>,
    stage: AtomicU8,
    cancelled: CancellationToken,
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
        }
    }

    /// Whether nobody waits for it any more although it is not done.
    pub(super) fn is_over(&self) -> bool {
        self.stage.load(Ordering::SeqCst) != DONE
            && (self.cancelled.is_cancelled()
                || self.deadline.is_some_and(|deadline| deadline <= Instant::now()))
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

    /// The response has begun.
    pub(super) fn answered(mut self) -> Reader {
        let ticket = self.0.take();
        if let Some(ticket) = &ticket {
            ticket.stage.store(ANSWERED, Ordering::SeqCst);
        }
        Reader(ticket)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.cancelled.cancel();
        }
    }
}

/// Whoever reads the response; when dropped, the request is done.
pub(super) struct Reader(Option<Arc<Ticket>>);

impl Reader {
    /// The rest of the response is not wanted.
    pub(super) fn abandon(mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.cancelled.cancel();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.stage.store(DONE, Ordering::SeqCst);
            // Its instance looks again.
            ticket.cancelled.cancel();
        }
    }
}
