//! Guests whose instances handle several requests: WASI 0.3.
//!
//! Requests wait in one queue per component. Instances take them when they can:
//! each runs in a task of its own, takes a further request only when all it
//! has are waiting for something, and is given up when a guest fails. A new
//! instance is made when no other can take a request. An instance whose guest
//! computes without end, or sits in a blocking call, takes nothing; whether it
//! does is seen from outside its event loop.

mod ticket;
mod worker;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host::InstanceState;
use telemetry::{Span, SpanContext};
use tokio::sync::{Notify, oneshot};
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::{Call, GuestBase, GuestError, declared_length};
use crate::body::ResponseBody;
use ticket::{Caller, Ticket};

/// A component whose instances are used again.
pub(crate) struct ReusedGuest {
    base: GuestBase,
    pre: ServicePre<InstanceState>,
    queue: Mutex<VecDeque<Job>>,
    /// Told when a request was queued.
    queued: Notify,
    /// Instances that can take a request now.
    available: AtomicUsize,
    /// Instances that are being made.
    starting: AtomicUsize,
}

/// A request that waits for an instance.
struct Job {
    call: Call,
    ticket: Arc<Ticket>,
    reply: oneshot::Sender<Result<http::Response<WasiBody>, GuestError>>,
}

impl ReusedGuest {
    pub(super) fn new(base: GuestBase, pre: ServicePre<InstanceState>) -> Self {
        Self {
            base,
            pre,
            queue: Mutex::default(),
            queued: Notify::new(),
            available: AtomicUsize::new(0),
            starting: AtomicUsize::new(0),
        }
    }

    pub(super) fn begin(&self, parent: Option<&SpanContext>) -> Span {
        self.base.begin(parent)
    }

    pub(super) async fn call(
        self: &Arc<Self>,
        call: Call,
    ) -> Result<http::Response<ResponseBody>, GuestError> {
        let ticket = Arc::new(Ticket::new(call.deadline));
        // From here on, dropping this future cancels the request.
        let caller = Caller::new(Arc::clone(&ticket));
        let (reply, replied) = oneshot::channel();
        let deadline = call.deadline;
        self.lock().push_back(Job { call, ticket, reply });
        self.queued.notify_one();
        self.start_if_needed();
        let replied = async { replied.await.unwrap_or(Err(GuestError::Instance)) };
        let response = match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline, replied).await.unwrap_or(Err(GuestError::Timeout))
            }
            None => replied.await,
        };
        // The instance may be the first to see that the time is over.
        let response = match response {
            Err(GuestError::Instance) if caller.is_late() => Err(GuestError::Timeout),
            response => response,
        };
        let response = response.inspect_err(|error| {
            if !matches!(error, GuestError::Instance) {
                self.base.failed(error);
            }
        })?;
        let declared = declared_length(&response);
        Ok(response.map(|body| {
            let (reader, broken) = caller.answered();
            ResponseBody::new(body)
                .on_abandon(declared, Box::new(move || reader.abandon()))
                .breaks_with(broken)
        }))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request somebody still waits for.
    fn pop(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            let job = queue.pop_front()?;
            if !job.ticket.is_over() {
                return Some(job);
            }
        }
    }

    /// Makes an instance if requests wait and nobody can take them.
    fn start_if_needed(self: &Arc<Self>) {
        let (waiting, depth) = {
            let queue = self.lock();
            (queue.len(), queue.front().map_or(0, |job| job.call.origin.depth))
        };
        if self.available.load(Ordering::SeqCst) > 0
            || waiting <= self.starting.load(Ordering::SeqCst)
        {
            return;
        }
        self.starting.fetch_add(1, Ordering::SeqCst);
        let guest = Arc::clone(self);
        self.base.shared.spawn(async move { guest.start(depth).await });
    }

    /// Makes an instance and runs it until it ends.
    async fn start(self: Arc<Self>, depth: u32) {
        let slot = self.base.shared.slots.acquire(depth).await;
        self.starting.fetch_sub(1, Ordering::SeqCst);
        let Some(job) = self.pop() else { return };
        let Some(slot) = slot else {
            let _ = job.reply.send(Err(GuestError::Busy));
            return;
        };
        worker::run(&self, job).await;
        drop(slot);
    }
}
