//! What an instance asks of stores, databases and servers.

use std::fmt::Display;
use std::sync::Arc;

use crate::{Instance, Span, SpanKind};

/// What one instance asks of stores, databases and servers: each call is a span.
/// Costs nothing when traces go nowhere, which is the default.
#[derive(Debug, Clone, Default)]
pub struct Calls(Option<Asker>);

#[derive(Debug, Clone)]
struct Asker {
    instance: Arc<Instance>,
    /// An attribute of the spans: what sort of thing is asked.
    system: (&'static str, &'static str),
}

impl Calls {
    /// Those of `instance`. `system` is an attribute of their spans, such as
    /// `("db.system", "redis")`.
    pub fn of(instance: Option<&Arc<Instance>>, system: (&'static str, &'static str)) -> Self {
        let asker = instance.filter(|instance| instance.is_traced());
        Self(asker.map(|instance| Asker { instance: Arc::clone(instance), system }))
    }

    /// Whether they are spans.
    pub fn are_told(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span, which ends when it is dropped.
    pub fn begin(&self, name: &'static str) -> Span {
        let Some(Asker { instance, system: (key, value) }) = &self.0 else {
            return Span::default();
        };
        let span = instance.begin(SpanKind::Client, &name);
        span.text(key, value);
        span
    }

    /// Makes a call, as a span with this name. What of the error is told is its text.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn call<T, E: Display>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let span = self.begin(name);
        call.await.inspect_err(|error| span.failed(error))
    }
}
