//! Guests that get a new instance for every request: WASI 0.2, its snapshots,
//! and guests of Spin 1.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt;
use host::Program;
use http_body_util::BodyExt;
use telemetry::{Measured, Span, SpanContext};
use tokio::sync::oneshot;
use wasmtime::component::{ComponentExportIndex, InstancePre, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

use super::handler::Handler;
use super::{Call, GuestBase, GuestError, Origin, declared_length, spin, wagi};
use crate::body::{Broken, ResponseBody};

/// A component whose instances handle one request each.
pub(crate) struct FreshGuest {
    base: GuestBase,
    handler: Handler,
}

type Reply = oneshot::Sender<Result<http::Response<WasiBody>, GuestError>>;
type Run = Pin<Box<dyn Future<Output = Result<(), GuestError>> + Send>>;

/// What happened first.
enum First {
    /// The guest is done.
    Finished(Result<(), GuestError>),
    /// The response has begun; the guest goes on.
    Replied(Result<http::Response<WasiBody>, GuestError>),
}

impl FreshGuest {
    pub(super) fn new(base: GuestBase, handler: Handler) -> Self {
        Self { base, handler }
    }

    pub(super) fn begin(&self, parent: Option<&SpanContext>) -> Span {
        self.base.begin(parent)
    }

    pub(super) async fn call(
        self: &Arc<Self>,
        call: Call,
    ) -> Result<http::Response<ResponseBody>, GuestError> {
        let answered = self.answer(call).await;
        if let Err(error) = &answered {
            self.base.failed(error);
        }
        answered
    }

    async fn answer(
        self: &Arc<Self>,
        call: Call,
    ) -> Result<http::Response<ResponseBody>, GuestError> {
        let (reply, mut replied) = oneshot::channel();
        let broken = Broken::default();
        let mut run: Run = Box::pin(Arc::clone(self).run(call, reply, broken.clone()));
        // The guest runs in the task of its request: most are done at once, and
        // a request that is given up takes its guest with it.
        let first = std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = run.as_mut().poll(cx) {
                return Poll::Ready(First::Finished(result));
            }
            match Pin::new(&mut replied).poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(First::Replied(response)),
                // The guest dropped its means to answer; it may still go on.
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let (response, result) = match first {
            First::Finished(result) => match replied.try_recv() {
                Ok(response) => (response?, result),
                Err(_) => return Err(result.err().unwrap_or(GuestError::NoResponse)),
            },
            First::Replied(response) => {
                let response = response?;
                // Most guests have written all they have to say with their next
                // breath; then the length of their response is known.
                tokio::task::yield_now().await;
                match (&mut run).now_or_never() {
                    Some(result) => (response, result),
                    None => return Ok(self.detach(response, run, broken)),
                }
            }
        };
        Ok(match result {
            Ok(()) => response.map(ResponseBody::of_finished_guest),
            Err(error) => {
                self.base.failed(&error);
                response.map(|body| ResponseBody::new(body).breaks_with(broken))
            }
        })
    }

    /// Lets the guest go on while its response is sent.
    fn detach(
        self: &Arc<Self>,
        response: http::Response<WasiBody>,
        run: Run,
        broken: Broken,
    ) -> http::Response<ResponseBody> {
        let guest = Arc::clone(self);
        let task = self.base.shared.spawn(async move {
            if let Err(error) = run.await {
                guest.base.failed(&error);
            }
        });
        let declared = declared_length(&response);
        response.map(|body| {
            ResponseBody::new(body)
                .on_abandon(declared, Box::new(move || task.abort()))
                .breaks_with(broken)
        })
    }

    /// Handles one request in a new instance, until the guest is done.
    async fn run(
        self: Arc<Self>,
        call: Call,
        reply: Reply,
        broken: Broken,
    ) -> Result<(), GuestError> {
        let Call { request, origin, deadline } = call;
        let handled = async {
            let slot =
                self.base.shared.slots.acquire(origin.depth).await.ok_or(GuestError::Busy)?;
            let result = match &self.handler {
                Handler::Incoming { pre, handle } => {
                    let request = Incoming { request, origin, reply, broken };
                    self.incoming(pre, handle, request).await
                }
                Handler::Spin(pre) => {
                    spin::handle(&self.base.context, pre, request, &origin).await.map(|response| {
                        // Nobody listens when the client is gone.
                        let _ = reply.send(Ok(response));
                    })
                }
                Handler::Wagi(handler) => {
                    let context = &self.base.context;
                    wagi::handle(context, handler, request, &origin).await.map(|response| {
                        let _ = reply.send(Ok(response));
                    })
                }
                // Made into a reused guest.
                Handler::Service(_) => Err(GuestError::NoResponse),
            };
            // After the instance.
            drop(slot);
            result
        };
        match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline, handled).await.unwrap_or(Err(GuestError::Timeout))
            }
            None => handled.await,
        }
    }

    /// Calls `wasi:http/incoming-handler`.
    async fn incoming(
        &self,
        pre: &InstancePre<host::InstanceState>,
        handle: &ComponentExportIndex,
        incoming: Incoming,
    ) -> Result<(), GuestError> {
        let Incoming { request, origin, reply, broken } = incoming;
        let mut store = origin.store(&self.base.context, Program::default());
        let told = store.data().told().cloned();
        let instance = match Measured::new(told.clone(), pre.instantiate_async(&mut store)).await {
            Ok(instance) => instance,
            Err(error) => return Err(GuestError::instantiation(error, &store)),
        };
        store.data().made();
        // Dropped before the store, however this ends.
        let done = Done { broken, is_done: false };
        let called = async {
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(Scheme::Http, request)?;
            let response = http.new_response_outparam_from_callback(move |response| {
                let _ = reply.send(outgoing(response));
            })?;
            let handle = instance.get_typed_func::<Parameters, ()>(&mut store, handle)?;
            handle.call_async(&mut store, (request, response)).await
        };
        let called = Measured::new(told, called).await;
        called.map_err(|error| GuestError::trap(error, &store))?;
        done.done();
        Ok(())
    }
}

/// What `wasi:http/incoming-handler` is called with.
struct Incoming {
    request: http::Request<WasiBody>,
    origin: Origin,
    reply: Reply,
    broken: Broken,
}

/// Breaks the response off unless the guest gets done.
struct Done {
    broken: Broken,
    is_done: bool,
}

impl Done {
    fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if !self.is_done {
            self.broken.set();
        }
    }
}

/// What `handle` takes.
type Parameters = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

fn outgoing(
    response: Result<http::Response<HyperOutgoingBody>, ErrorCode>,
) -> Result<http::Response<WasiBody>, GuestError> {
    match response {
        Ok(response) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
        Err(code) => Err(GuestError::Declared(code.to_string())),
    }
}
