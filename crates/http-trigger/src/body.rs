//! Bodies of requests and responses, and what hangs on them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::record::Record;

/// A request body that fails when the client pauses for too long.
pub(crate) struct RequestBody {
    incoming: Incoming,
    stall_timeout: Duration,
    /// Runs while a frame is waited for.
    pause: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, stall_timeout: Duration) -> Self {
        Self { incoming, stall_timeout, pause: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        let limit = self.stall_timeout;
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        pause.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Whether a guest failed before it was done with its response.
///
/// Bodies of guests end without an error when their instance is gone. This tells
/// the end of a body from its loss; it must be set before the instance is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken(Arc<AtomicBool>);

impl Broken {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What stops a guest whose response nobody wants any more.
pub(crate) type OnAbandon = Box<dyn FnOnce() + Send>;

/// The body of a response.
///
/// When it is dropped before its end, because the client went away, the guest
/// that writes it is stopped.
pub(crate) struct ResponseBody {
    source: WasiBody,
    /// Taken from `source` already.
    peeked: VecDeque<Frame<Bytes>>,
    on_abandon: Option<OnAbandon>,
    broken: Option<Broken>,
    /// Bytes after which nothing is read any more, whatever the guest writes.
    declared: Option<u64>,
    sent: u64,
    failed: bool,
    ended: bool,
    /// Released when the body is.
    held: Vec<Box<dyn Send>>,
    record: Option<Record>,
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Self::new(Empty::new().map_err(|never| match never {}).boxed_unsync())
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::new(Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
    }

    pub(crate) fn new(source: WasiBody) -> Self {
        Self {
            source,
            peeked: VecDeque::new(),
            on_abandon: None,
            broken: None,
            declared: None,
            sent: 0,
            failed: false,
            ended: false,
            held: Vec::new(),
            record: None,
        }
    }

    /// The body of a guest that has finished: if all of it is there and fits one
    /// frame, its length is known.
    pub(crate) fn of_finished_guest(mut source: WasiBody) -> Self {
        let mut peeked = VecDeque::new();
        let mut failed = false;
        while peeked.len() < 2 {
            match source.frame().now_or_never() {
                Some(Some(Ok(frame))) => peeked.push_back(frame),
                Some(Some(Err(_))) => {
                    failed = true;
                    break;
                }
                Some(None) => match peeked.pop_front().map(Frame::into_data) {
                    None => return Self::empty(),
                    Some(Ok(bytes)) if peeked.is_empty() => return Self::full(bytes),
                    Some(Ok(bytes)) => {
                        peeked.push_front(Frame::data(bytes));
                        break;
                    }
                    Some(Err(trailers)) => {
                        peeked.push_front(trailers);
                        break;
                    }
                },
                None => break,
            }
        }
        let mut body = Self::new(source);
        body.peeked = peeked;
        body.failed = failed;
        body
    }

    /// Calls `stop` if the body is dropped before its end. `declared` is the
    /// length the response declares, if it does.
    pub(crate) fn on_abandon(mut self, declared: Option<u64>, stop: OnAbandon) -> Self {
        self.on_abandon = Some(stop);
        self.declared = declared;
        self
    }

    /// Makes an end of the body an error once `broken` is set.
    pub(crate) fn breaks_with(mut self, broken: Broken) -> Self {
        self.broken = Some(broken);
        self
    }

    /// Keeps `value` until the body is dropped.
    pub(crate) fn hold(&mut self, value: impl Send + 'static) {
        self.held.push(Box::new(value));
    }

    /// Tells of the request when the body is dropped.
    pub(crate) fn tell(&mut self, record: Record) {
        self.record = Some(record);
    }

    /// The response has no body on the wire: it is complete with its head.
    pub(crate) fn not_sent(&mut self) {
        self.ended = true;
    }

    fn is_broken(&self) -> bool {
        self.failed || self.broken.as_ref().is_some_and(Broken::is_set)
    }

    fn is_complete(&self) -> bool {
        self.ended || self.declared.is_some_and(|declared| self.sent >= declared)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.failed {
            return Poll::Ready(Some(Err(Error::HttpProtocolError)));
        }
        let frame = match self.peeked.pop_front() {
            Some(frame) => Some(Ok(frame)),
            None => std::task::ready!(Pin::new(&mut self.source).poll_frame(cx)),
        };
        match &frame {
            None if self.is_broken() => {
                self.failed = true;
                return Poll::Ready(Some(Err(Error::HttpProtocolError)));
            }
            None => self.ended = true,
            Some(Err(_)) => self.failed = true,
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Buf::remaining);
                self.sent = self.sent.saturating_add(length as u64);
                // hyper does not ask again once it knows that this was the end.
                self.ended = self.peeked.is_empty() && self.source.is_end_stream();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.peeked.is_empty() && !self.is_broken() && self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.peeked.is_empty() { self.source.size_hint() } else { SizeHint::default() }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let complete = !self.failed && (self.is_complete() || self.is_end_stream());
        if let Some(stop) = self.on_abandon.take()
            && !complete
        {
            stop();
        }
        // What the request held ends before the request.
        self.held.clear();
        if let Some(record) = self.record.take() {
            record.tell(self.sent, complete);
        }
    }
}
