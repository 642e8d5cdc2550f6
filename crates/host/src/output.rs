//! What guests write to stdout and stderr.
//!
//! Guarantees:
//! - Output goes on in whole lines: lines of instances that run at the same time
//!   never mix. A line longer than [`LONGEST_LINE`] is broken there.
//! - The last line of an instance goes on when the instance ends, however it
//!   ends, with a line break added if it lacks one.
//! - Guests never block a thread: a thread of its own writes each stream. While
//!   [`QUEUE`] bytes wait, guests that write wait too; after [`PATIENCE`] without
//!   progress, output is dropped, and how much is said as soon as writing works.

use std::collections::VecDeque;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use telemetry::{Instance, Stream};
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

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
}

impl Output {
    /// The standard streams of this process.
    pub fn process() -> Self {
        Self::new(Box::new(std::io::stdout()), Box::new(std::io::stderr()))
    }

    /// Any two writers.
    pub fn new(stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self {
            stdout: Sink::new("guest-stdout", stdout),
            stderr: Sink::new("guest-stderr", stderr),
        }
    }

    /// Waits until everything has been written, at most for `limit`; whether it was.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.stdout.flush(deadline) & self.stderr.flush(deadline)
    }

    /// Both streams of one instance; its lines are `told`, too.
    pub(crate) fn instance(&self, told: Option<&Arc<Instance>>) -> (GuestStream, GuestStream) {
        let stream = |sink: &Arc<Sink>, stream| {
            GuestStream(Arc::new(LineBuffer {
                sink: Arc::clone(sink),
                told: told.map(|told| (Arc::clone(told), stream)),
                partial: Mutex::new(Vec::new()),
            }))
        };
        (stream(&self.stdout, Stream::Stdout), stream(&self.stderr, Stream::Stderr))
    }
}

