//! How many connections there may be at a time: of one kind, and of all kinds.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long somebody waits before who keeps connections is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Who keeps connections that nobody uses.
pub trait Keeper: Send + Sync {
    /// Closes the one that was idle for the longest time; whether there was one.
    fn close_idle(&self) -> bool;
}

/// Who is told what limits permit. Nobody is told of connections without a limit.
pub trait PermitObserver: Send + Sync {
    /// A connection of this kind is permitted, perhaps after a wait.
    fn permitted(&self, kind: &'static str, waited: bool);

    /// A connection of this kind is not permitted.
    fn refused(&self, kind: &'static str);
}

/// The limit that connections of every kind have in common.
#[derive(Default)]
pub(crate) struct Total {
    free: Option<Free>,
    observer: Option<Arc<dyn PermitObserver>>,
    keepers: Mutex<Vec<Weak<dyn Keeper>>>,
}

/// The limit of one kind of connections, and the one that all kinds have in
/// common.
#[derive(Clone)]
pub struct Limit {
    kind: &'static str,
    own: Option<Arc<Free>>,
    total: Arc<Total>,
}

/// Leave to have one connection; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    _own: Option<OwnedSemaphorePermit>,
    _total: Option<OwnedSemaphorePermit>,
}

/// What is left of a limit.
struct Free {
    permits: Arc<Semaphore>,
    /// Who wait for a permit.
    waiting: AtomicUsize,
}

/// Counts as one who waits.
struct Waiting<'a>(&'a Free);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Free {
    fn new(limit: usize) -> Self {
        let permits = Semaphore::new(limit.min(Semaphore::MAX_PERMITS));
        if limit == 0 {
            // Nobody waits for what never comes.
            permits.close();
        }
        Self { permits: Arc::new(permits), waiting: AtomicUsize::new(0) }
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}

impl Total {
    pub(crate) fn new(limit: Option<usize>, observer: Option<Arc<dyn PermitObserver>>) -> Self {
        Self { free: limit.map(Free::new), observer, keepers: Mutex::default() }
    }

    fn close_idle(&self) {
        // Nothing under this lock leaves it half done.
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for keeper in keepers.iter().filter_map(Weak::upgrade) {
            if keeper.close_idle() {
                return;
            }
        }
    }
}

impl Limit {
    pub(crate) fn new(kind: &'static str, limit: Option<usize>, total: Arc<Total>) -> Self {
        Self { kind, own: limit.map(|limit| Arc::new(Free::new(limit))), total }
    }

    /// No limit at all.
    pub fn unlimited() -> Self {
        Self::new("", None, Arc::default())
    }

    /// Tells whether there is a share, where there is a limit.
    fn tell(&self, share: Option<Share>, waited: bool) -> Option<Share> {
        if let Some(observer) = self.total.observer.as_ref().filter(|_| self.is_limited()) {
            match &share {
                Some(_) => observer.permitted(self.kind, waited),
                None => observer.refused(self.kind),
            }
        }
        share
    }

    /// Whether there is a limit: only then a connection that nobody uses keeps
    /// somebody else from having one.
    pub fn is_limited(&self) -> bool {
        self.own().is_some() || self.all().is_some()
    }

    /// Whether there is a share at this moment.
    pub fn has_room(&self) -> bool {
        let mut limits = self.own().into_iter().chain(self.all());
        limits.all(|free| free.permits.available_permits() > 0)
    }

    /// Whether somebody waits for a share.
    pub fn is_contended(&self) -> bool {
        let mut limits = self.own().into_iter().chain(self.all());
        limits.any(|free| free.waiting.load(Ordering::Relaxed) > 0)
    }

    /// Has `keeper` asked to close what it keeps when somebody waits for a share.
    pub fn asks(&self, keeper: Weak<dyn Keeper>) {
        if self.is_limited() {
            let mut keepers = self.total.keepers.lock().unwrap_or_else(PoisonError::into_inner);
            keepers.retain(|keeper| keeper.strong_count() > 0);
            keepers.push(keeper);
        }
    }

    /// A share, if there is one at this moment.
    fn try_share(&self) -> Option<Share> {
        let take = |free: Option<&Free>| free.map_or(Some(None), |free| free.take().map(Some));
        Some(Share { _own: take(self.own())?, _total: take(self.all())? })
    }

    /// A share, if there is one at this moment or a connection that nobody uses can
    /// be closed for it.
    pub fn share_now(&self) -> Option<Share> {
        let share = self.try_share().or_else(|| {
            self.total.close_idle();
            self.try_share()
        });
        self.tell(share, false)
    }

