//! Who wants a response.

use telemetry::SpanContext;

use crate::record::Record;

/// Who wants a response.
pub(crate) enum Asker<'a> {
    /// A client, with what is told of its request.
    Client(Option<&'a mut Record>),
    /// A component of the app, for a request at this depth.
    Component { depth: u32, span: Option<SpanContext> },
}

impl Asker<'_> {
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Self::Client(_) => 0,
            Self::Component { depth, .. } => *depth,
        }
    }

    pub(crate) fn span(&self) -> Option<&SpanContext> {
        match self {
            Self::Client(record) => record.as_ref()?.span(),
            Self::Component { span, .. } => span.as_ref(),
        }
    }

    pub(crate) fn matched(&mut self, route: &str, component: &str) {
        if let Self::Client(Some(record)) = self {
            record.matched(route, component);
        }
    }
}
