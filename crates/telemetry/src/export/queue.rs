//! What waits to be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prost::Message;
use tokio::sync::mpsc;

/// Items that may wait, as the specification has it by default.
pub(crate) const MOST_ITEMS: usize = 2048;
/// Bytes that they may have together.
pub(crate) const MOST_BYTES: usize = 8 << 20;

/// The end of a queue at which items are put in. Never waits.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: mpsc::Sender<(T, usize)>,
    counts: Arc<Counts>,
}

/// The other end.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    items: mpsc::Receiver<(T, usize)>,
    counts: Arc<Counts>,
}

/// What is known about a queue.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Counts {
    pub(crate) fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// How many items were dropped so far.
    pub(crate) fn total(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A queue for items of at most [`MOST_BYTES`] together.
pub(crate) fn queue<T>() -> (Queue<T>, Waiting<T>) {
    let (sender, receiver) = mpsc::channel(MOST_ITEMS);
    let counts = Arc::<Counts>::default();
    let queue = Queue { items: sender, counts: Arc::clone(&counts) };
    (queue, Waiting { items: receiver, counts })
}

impl<T> Queue<T> {
    /// Puts in an item that encodes as `message` if there is room, and counts it as
    /// dropped otherwise; whether there was.
    pub(crate) fn offer(&self, item: T, size: usize) -> bool {
        let before = self.counts.bytes.fetch_add(size, Ordering::Relaxed);
        let taken = before + size <= MOST_BYTES && self.items.try_send((item, size)).is_ok();
        if !taken {
            self.counts.bytes.fetch_sub(size, Ordering::Relaxed);
            self.counts.dropped(1);
        }
        taken
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

/// The size of a message in a queue.
pub(crate) fn size_of(message: &impl Message) -> usize {
    message.encoded_len()
}

impl<T> Waiting<T> {
    /// The next item; none when nobody can put in any more.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<T> {
        let taken = self.items.recv().await;
        taken.map(|taken| self.taken(taken))
    }

    /// The next item that is there; from now on none is put in.
    pub(crate) fn next_of_rest(&mut self) -> Option<T> {
        self.items.close();
        let taken = self.items.try_recv().ok();
        taken.map(|taken| self.taken(taken))
    }

    fn taken(&self, (item, size): (T, usize)) -> T {
        self.counts.bytes.fetch_sub(size, Ordering::Relaxed);
        item
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_drops_and_counts_and_has_room_again_when_it_is_read() {
        let (queue, mut waiting) = queue();
        let taken = (0..MOST_ITEMS + 10).filter(|&n| queue.offer(n, 1)).count();
        assert_eq!((taken, queue.counts().total()), (MOST_ITEMS, 10));
        assert_eq!(waiting.next().await, Some(0));
        assert!(queue.offer(0, 1));
    }

    #[tokio::test]
    async fn its_bytes_are_bounded_too() {
        let (queue, mut waiting) = queue();
        assert!(queue.offer('a', MOST_BYTES));
        assert!(!queue.offer('b', 1));
        assert_eq!(waiting.next().await, Some('a'));
        assert!(queue.offer('c', MOST_BYTES));
        assert_eq!(waiting.next_of_rest(), Some('c'));
        assert_eq!(waiting.next_of_rest(), None);
        assert!(!queue.offer('d', 1), "it is closed");
    }
}
