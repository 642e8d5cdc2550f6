//! One instance of a reused guest.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::stream::{FuturesUnordered, StreamExt};
use host::{InstanceState, Program};
use telemetry::Measured;
use tokio::time::{Instant, Sleep};
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::Service;

use super::ticket::Ticket;
use super::{Job, ReusedGuest};
use crate::guest::GuestError;

/// Makes an instance, has it handle `job` and further requests, and ends when it
/// fails, is worn out, or is idle for too long.
pub(super) async fn run(guest: &Arc<ReusedGuest>, job: Job) {
    let mut store = job.call.origin.store(&guest.base.context, Program::default());
    let told = store.data().told().cloned();
    let instantiating = Measured::new(told.clone(), guest.pre.instantiate_async(&mut store));
    let instantiated = tokio::select! {
        instantiated = instantiating => instantiated,
        () = job.ticket.over() => return,
    };
    let service = match instantiated {
        Ok(service) => service,
        Err(error) => {
            let error = GuestError::instantiation(error, &store);
            return drop(job.reply.send(Err(error)));
        }
    };
    store.data().made();
    let worker = Worker::new(guest);
    let ended = Measured::new(told, worker.drive(&mut store, &service, job)).await;
    if let Err(Ended::Failed(error)) = ended {
        guest.base.failed(&GuestError::trap(error, &store));
    }
}

/// Why an instance ended before it was worn out or idle.
enum Ended {
    /// Nobody waits for anything it does.
    Unwanted,
    /// Its guest failed.
    Failed(wasmtime::Error),
}

/// What is known about a running instance from outside its event loop.
///
/// The loop stands still while a guest computes or sits in a blocking call; then
/// only the outside can act.
#[derive(Default)]
struct Pulse {
    /// The loop has run since this was cleared.
    beat: AtomicBool,
    /// All requests wait for something.
    settled: AtomicBool,
    /// Since when there is nothing to do; none while there is.
    idle_since: Mutex<Option<Instant>>,
    tickets: Mutex<Vec<Arc<Ticket>>>,
}

impl Pulse {
    fn set_idle(&self, idle: bool) {
        let mut since = self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        match (idle, *since) {
            (true, None) => *since = Some(Instant::now()),
            (false, _) => *since = None,
            _ => {}
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, ticket: Arc<Ticket>) {
        self.tickets().push(ticket);
    }

    /// Some requests were given up, and no other is left: whatever the guest
    /// still does is for nobody.
    fn is_unwanted(&self, cx: &Context<'_>) -> bool {
        let mut tickets = self.tickets();
        tickets.iter().for_each(|ticket| ticket.watch(cx));
        tickets.retain(|ticket| !ticket.is_done());
        !tickets.is_empty() && tickets.iter().all(|ticket| ticket.is_over())
    }

    /// Some responses are still being read. What is read may still be in the
    /// instance, though its guest is done.
    fn is_read(&self, cx: &Context<'_>) -> bool {
        let tickets = self.tickets();
        tickets.iter().for_each(|ticket| ticket.watch(cx));
        tickets.iter().any(|ticket| !ticket.is_done())
    }

    fn tickets(&self) -> MutexGuard<'_, Vec<Arc<Ticket>>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some requests were given up: the instance takes no more.
    fn has_given_up(&self) -> bool {
        self.tickets().iter().any(|ticket| ticket.is_over())
    }
}

/// How the guest's reading of a request body ended.
type Sent = Pin<Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>>;

struct Worker<'a> {
    guest: &'a Arc<ReusedGuest>,
    pulse: Pulse,
    available: AtomicBool,
    used: AtomicUsize,
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.set_available(false);
        // Before the store is dropped.
        self.pulse.tickets().iter().for_each(|ticket| ticket.instance_ends());
    }
}

impl<'a> Worker<'a> {
    fn new(guest: &'a Arc<ReusedGuest>) -> Self {
        Self {
            guest,
            pulse: Pulse::default(),
            available: AtomicBool::new(false),
            used: AtomicUsize::new(0),
        }
    }

    /// Says whether this instance can take a request. When it no longer can, it
    /// sees to it that waiting requests get another one.
    fn set_available(&self, available: bool) {
        if self.available.swap(available, Ordering::SeqCst) == available {
            return;
        }
        if available {
            self.guest.available.fetch_add(1, Ordering::SeqCst);
        } else {
            self.guest.available.fetch_sub(1, Ordering::SeqCst);
            self.guest.start_if_needed();
        }
    }