    /// A share, as soon as there is one within `patience`. None at once where none
    /// is ever permitted.
    ///
    /// Cancel safe.
    pub async fn share(&self, patience: Duration) -> Option<Share> {
        if let Some(share) = self.try_share() {
            return self.tell(Some(share), false);
        }
        let share = timeout(patience, self.wait()).await.unwrap_or_default();
        self.tell(share, true)
    }

    /// The own one first: who waits for that does not keep others from theirs.
    async fn wait(&self) -> Option<Share> {
        let own = self.wait_for(self.own()).await?;
        let total = self.wait_for(self.all()).await?;
        Some(Share { _own: own, _total: total })
    }

    async fn wait_for(&self, free: Option<&Free>) -> Option<Option<OwnedSemaphorePermit>> {
        let Some(free) = free else { return Some(None) };
        if let Some(permit) = free.take() {
            return Some(Some(permit));
        }
        let mut waiting = std::pin::pin!(free.wait());
        loop {
            self.total.close_idle();
            // What is in use now may be idle soon.
            if let Ok(permit) = timeout(ASK_AGAIN, waiting.as_mut()).await {
                return permit.map(Some);
            }
        }
    }

    fn own(&self) -> Option<&Free> {
        self.own.as_deref()
    }

    fn all(&self) -> Option<&Free> {
        self.total.free.as_ref()
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = |free: Option<&Free>| free.map(|free| free.permits.available_permits());
        f.debug_struct("Limit")
            .field("own", &free(self.own()))
            .field("total", &free(self.all()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(10);

    fn limits(total: Option<usize>, own: Option<usize>) -> (Limit, Limit) {
        let total = Arc::new(Total::new(total, None));
        (Limit::new("one", own, Arc::clone(&total)), Limit::new("other", None, total))
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl PermitObserver for Told {
        fn permitted(&self, kind: &'static str, waited: bool) {
            self.0.lock().unwrap().push(format!("{kind} {waited}"));
        }
        fn refused(&self, kind: &'static str) {
            self.0.lock().unwrap().push(format!("no {kind}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_limit_permits_is_told_and_what_has_none_is_not() {
        let told = Arc::new(Told::default());
        let observer: Arc<dyn PermitObserver> = Arc::clone(&told) as _;
        let total = Arc::new(Total::new(None, Some(observer)));
        let limited = Limit::new("one", Some(1), Arc::clone(&total));
        let unlimited = Limit::new("other", None, total);
        let first = limited.share(SHORT).await.unwrap();
        assert!(limited.share_now().is_none() && unlimited.share_now().is_some());
        let (second, ()) = tokio::join!(limited.share(SHORT), async { drop(first) });
        assert!(second.is_some() && limited.share(SHORT).await.is_none());
        assert_eq!(*told.0.lock().unwrap(), ["one false", "no one", "one true", "no one"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_counts_for_its_kind_and_for_all() {
        let (one, other) = limits(Some(2), Some(1));
        let first = one.try_share().unwrap();
        assert!(one.try_share().is_none());
        let second = other.share(SHORT).await.unwrap();
        assert!(other.share(SHORT).await.is_none());
        drop(first);
        let third = other.share(SHORT).await.unwrap();
        assert!(one.share(SHORT).await.is_none());
        drop(second);
        assert!(one.share(SHORT).await.is_some());
        drop(third);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_counted_and_gets_what_is_given_back() {
        let (one, _) = limits(None, Some(1));
        let first = one.try_share().unwrap();
        let (got, ()) = tokio::join!(one.share(SHORT), async {
            assert!(one.is_contended());
            drop(first);
        });
        assert!(got.is_some() && !one.is_contended());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits_and_with_none_everybody_is_refused_at_once() {
        let unlimited = Limit::unlimited();
        assert!(!unlimited.is_limited());
        assert!(unlimited.try_share().is_some());
        for limit in [limits(None, Some(0)).0, limits(Some(0), None).1] {
            let long = Duration::from_hours(1);
            let refused = timeout(SHORT, limit.share(long)).await.unwrap();
            assert!(refused.is_none() && limit.try_share().is_none());
        }
    }

    struct Idle(Mutex<Vec<Share>>, AtomicUsize);

    impl Keeper for Idle {
        fn close_idle(&self) -> bool {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.lock().unwrap().pop().is_some()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_kind_keeps_idle_is_closed_for_who_waits() {
        let (one, other) = limits(Some(1), None);
        let idle = Arc::new(Idle(Mutex::default(), AtomicUsize::new(0)));
        let keeper: Weak<dyn Keeper> = Arc::downgrade(&idle) as _;
        one.asks(keeper);
        idle.0.lock().unwrap().push(one.try_share().unwrap());
        assert!(other.share(SHORT).await.is_some());
        idle.0.lock().unwrap().push(one.try_share().unwrap());
        assert!(other.share_now().is_some());
        assert_eq!(idle.1.load(Ordering::Relaxed), 2);
    }
}
