//! Which span something belongs to, and how that travels with requests.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The longest `tracestate` that is passed on, as the specification has it.
const LONGEST_STATE: usize = 512;
/// The length of version 0 of `traceparent`.
const LENGTH: usize = 55;

/// A span by its ids. Travels as W3C Trace Context, level 1
/// (<https://www.w3.org/TR/trace-context-1/>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace it is in.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// Whether it is recorded.
    pub sampled: bool,
    /// The value of `tracestate`: what other systems for tracing add.
    pub state: Option<Arc<str>>,
}

impl SpanContext {
    /// A new span: in the trace of `parent`, or in a new trace.
    pub(crate) fn child_of(parent: Option<&Self>) -> Self {
        let trace_id = match parent {
            Some(parent) => parent.trace_id,
            None => fastrand::u128(1..).to_be_bytes(),
        };
        Self {
            trace_id,
            span_id: fastrand::u64(1..).to_be_bytes(),
            sampled: parent.is_some_and(|parent| parent.sampled),
            state: parent.and_then(|parent| parent.state.clone()),
        }
    }

    /// The span that a request was sent from; none when its headers name none, or
    /// not as they should.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?;
        if parents.next().is_some() {
            return None;
        }
        let mut context = Self::parse(parent.as_bytes())?;
        let states: Vec<&str> =
            headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
        let state = states.join(",");
        context.state = Some(state)
            .filter(|state| !state.is_empty() && state.len() <= LONGEST_STATE)
            .map(Arc::from);
        Some(context)
    }

    /// Reads a `traceparent`. Higher versions may be longer and begin alike.
    fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = head.split(|&byte| byte == b'-');
        let [version] = hex(parts.next()?)?;
        let trace_id = hex(parts.next()?)?;
        let span_id = hex(parts.next()?)?;
        let [flags] = hex(parts.next()?)?;
        let ends_well = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|&byte| byte == b'-'),
        };
        let is_valid = ends_well && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, sampled: flags & 1 == 1, state: None })
    }

    /// Says in the headers of a request that it is sent from this span.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.traceparent()) {
            headers.insert(TRACEPARENT, value);
        }
        match self.state.as_deref().map(HeaderValue::from_str) {
            Some(Ok(state)) => drop(headers.insert(TRACESTATE, state)),
            _ => drop(headers.remove(TRACESTATE)),
        }
    }

    fn traceparent(&self) -> String {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(self.sampled))
    }
}

/// Bytes written as lower-case digits.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks(2)) {
        let [high, low] = digits else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(pairs: &[(HeaderName, &str)]) -> Option<SpanContext> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        SpanContext::of_headers(&headers)
    }

    #[test]
    fn what_comes_in_goes_out_again() {
        let context = of(&[(TRACEPARENT, GOOD), (TRACESTATE, "a=1"), (TRACESTATE, "b=2")]).unwrap();
        assert!(context.sampled);
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("of=another"));
        context.put_into(&mut headers);
        assert_eq!(headers[TRACEPARENT], GOOD);
        assert_eq!(headers[TRACESTATE], "a=1,b=2");
        let child = SpanContext::child_of(Some(&context));
        assert_eq!((child.trace_id, child.sampled), (context.trace_id, true));
        assert_eq!(child.state, context.state);
        assert_ne!(child.span_id, context.span_id);
    }

    #[test]
    fn only_what_the_specification_has_is_understood() {
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00 0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 01",
        ] {
            assert_eq!(of(&[(TRACEPARENT, wrong)]), None, "{wrong}");
        }
        assert_eq!(of(&[(TRACEPARENT, GOOD), (TRACEPARENT, GOOD)]), None);
        let future = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02-more";
        assert!(!of(&[(TRACEPARENT, future)]).unwrap().sampled);
    }

    #[test]
    fn a_state_that_is_too_long_is_not_passed_on() {
        let long = format!("a={}", "x".repeat(LONGEST_STATE));
        let context = of(&[(TRACEPARENT, GOOD), (TRACESTATE, &long)]).unwrap();
        assert_eq!(context.state, None);
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("of=another"));
        context.put_into(&mut headers);
        assert!(!headers.contains_key(TRACESTATE));
    }
}
