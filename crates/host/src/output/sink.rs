//! One stream of the process, or one file, and the lines that wait for it.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::pipe::Pipe;
use super::{PATIENCE, QUEUE, Writes};

/// One stream of the process, or one file, and the lines that wait for it.
pub(super) struct Sink {
    queue: Mutex<Queue>,
    /// Told when a line was added and when everything is written.
    changed: Condvar,
    /// Told when lines were written.
    space: Notify,
    /// Where the writer writes to, if that is a pipe.
    pipe: Option<Pipe>,
}

#[derive(Default)]
struct Queue {
    /// Lines one behind the other: as many short ones would each cost several times
    /// their length.
    lines: Vec<u8>,
    /// How many bytes are being written.
    writing: usize,
    /// Bytes that were dropped after those lines.
    dropped: usize,
    /// Guests have waited in vain: drop until the writer gets on.
    stalled: bool,
    /// The writer, until its thread is started by the first line.
    writer: Option<(&'static str, Box<dyn Write + Send>)>,
}

impl Queue {
    /// Bytes that are not written yet.
    fn bytes(&self) -> usize {
        self.lines.len() + self.writing
    }

    fn is_written(&self) -> bool {
        self.bytes() == 0 && self.dropped == 0
    }

    /// Puts in the place of what was dropped how much that was.
    fn tell_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let told = format!("{dropped} bytes of output were dropped: nobody read them\n");
            self.lines.extend_from_slice(told.as_bytes());
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    pub(super) fn new(name: &'static str, writer: Box<dyn Write + Send>) -> Arc<Self> {
        Self::beside(None, name, writer)
    }

    /// One whose writer writes to `stream` and keeps nothing back.
    pub(super) fn of_stream<S>(name: &'static str, stream: S) -> Arc<Self>
    where
        S: Write + AsFd + Send + 'static,
    {
        Self::beside(Pipe::of(&stream), name, Box::new(stream))
    }

    fn beside(pipe: Option<Pipe>, name: &'static str, writer: Box<dyn Write + Send>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(Queue { writer: Some((name, writer)), ..Queue::default() }),
            changed: Condvar::new(),
            space: Notify::new(),
            pipe,
        })
    }

    pub(super) fn push(self: &Arc<Self>, lines: &[u8]) {
        let mut queue = lock(&self.queue);
        if queue.stalled && queue.bytes() >= QUEUE {
            queue.dropped += lines.len();
            return;
        }
        // The thread is only there to wait, and to wake it costs many times a write.
        let nothing_waits = queue.is_written();
        if nothing_waits && self.pipe.as_ref().is_some_and(|pipe| pipe.takes(lines)) {
            return;
        }
        queue.tell_dropped();
        queue.lines.extend_from_slice(lines);
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
            if queue.lines.is_empty() {
                queue.tell_dropped();
            }
            while queue.lines.is_empty() {
                self.changed.notify_all();
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let lines = std::mem::take(&mut queue.lines);
            queue.writing = lines.len();
            drop(queue);
            // Nobody is there to be told when the stream itself is gone.
            let _ = writer.write_all(&lines);
            let _ = writer.flush();
            let mut queue = lock(&self.queue);
            queue.writing = 0;
            queue.stalled = false;
            drop(queue);
            self.space.notify_waiters();
        }
    }

    pub(super) fn has_space(&self) -> bool {
        let queue = lock(&self.queue);
        queue.bytes() < QUEUE || queue.stalled
    }

    /// Waits for space; who serves gives up, and lets output be dropped, after
    /// [`PATIENCE`].
    pub(super) async fn space(self: Arc<Self>, writes: Writes) {
        let space = self.until(Self::has_space);
        match writes {
            Writes::Bytes => space.await,
            Writes::Lines => {
                if tokio::time::timeout(PATIENCE, space).await.is_err() {
                    lock(&self.queue).stalled = true;
                }
            }
        }
    }

    /// Waits until everything has been written.
    pub(super) async fn written(&self) {
        self.until(|sink| lock(&sink.queue).is_written()).await;
    }

    /// Waits for what can become true when lines were written.
    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        loop {
            let notified = self.space.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if is_so(self) {
                return;
            }
            notified.await;
        }
    }

    pub(super) fn flush(&self, deadline: Instant) -> bool {
        let mut queue = lock(&self.queue);
        while !queue.is_written() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            queue =
                self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.queue).bytes()
    }
}
