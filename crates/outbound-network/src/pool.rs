//! Connections that are kept for the next one who needs them.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::{Keeper, Limit, Share};

/// How long one more than the limit waits for a connection.
pub const WAIT: Duration = Duration::from_secs(30);
/// How long a connection nobody uses is kept.
pub const IDLE_TIME: Duration = Duration::from_mins(1);
/// Connections nobody uses that an app keeps.
pub const IDLE_LIMIT: usize = 64;
/// How long a connection may take to answer or to become as new.
const RESET: Duration = Duration::from_secs(5);

/// A handle of a connection that can serve another user after one is done with
/// it.
pub trait Reusable: Clone + Send + Sync + 'static {
    /// Whether it still is connected.
    fn is_open(&self) -> bool;

    /// Whether the server still answers, where [`Reusable::is_open`] cannot know.
    fn is_alive(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// Makes it as new; whether that was possible.
    fn reset(&self) -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }
}

/// Whose connection to where. Only the same component, with the same address and
/// thereby the same credentials, gets a connection again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The component's id.
    pub component: String,
    /// The address with everything that belongs to it.
    pub address: String,
}

impl fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may have a password.
        f.debug_struct("PoolKey").field("component", &self.component).finish_non_exhaustive()
    }
}

/// The connections of one kind that an app has.
///
/// [`IDLE_LIMIT`] that nobody uses are kept for [`IDLE_TIME`]. Without a
/// connection a pool is an empty map.
pub struct Pool<C> {
    shared: Arc<Shared<C>>,
}

/// No connection.
#[derive(Debug, thiserror::Error)]
pub enum PoolError<E> {
    /// None became free within [`WAIT`], or none is permitted at all.
    #[error("all connections that may be open at a time are in use")]
    Exhausted,
    /// A new one could not be made.
    #[error(transparent)]
    Connect(E),
}

struct Shared<C> {
    per_address: usize,
    limit: Limit,
    addresses: Mutex<Addresses<C>>,
}

struct Addresses<C> {
    by_key: HashMap<PoolKey, Address<C>>,
    /// A task that closes idle connections runs.
    reaped: bool,
}

struct Address<C> {
    free: Arc<Semaphore>,
    /// The most recently used one is the last.
    idle: Vec<Idle<C>>,
}

struct Idle<C> {
    connection: C,
    since: Instant,
    share: Share,
}

impl<C: Reusable> Pool<C> {
    /// A pool without connections. At most `per_address` are in use at a time by
    /// one component to one address, and as many as `limit` says altogether.
    pub fn new(per_address: usize, limit: Limit) -> Self {
        let addresses = Mutex::new(Addresses { by_key: HashMap::new(), reaped: false });
        let shared = Arc::new(Shared { per_address, limit, addresses });
        let keeper: Weak<Shared<C>> = Arc::downgrade(&shared);
        shared.limit.asks(keeper);
        Self { shared }
    }

    /// A connection that was kept for `key`, or the one that `connect` makes.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`] when none is free for [`WAIT`]; what `connect`
    /// says.
    pub async fn lease<E>(
        &self,
        key: PoolKey,
        connect: impl Future<Output = Result<C, E>>,
    ) -> Result<Lease<C>, PoolError<E>> {
        let free = self.shared.free(&key);
        let turn = acquire(free).await.ok_or(PoolError::Exhausted)?;
        while let Some(Idle { connection, share, .. }) = self.shared.take_idle(&key) {
            if timeout(RESET, connection.is_alive()).await == Ok(true) {
                return Ok(self.lent(key, connection, Slot { _turn: turn, share }));
            }
        }
        let share = self.shared.limit.share(WAIT).await.ok_or(PoolError::Exhausted)?;
        let connection = connect.await.map_err(PoolError::Connect)?;
        Ok(self.lent(key, connection, Slot { _turn: turn, share }))
    }

    fn lent(&self, key: PoolKey, connection: C, slot: Slot) -> Lease<C> {
        Lease {
            connection,
            key,
            slot: Some(slot),
            unfinished: AtomicUsize::new(0),
            pool: Arc::downgrade(&self.shared),
        }
    }
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    timeout(WAIT, semaphore.acquire_owned()).await.ok()?.ok()
}