/// One stream of the process and the lines that wait for it.
struct Sink {
    queue: Mutex<Queue>,
    /// Told when a line was added and when everything is written.
    changed: Condvar,
    /// Told when lines were taken.
    space: Notify,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: usize,
    /// Guests have waited in vain: drop until the writer gets on.
    stalled: bool,
    writing: bool,
    /// The writer, until its thread is started by the first line.
    writer: Option<(&'static str, Box<dyn Write + Send>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    fn new(name: &'static str, writer: Box<dyn Write + Send>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue { writer: Some((name, writer)), ..Queue::default() }),
            changed: Condvar::new(),
            space: Notify::new(),
        })
    }

    fn push(self: &Arc<Self>, line: Vec<u8>) {
        let mut queue = lock(&self.queue);
        if queue.stalled && queue.bytes >= QUEUE {
            queue.dropped += line.len();
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        if let Some((name, writer)) = queue.writer.take() {
            let sink = Arc::clone(self);
            let started = std::thread::Builder::new()
                .name(name.to_owned())
                .stack_size(64 * 1024)
                .spawn(move || sink.write_all(writer));
            if let Err(error) = started {
                tracing::error!(%error, "cannot start the thread that writes {name}");
            }
        }
        drop(queue);
        self.changed.notify_all();
    }

    /// The writer thread; lives as long as the process.
    fn write_all(&self, mut writer: Box<dyn Write + Send>) {
        loop {
            let mut queue = lock(&self.queue);
            queue.writing = false;
            while queue.lines.is_empty() {
                self.changed.notify_all();
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let lines = std::mem::take(&mut queue.lines);
            let dropped = std::mem::take(&mut queue.dropped);
            queue.writing = true;
            drop(queue);
            let written = lines.iter().map(Vec::len).sum::<usize>();
            // Nobody is there to be told when the stream itself is gone.
            for line in lines {
                let _ = writer.write_all(&line);
            }
            if dropped > 0 {
                let _ =
                    writeln!(writer, "{dropped} bytes of output were dropped: nobody read them");
            }
            let _ = writer.flush();
            let mut queue = lock(&self.queue);
            queue.bytes -= written;
            queue.stalled = false;
            drop(queue);
            self.space.notify_waiters();
        }
    }

    fn has_space(&self) -> bool {
        let queue = lock(&self.queue);
        queue.bytes < QUEUE || queue.stalled
    }

    /// Waits for space; gives up, and lets output be dropped, after [`PATIENCE`].
    async fn space(self: Arc<Self>) {
        let notified = self.space.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if self.has_space() {
            return;
        }
        if tokio::time::timeout(PATIENCE, notified).await.is_err() {
            lock(&self.queue).stalled = true;
        }
    }

    fn flush(&self, deadline: Instant) -> bool {
        let mut queue = lock(&self.queue);
        while !queue.lines.is_empty() || queue.writing {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            queue =
                self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The unfinished line of one stream of one instance.
struct LineBuffer {
    sink: Arc<Sink>,
    /// Who else is told.
    told: Option<(Arc<Instance>, Stream)>,
    partial: Mutex<Vec<u8>>,
}

impl LineBuffer {
    fn write(&self, mut bytes: &[u8]) {
        let mut partial = lock(&self.partial);
        if let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') {
            let (lines, rest) = bytes.split_at(end + 1);
            let mut whole = std::mem::take(&mut *partial);
            whole.extend_from_slice(lines);
            self.push(whole);
            bytes = rest;
        }
        partial.extend_from_slice(bytes);
        while partial.len() > LONGEST_LINE {
            let rest = partial.split_off(LONGEST_LINE);
            let mut line = std::mem::replace(&mut *partial, rest);
            line.push(b'\n');
            self.push(line);
        }
    }

    /// Sends whole lines on their way.
    fn push(&self, lines: Vec<u8>) {
        if let Some((told, stream)) = &self.told {
            told.wrote(*stream, &lines);
        }
        self.sink.push(lines);
    }
}

impl Drop for LineBuffer {
    fn drop(&mut self) {
        let mut line = std::mem::take(&mut *lock(&self.partial));
        if !line.is_empty() {
            line.push(b'\n');
            self.push(line);
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
        Arc::clone(&self.0.sink).space().await;
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
        Ok(if self.0.sink.has_space() { LONGEST_LINE } else { 0 })
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
        while self.waiting.is_some() || !self.stream.0.sink.has_space() {
            let sink = Arc::clone(&self.stream.0.sink);
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sink.space()));
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
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(lock(&self.0).clone()).unwrap()
        }
    }

    fn output() -> (Output, Shared, Shared) {
        let (out, err) = (Shared::default(), Shared::default());
        (Output::new(Box::new(out.clone()), Box::new(err.clone())), out, err)
    }

    #[test]
    fn lines_of_two_instances_do_not_mix() {
        let (output, out, err) = output();
        let (one, one_err) = output.instance(None);
        let (two, _) = output.instance(None);
        one.0.write(b"a");
        two.0.write(b"b\nc");
        one.0.write(b"a\n");
        one_err.0.write(b"oops");
        drop((one, one_err, two));
        assert!(output.flush(Duration::from_secs(5)));
        assert_eq!(out.text(), "b\naa\nc\n");
        assert_eq!(err.text(), "oops\n");
    }

    #[test]
    fn a_very_long_line_is_broken() {
        let (output, out, _) = output();
        let (one, _) = output.instance(None);
        one.0.write(&vec![b'x'; LONGEST_LINE + 1]);
        drop(one);
        assert!(output.flush(Duration::from_secs(5)));
        let lengths: Vec<_> = out.text().lines().map(str::len).collect();
        assert_eq!(lengths, [LONGEST_LINE, 1]);
    }

    /// A writer that waits until it is let go.
    struct Blocked(std::sync::mpsc::Receiver<()>, Shared);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // Ends for good when the other side is gone.
            let _ = self.0.recv();
            self.1.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn output_that_nobody_reads_is_bounded_and_counted() {
        let (let_go, gate) = std::sync::mpsc::channel();
        let shared = Shared::default();
        let blocked = Blocked(gate, shared.clone());
        let output = Output::new(Box::new(blocked), Box::new(std::io::sink()));
        let (mut guest, _) = output.instance(None);
        let line = Bytes::from([vec![b'x'; 1023], vec![b'\n']].concat());
        for _ in 0..4096 {
            guest.ready().await;
            guest.write(line.clone()).unwrap();
        }
        assert!(lock(&guest.0.sink.queue).bytes <= QUEUE);
        assert!(!output.flush(Duration::ZERO));
        drop(let_go);
        assert!(output.flush(Duration::from_secs(5)));
        guest.write(line).unwrap();
        assert!(output.flush(Duration::from_secs(5)));
        // The writer may have reported some before it got stuck.
        let dropped = shared
            .text()
            .lines()
            .filter_map(|line| {
                line.split_once(" bytes of output were dropped")?.0.parse::<usize>().ok()
            })
            .sum::<usize>();
        assert_eq!(dropped, 3 * QUEUE);
    }
}
