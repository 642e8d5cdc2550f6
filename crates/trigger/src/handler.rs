//! Calling guests.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use host::{ComponentContext, InstanceState, LogLimit};
use telemetry::{Measured, Span, SpanContext, SpanKind};
use wasmtime::Store;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower,
};
use wasmtime_wasi::I32Exit;

use crate::{LinkedComponent, MessageSettings, Replaceable, chain};

/// How often a call looks whether the pool has a place again.
const POOL_POLL: Duration = Duration::from_millis(20);

/// The name of a function that a component exports.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The interface it is in; none for a function of the component itself.
    pub interface: Option<&'a str>,
    /// Its name.
    pub function: &'a str,
}

impl std::fmt::Display for Export<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.interface {
            Some(interface) => write!(f, "{interface}#{}", self.function),
            None => f.write_str(self.function),
        }
    }
}

/// Why a component cannot be called; completes "component … ".
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// It does not export the function.
    #[error("does not export {export}")]
    Missing {
        /// The function.
        export: String,
    },
    /// The function has another signature.
    #[error("exports {export} with an unexpected signature")]
    Signature {
        /// The function.
        export: String,
        /// wasmtime's explanation.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a guest did not come to the end of a call.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It trapped, or a host function failed.
    #[error("the guest failed: {0:#}")]
    Trap(wasmtime::Error),
    /// It ran out of memory.
    #[error("the guest wanted {wanted} bytes of memory, more than it may have: {trap:#}")]
    Memory {
        /// What it would have had then.
        wanted: u64,
        /// How it ended.
        trap: wasmtime::Error,
    },
    /// It ended its program.
    #[error("the guest exited with code {0}")]
    Exited(i32),
    /// It took too long.
    #[error("the guest took longer than {0:?}")]
    Timeout(Duration),
}

impl Failure {
    /// What kind it is, in a word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Memory { .. } => "memory",
            Self::Exited(_) => "exit",
            Self::Timeout(_) => "timeout",
        }
    }

    /// The end of an instance in `store`.
    pub fn of(error: wasmtime::Error, store: &Store<InstanceState>) -> Self {
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Self::Exited(*code);
        }
        match store.data().limiter().refused_memory() {
            Some(wanted) => Self::Memory { wanted, trap: error },
            None => Self::Trap(error),
        }
    }
}

/// One exported function of one component, with parameters `P` and results `R`.
/// Each call is made in a new instance, whether the function is asynchronous or
/// not.
pub struct Handler<P, R> {
    /// The type of triggers it is for.
    trigger: &'static str,
    code: Arc<Replaceable<Callee>>,
    context: Arc<ComponentContext>,
    timeout: Option<Duration>,
    failures: LogLimit,
    signature: PhantomData<fn(P) -> R>,
}

/// A function of a component as it is compiled.
struct Callee {
    pre: InstancePre<InstanceState>,
    function: ComponentExportIndex,
}

impl Callee {
    /// The function `export` of `pre`, with parameters `P` and results `R`.
    fn of<P, R>(pre: &InstancePre<InstanceState>, export: Export<'_>) -> Result<Self, HandlerError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let component = pre.component();
        let missing = || HandlerError::Missing { export: export.to_string() };
        let interface = match export.interface {
            Some(name) => Some(component.get_export_index(None, name).ok_or_else(missing)?),
            None => None,
        };
        let (item, function) =
            component.get_export(interface.as_ref(), export.function).ok_or_else(missing)?;
        let ComponentItem::ComponentFunc(ty) = item else { return Err(missing()) };
        ty.typecheck::<P, R>(&pre.instance_type()).map_err(|source| HandlerError::Signature {
            export: export.to_string(),
            source: source.into(),
        })?;
        Ok(Self { pre: pre.clone(), function })
    }
}