impl<C: Reusable> Shared<C> {
    fn addresses(&self) -> MutexGuard<'_, Addresses<C>> {
        // Nothing under this lock leaves it half done.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, key: &PoolKey) -> Arc<Semaphore> {
        let mut addresses = self.addresses();
        if let Some(address) = addresses.by_key.get(key) {
            return Arc::clone(&address.free);
        }
        let free = Arc::new(Semaphore::new(self.per_address));
        let address = Address { free: Arc::clone(&free), idle: Vec::new() };
        addresses.by_key.insert(key.clone(), address);
        free
    }

    fn take_idle(&self, key: &PoolKey) -> Option<Idle<C>> {
        let mut addresses = self.addresses();
        let idle = &mut addresses.by_key.get_mut(key)?.idle;
        while let Some(candidate) = idle.pop() {
            if candidate.connection.is_open() {
                return Some(candidate);
            }
        }
        None
    }

    /// Keeps a connection, unless somebody waits for its share of the limit.
    fn keep(self: &Arc<Self>, key: &PoolKey, connection: C, slot: Slot) {
        if self.limit.is_contended() || !connection.is_open() {
            return;
        }
        let idle_count: usize =
            self.addresses().by_key.values().map(|address| address.idle.len()).sum();
        if idle_count >= IDLE_LIMIT {
            self.close_idle();
        }
        let mut addresses = self.addresses();
        if let Some(address) = addresses.by_key.get_mut(key) {
            let share = slot.share;
            address.idle.push(Idle { connection, since: Instant::now(), share });
        }
        if !addresses.reaped {
            addresses.reaped = true;
            tokio::spawn(reap(Arc::downgrade(self)));
        }
    }

    /// Closes what was idle for too long and forgets addresses nobody uses;
    /// whether anything is left to be closed later.
    fn close_expired(&self) -> bool {
        let now = Instant::now();
        let mut addresses = self.addresses();
        addresses.by_key.retain(|_, address| {
            address.idle.retain(|idle| {
                idle.connection.is_open() && now.duration_since(idle.since) < IDLE_TIME
            });
            !address.idle.is_empty() || address.free.available_permits() < self.per_address
        });
        addresses.reaped = !addresses.by_key.is_empty();
        addresses.reaped
    }
}

impl<C: Reusable> Keeper for Shared<C> {
    fn close_idle(&self) -> bool {
        let mut addresses = self.addresses();
        let oldest = addresses
            .by_key
            .values_mut()
            .filter(|address| !address.idle.is_empty())
            .min_by_key(|address| address.idle.first().map(|idle| idle.since));
        oldest.is_some_and(|address| {
            address.idle.remove(0);
            true
        })
    }
}

/// Runs while a pool has connections.
async fn reap<C: Reusable>(pool: Weak<Shared<C>>) {
    loop {
        tokio::time::sleep(IDLE_TIME / 4).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_expired()) {
            return;
        }
    }
}

/// What is held while a connection is in use.
struct Slot {
    _turn: OwnedSemaphorePermit,
    share: Share,
}

/// A connection in use. When it is dropped the connection is made as new and
/// kept, or closed if one of the calls over it did not come to its end.
pub struct Lease<C: Reusable> {
    connection: C,
    key: PoolKey,
    /// Given up when this is dropped.
    slot: Option<Slot>,
    unfinished: AtomicUsize,
    pool: Weak<Shared<C>>,
}

/// A call over a connection. Dropped without [`Call::finish`] it takes care that
/// nobody else gets the connection.
#[must_use]
pub struct Call<'a> {
    unfinished: &'a AtomicUsize,
}

impl Call<'_> {
    /// The server answered: the connection is where it was before.
    pub fn finish(self) {
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<C: Reusable> Lease<C> {
    /// A call over this connection begins.
    pub fn call(&self) -> Call<'_> {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        Call { unfinished: &self.unfinished }
    }

    /// The connection is not to be kept.
    pub fn spoil(&self) {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
    }
}

impl<C: Reusable> Deref for Lease<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C: Reusable> Drop for Lease<C> {
    fn drop(&mut self) {
        let reusable = *self.unfinished.get_mut() == 0 && self.connection.is_open();
        if let (true, Some(slot), Some(pool), Ok(runtime)) =
            (reusable, self.slot.take(), self.pool.upgrade(), Handle::try_current())
        {
            let (key, connection) = (self.key.clone(), self.connection.clone());
            runtime.spawn(async move {
                if timeout(RESET, connection.reset()).await == Ok(true) {
                    pool.keep(&key, connection, slot);
                }
            });
        }
    }
}

impl<C: Reusable> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
