//! What guests write to stdout and stderr, and copies of it in files.
//!
//! Guarantees:
//! - Output goes on in whole lines: lines of instances that run at the same time
//!   never mix. A line longer than [`LONGEST_LINE`] is broken there.
//! - The last line of an instance goes on when the instance ends, however it
//!   ends, with a line break added if it lacks one.
//! - What a program writes, the only instance of its component, goes on byte for
//!   byte instead, and it waits for its reader as any program does.
//! - Guests never block a thread: what a pipe has no room for, and everything for
//!   other streams, a thread of its own writes, one for each stream. While
//!   [`QUEUE`] bytes wait, guests that write wait too; those that serve do so for
//!   [`PATIENCE`] without progress. Then their output is dropped, and how much is
//!   said as soon as writing works.

mod log_files;
mod pipe;
mod sink;

use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use telemetry::{Instance, Stream};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use log_files::LogFiles;
use sink::{Sink, lock};

/// Bytes after which a line is broken.
pub const LONGEST_LINE: usize = 64 * 1024;
/// Bytes that may wait to be written to one stream.
pub const QUEUE: usize = 1024 * 1024;
/// How long a guest waits for a stream that nobody reads.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Where guests' stdout and stderr go. Clones share both streams.
#[derive(Clone)]
pub struct Output {
    stdout: Arc<Sink>,
    stderr: Arc<Sink>,
    files: Option<Arc<LogFiles>>,
}

impl Output {
    /// The standard streams of this process.
    pub fn process() -> Self {
        Self {
            stdout: Sink::of_stream("guest-stdout", std::io::stdout()),
            stderr: Sink::of_stream("guest-stderr", std::io::stderr()),
            files: None,
        }
    }

    /// Any two writers.
    pub fn new(stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self {
            stdout: Sink::new("guest-stdout", stdout),
            stderr: Sink::new("guest-stderr", stderr),
            files: None,
        }
    }

    /// Copies what guests write to files in `folder`, which exists: those of
    /// component `ID` to `ID_stdout.txt` and `ID_stderr.txt`, behind what they have
    /// already. A file is made by the first line for it.
    #[must_use]
    pub fn copied_to(self, folder: PathBuf) -> Self {
        Self { files: Some(Arc::new(LogFiles::new(folder))), ..self }
    }

    /// Waits until everything has been written, at most for `limit`; whether it was.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let files = self.files.as_ref().is_none_or(|files| files.flush(deadline));
        self.stdout.flush(deadline) & self.stderr.flush(deadline) & files
    }

    /// Waits until everything has been written to the streams, however long their
    /// readers take.
    pub async fn written(&self) {
        self.stdout.written().await;
        self.stderr.written().await;
    }

    /// Both streams of an instance of `component`; its lines are `told`, too.
    pub(crate) fn instance(
        &self,
        component: &str,
        writes: Writes,
        told: Option<&Arc<Instance>>,
    ) -> (GuestStream, GuestStream) {
        let stream = |sink: &Arc<Sink>, stream| {
            let copy = self.files.as_ref().map(|files| files.of(component, stream));
            GuestStream(Arc::new(LineBuffer {
                sink: Arc::clone(sink),
                copy,
                writes,
                told: told.map(|told| (Arc::clone(told), stream)),
                partial: Mutex::new(Vec::new()),
            }))
        };
        (stream(&self.stdout, Stream::Stdout), stream(&self.stderr, Stream::Stderr))
    }
}

/// How what an instance writes goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writes {
    /// In whole lines, beside those of other instances; without a reader they are
    /// dropped at last.
    #[default]
    Lines,
    /// Byte for byte; without a reader the instance waits.
    Bytes,
}

/// The unfinished line of one stream of one instance.
struct LineBuffer {
    sink: Arc<Sink>,
    copy: Option<Arc<Sink>>,
    writes: Writes,
    /// Who else is told.
    told: Option<(Arc<Instance>, Stream)>,
    partial: Mutex<Vec<u8>>,
}

impl LineBuffer {
    fn write(&self, mut bytes: &[u8]) {
        if self.writes == Writes::Bytes {
            self.sink.push(bytes);
            if self.told.is_none() && self.copy.is_none() {
                return;
            }
        }
        let mut partial = lock(&self.partial);
        if let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') {
            let (lines, rest) = bytes.split_at(end + 1);
            let mut whole = std::mem::take(&mut *partial);
            whole.extend_from_slice(lines);
            self.push(&whole);
            bytes = rest;
        }
        partial.extend_from_slice(bytes);
        while partial.len() > LONGEST_LINE {
            let rest = partial.split_off(LONGEST_LINE);
            let mut line = std::mem::replace(&mut *partial, rest);
            line.push(b'\n');
            self.push(&line);
        }
    }

    /// Sends whole lines on their way.
    fn push(&self, lines: &[u8]) {
        if let Some((told, stream)) = &self.told {
            told.wrote(*stream, lines);
        }
        if let Some(copy) = &self.copy {
            copy.push(lines);
        }
        if self.writes == Writes::Lines {
            self.sink.push(lines);
        }
    }

    fn has_space(&self) -> bool {
        self.sink.has_space() && self.copy.as_ref().is_none_or(|copy| copy.has_space())
    }

    /// Waits for space wherever lines go.
    async fn space(self: Arc<Self>) {
        if let Some(copy) = &self.copy {
            Arc::clone(copy).space(Writes::Lines).await;
        }
        Arc::clone(&self.sink).space(self.writes).await;
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        let mut line = std::mem::take(&mut *lock(&self.partial));
        if !line.is_empty() {
            line.push(b'\n');
            self.push(&line);
        }
    }
}

/// stdout or stderr of one instance.
#[derive(Clone)]
pub(crate) struct GuestStream(Arc<LineBuffer>);

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(GuestWriter { stream: self.clone(), waiting: None })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {
        Arc::clone(&self.0).space().await;
    }
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.0.has_space() { LONGEST_LINE } else { 0 })
    }
}

/// A [`GuestStream`] for WASI 0.3.
struct GuestWriter {
    stream: GuestStream,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl AsyncWrite for GuestWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        while self.waiting.is_some() || !self.stream.0.has_space() {
            let buffer = Arc::clone(&self.stream.0);
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(buffer.space()));
            std::task::ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
        let bytes = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
        self.stream.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
