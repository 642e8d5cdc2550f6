//! Calling guests.

mod fresh;
mod handler;
mod reused;
mod slots;
mod spin;
mod wagi;

use std::sync::Arc;
use std::time::Duration;

use host::{ComponentContext, InstanceState, LogLimit, Program};
use http::StatusCode;
use telemetry::{Span, SpanContext, SpanHandle, SpanKind};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trigger::{Failure, LinkedComponent, Replaceable, chain};
use wasmtime::Store;
use wasmtime::component::InstancePre;
use wasmtime_wasi_http::WasiBody;

use crate::body::ResponseBody;
use crate::settings::InstanceReuse;
use crate::trigger_config::{Executor, TRIGGER_TYPE};

use fresh::FreshGuest;
use handler::Handler;
pub use handler::HandlerError;
use reused::ReusedGuest;
pub(crate) use slots::Slots;

/// One request for a guest.
pub(crate) struct Call {
    pub(crate) request: http::Request<WasiBody>,
    pub(crate) origin: Origin,
    /// When it must be answered completely.
    pub(crate) deadline: Option<Instant>,
}

/// What a call is made for.
#[derive(Default)]
pub(crate) struct Origin {
    /// Components that called each other for it.
    pub(crate) depth: u32,
    /// The span of the call; none when traces go nowhere.
    span: Option<SpanHandle>,
}

impl Origin {
    /// A call for a request at this depth.
    pub(crate) fn at_depth(depth: u32) -> Self {
        Self { depth, span: None }
    }

    /// A store for an instance that handles the call.
    fn store(&self, context: &Arc<ComponentContext>, program: Program) -> Store<InstanceState> {
        let store = context.new_program_store(self.depth, program);
        store.data().works_for(self.span.clone());
        store
    }

    /// Has an instance that exists handle the call, too.
    fn enter(&self, state: &mut InstanceState) {
        state.entered_at_depth(self.depth);
        state.works_for(self.span.clone());
    }
}

/// Why a guest gave no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    #[error(transparent)]
    Failed(Failure),
    #[error("the guest returned without a response")]
    NoResponse,
    #[error("the guest answered with the error {0}")]
    Declared(String),
    #[error("the guest answered with the status {0}, which is none")]
    Status(u16),
    #[error("the guest took longer than a request may take")]
    Timeout,
    /// The instance failed; the failure itself was logged where it happened.
    #[error("the instance failed")]
    Instance,
    #[error("there is no place for another instance")]
    Busy,
    #[error("the request cannot be handed to the guest: {0}")]
    Request(&'static str, StatusCode),
}

impl GuestError {
    /// What the client is answered.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Request(_, status) => *status,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What kind it is, in a word.
    fn reason(&self) -> &'static str {
        match self {
            Self::Failed(failure) => failure.reason(),
            Self::NoResponse => "no-response",
            Self::Declared(_) | Self::Status(_) => "error",
            Self::Timeout => "timeout",
            Self::Instance => "instance",
            Self::Busy => "busy",
            Self::Request(..) => "request",
        }
    }

    /// The error of an instance in `store`.
    fn trap(error: wasmtime::Error, store: &Store<InstanceState>) -> Self {
        Self::Failed(Failure::of(error, store))
    }

    /// The error of an instantiation in `store`.
    fn instantiation(error: wasmtime::Error, store: &Store<InstanceState>) -> Self {
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Busy;
        }
        Self::trap(error, store)
    }
}

/// What all guests of an app share.
pub(crate) struct GuestShared {
    pub(crate) slots: Slots,
    /// Guests that go on after their response has begun.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when idle instances are to end.
    pub(crate) draining: CancellationToken,
    /// Cancelled when all instances are to end.
    pub(crate) cut: CancellationToken,
    pub(crate) reuse: InstanceReuse,
    pub(crate) request_timeout: Option<Duration>,
}

impl GuestShared {
    /// Runs `task` until it ends or everything is to end.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let cut = self.cut.clone();
        let task = async move { cut.run_until_cancelled(task).await.unwrap_or_default() };
        self.tasks.spawn(task).abort_handle()
    }
}