impl<P, R> Handler<P, R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    /// The function `export` of `linked`, for triggers of type `trigger`.
    ///
    /// # Errors
    /// It is not there or has another signature.
    pub fn of(
        trigger: &'static str,
        linked: &LinkedComponent,
        export: Export<'_>,
        settings: MessageSettings,
    ) -> Result<Self, HandlerError> {
        let code = Arc::new(Replaceable::new(Callee::of::<P, R>(&linked.pre, export)?));
        linked.when_replaced(|| {
            let code = Arc::clone(&code);
            let interface = export.interface.map(str::to_owned);
            let function = export.function.to_owned();
            Box::new(move |pre| {
                let export = Export { interface: interface.as_deref(), function: &function };
                code.set(Callee::of::<P, R>(pre, export).map_err(|error| chain(&error))?);
                Ok(())
            })
        });
        Ok(Self {
            trigger,
            code,
            context: Arc::clone(&linked.context),
            timeout: settings.timeout,
            failures: LogLimit::default(),
            signature: PhantomData,
        })
    }

    /// The component.
    pub fn component(&self) -> &Arc<ComponentContext> {
        &self.context
    }

    /// Calls the function in a new instance, for `parent`.
    ///
    /// Dropping the future stops the guest.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn call(&self, parent: Option<&SpanContext>, parameters: P) -> Result<R, Failure> {
        let called = self.call_in(self.context.new_store(0), parent, parameters);
        match self.timeout {
            None => called.await,
            Some(limit) => {
                tokio::time::timeout(limit, called).await.unwrap_or(Err(Failure::Timeout(limit)))
            }
        }
    }

    /// As [`Self::call`], in a store that was made for it, and without a limit of
    /// time.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn call_in(
        &self,
        mut store: Store<InstanceState>,
        parent: Option<&SpanContext>,
        parameters: P,
    ) -> Result<R, Failure> {
        let span = self.begin(parent);
        store.data().works_for(span.handle());
        let told = store.data().told().cloned();
        let code = self.code.get();
        let called = async {
            let instance = instantiate(&code.pre, &mut store).await?;
            store.data().made();
            let function = instance.get_typed_func::<P, R>(&mut store, &code.function)?;
            function.call_async(&mut store, parameters).await
        };
        let called = Measured::new(told, called).await;
        called.map_err(|error| Failure::of(error, &store)).inspect_err(|error| span.failed(error))
    }

    /// Begins a call.
    fn begin(&self, parent: Option<&SpanContext>) -> Span {
        let (id, telemetry) = (self.context.id(), self.context.app().telemetry());
        if let Some(metrics) = telemetry.metrics() {
            metrics.called(self.trigger, id);
        }
        telemetry.span(SpanKind::Internal, &format_args!("execute_wasm_component {id}"), parent)
    }

    /// Counts a call that failed for this `reason`, one of few words, and logs it
    /// within limits.
    pub fn failed(&self, reason: &str, error: &dyn std::fmt::Display) {
        if let Some(metrics) = self.context.app().telemetry().metrics() {
            metrics.failed(self.context.id(), reason);
        }
        if let Some(suppressed) = self.failures.permit() {
            tracing::error!(component = self.context.id(), suppressed, "{error}");
        }
    }
}

impl<P, T, E> Handler<P, (Result<T, E>,)>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    T: 'static,
    E: std::fmt::Display + 'static,
    (Result<T, E>,): ComponentNamedList + Lift + Send + Sync,
{
    /// Has the guest handle a message that came from `place`; none when it fails or
    /// says that it failed, which is logged.
    ///
    /// Dropping the future stops the guest.
    pub async fn handle(&self, place: &str, parameters: P) -> Option<T> {
        let telemetry = self.context.app().telemetry();
        let span = telemetry.span(SpanKind::Consumer, &format_args!("{place} receive"), None);
        span.text("messaging.system", self.trigger);
        span.text("messaging.operation", "receive");
        match self.call(span.context(), parameters).await {
            Ok((Ok(value),)) => return Some(value),
            Ok((Err(error),)) => {
                let error = format_args!("the guest answered with an error: {error}");
                span.failed(&error);
                self.failed("error", &error);
            }
            Err(failure) => {
                span.failed(&failure);
                self.failed(failure.reason(), &failure);
            }
        }
        None
    }
}

/// A new instance; waits while the pool is full.
async fn instantiate(
    pre: &InstancePre<InstanceState>,
    store: &mut Store<InstanceState>,
) -> wasmtime::Result<Instance> {
    loop {
        match pre.instantiate_async(&mut *store).await {
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                tokio::time::sleep(POOL_POLL).await;
            }
            instantiated => return instantiated,
        }
    }
}

#[cfg(test)]
mod tests;