    /// Runs the instance and watches it from outside.
    async fn drive(
        &self,
        store: &mut Store<InstanceState>,
        service: &Service,
        first: Job,
    ) -> Result<(), Ended> {
        let mut run =
            pin!(store.run_concurrent(async |accessor| self.serve(accessor, service, first).await));
        let mut timer = pin!(tokio::time::sleep(self.guest.base.shared.reuse.idle));
        let mut wanted = pin!(self.guest.base.shared.slots.wanted.notified());
        let mut draining = pin!(self.guest.base.shared.draining.cancelled());
        std::future::poll_fn(|cx| {
            self.pulse.beat.store(false, Ordering::Relaxed);
            loop {
                if let Poll::Ready(ended) = run.as_mut().poll(cx) {
                    return Poll::Ready(ended.flatten().map_err(Ended::Failed));
                }
                if self.pulse.is_unwanted(cx) {
                    return Poll::Ready(Err(Ended::Unwanted));
                }
                if !self.pulse.beat.load(Ordering::Relaxed) {
                    self.set_available(false);
                }
                // The loop asks for another request only now that it is known to
                // wait for something.
                if self.pulse.settled.swap(true, Ordering::Relaxed) {
                    break;
                }
            }
            let Some(since) = self.pulse.idle_since() else { return Poll::Pending };
            if self.is_idle_for_too_long(since, timer.as_mut(), cx)
                || draining.as_mut().poll(cx).is_ready()
                || wanted.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            Poll::Pending
        })
        .await
    }

    fn is_idle_for_too_long(
        &self,
        since: Instant,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> bool {
        let end = since + self.guest.base.shared.reuse.idle;
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        timer.poll(cx).is_ready()
    }

    /// The instance's event loop: takes requests and waits for their responses.
    async fn serve(
        &self,
        accessor: &Accessor<InstanceState>,
        service: &Service,
        first: Job,
    ) -> wasmtime::Result<()> {
        let shared = &self.guest.base.shared;
        let mut running = FuturesUnordered::new();
        running.push(self.accept(accessor, service, first));
        let func = *service.wasi_http_handler().func_handle().func();
        let mut queued = pin!(None);
        let mut post_return = pin!(None::<Sleep>);
        let worn_out = Cell::new(false);
        std::future::poll_fn(move |cx| {
            self.pulse.beat.store(true, Ordering::Relaxed);
            loop {
                match running.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok(()))) => continue,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) | Poll::Pending => {}
                }
                if self.used.load(Ordering::Relaxed) >= shared.reuse.max_uses
                    || self.pulse.has_given_up()
                {
                    worn_out.set(true);
                }
                let takes = !worn_out.get()
                    && accessor.poll_ready_for_concurrent_call(func, cx).is_ready()
                    && running.len() < shared.reuse.max_concurrent
                    && (running.is_empty() || self.pulse.settled.load(Ordering::Relaxed));
                self.set_available(takes);
                if takes {
                    if queued.is_none() {
                        queued.set(Some(self.guest.queued.notified()));
                    }
                    let notified = queued
                        .as_mut()
                        .as_pin_mut()
                        .is_some_and(|queued| queued.poll(cx).is_ready());
                    if notified {
                        queued.set(None);
                    }
                    if let Some(job) = self.guest.pop() {
                        running.push(self.accept(accessor, service, job));
                        continue;
                    }
                    if notified {
                        continue;
                    }
                } else {
                    // A waiter that does not look keeps others from being told.
                    queued.set(None);
                }
                if !running.is_empty() {
                    return Poll::Pending;
                }
                if accessor.poll_no_interesting_tasks(cx).is_pending() {
                    return self.poll_post_return(post_return.as_mut(), cx);
                }
                post_return.set(None);
                if self.pulse.is_read(cx) {
                    return Poll::Pending;
                }
                if worn_out.get() {
                    return Poll::Ready(Ok(()));
                }
                self.pulse.set_idle(true);
                return Poll::Pending;
            }
        })
        .await
    }

    /// The guest goes on after its last response; it may for as long as a request
    /// may take.
    fn poll_post_return(
        &self,
        mut timer: Pin<&mut Option<Sleep>>,
        cx: &mut Context<'_>,
    ) -> Poll<wasmtime::Result<()>> {
        let Some(limit) = self.guest.base.shared.request_timeout else { return Poll::Pending };
        if timer.is_none() {
            timer.set(Some(tokio::time::sleep(limit)));
        }
        match timer.as_pin_mut().map(|timer| timer.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Hands a request to the guest; resolves when the response has begun or is
    /// not wanted any more. An error is the end of the instance.
    fn accept(
        &self,
        accessor: &Accessor<InstanceState>,
        service: &Service,
        job: Job,
    ) -> impl Future<Output = wasmtime::Result<()>> {
        let Job { call, ticket, reply } = job;
        // Taken for one that computes until it is seen to wait.
        self.pulse.settled.store(false, Ordering::Relaxed);
        self.pulse.set_idle(false);
        self.pulse.add(Arc::clone(&ticket));
        self.used.fetch_add(1, Ordering::Relaxed);
        async move {
            let (request, sent) = accessor.with(|mut store| {
                let state = store.data_mut();
                call.origin.enter(state);
                let (request, sent) = Request::from_http(state.http().hooks, call.request);
                // Its type is tied to the borrow of the hooks, which it does not use.
                (request, Box::pin(sent) as Sent)
            });
            let handled = tokio::select! {
                handled = service.handle(accessor, request) => handled?,
                () = ticket.over() => return Ok(()),
            };
            let response = match handled {
                Ok(response) => Ok(accessor.with(|store| response.into_http(store, sent))?),
                Err(code) => Err(GuestError::Declared(code.to_string())),
            };
            // Nobody listens when the client is gone.
            let _ = reply.send(response);
            Ok(())
        }
    }
}