/// One component and how it is called.
pub(crate) struct Guest(Arc<Replaceable<Callee>>);

/// A component as it is compiled, and how it is called.
enum Callee {
    Fresh(Arc<FreshGuest>),
    Reused(Arc<ReusedGuest>),
}

/// What is needed to call a component, whichever way.
struct GuestBase {
    /// What it is, in names of spans.
    kind: &'static str,
    context: Arc<ComponentContext>,
    shared: Arc<GuestShared>,
    failures: LogLimit,
}

impl GuestBase {
    /// Begins a call for `parent`.
    fn begin(&self, parent: Option<&SpanContext>) -> Span {
        let (id, telemetry) = (self.context.id(), self.context.app().telemetry());
        if let Some(metrics) = telemetry.metrics() {
            metrics.called(TRIGGER_TYPE, id);
        }
        let name = format_args!("execute_{}_component {id}", self.kind);
        telemetry.span(SpanKind::Internal, &name, parent)
    }

    /// Counts a failure of the guest, and logs it within limits.
    fn failed(&self, error: &GuestError) {
        if let Some(metrics) = self.context.app().telemetry().metrics() {
            metrics.failed(self.context.id(), error.reason());
        }
        if let Some(suppressed) = self.failures.permit() {
            tracing::error!(component = self.context.id(), suppressed, "{error}");
        }
    }
}

impl Callee {
    fn of(
        pre: InstancePre<InstanceState>,
        executor: Executor,
        context: &Arc<ComponentContext>,
        shared: &Arc<GuestShared>,
    ) -> Result<Self, HandlerError> {
        let kind = if matches!(executor, Executor::Wagi(_)) { "wagi" } else { "wasm" };
        let (context, shared) = (Arc::clone(context), Arc::clone(shared));
        let base = GuestBase { kind, context, shared, failures: LogLimit::default() };
        Ok(match Handler::of(pre, executor)? {
            Handler::Service(pre) => Self::Reused(Arc::new(ReusedGuest::new(base, pre))),
            handler => Self::Fresh(Arc::new(FreshGuest::new(base, handler))),
        })
    }
}

impl Guest {
    /// The guest that a component is.
    pub(crate) fn new(
        component: &LinkedComponent,
        executor: Executor,
        shared: Arc<GuestShared>,
    ) -> Result<Self, HandlerError> {
        let context = Arc::clone(&component.context);
        let callee = move |pre: &InstancePre<InstanceState>| {
            Callee::of(pre.clone(), executor.clone(), &context, &shared)
        };
        let guest = Self(Arc::new(Replaceable::new(callee(&component.pre)?)));
        component.when_replaced(|| {
            let current = Arc::clone(&guest.0);
            Box::new(move |pre| {
                current.set(callee(pre).map_err(|error| chain(&error))?);
                Ok(())
            })
        });
        Ok(guest)
    }

    /// Has the guest answer `call`, for `parent`. Failures are logged here.
    ///
    /// Dropping the future, or later the response's body before its end, stops
    /// the guest.
    pub(crate) async fn call(
        &self,
        mut call: Call,
        parent: Option<&SpanContext>,
    ) -> Result<http::Response<ResponseBody>, GuestError> {
        let callee = self.0.get();
        let span = match &*callee {
            Callee::Fresh(guest) => guest.begin(parent),
            Callee::Reused(guest) => guest.begin(parent),
        };
        call.origin.span = span.handle();
        let answered = match &*callee {
            Callee::Fresh(guest) => guest.call(call).await,
            Callee::Reused(guest) => guest.call(call).await,
        };
        let mut response = answered.inspect_err(|error| span.failed(error))?;
        if span.context().is_some() {
            response.body_mut().hold(span);
        }
        Ok(response)
    }
}

/// The length that a response declares.
fn declared_length<B>(response: &http::Response<B>) -> Option<u64> {
    response.headers().get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
