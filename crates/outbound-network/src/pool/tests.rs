//! Who gets which connection, and when it is closed.

use std::convert::Infallible;
use std::sync::atomic::AtomicBool;

use super::*;

const PER_ADDRESS: usize = 3;

fn limited(connections: usize) -> Limit {
    Limit::new("test", Some(connections), Arc::default())
}

#[derive(Clone, Default)]
struct Fake {
    closed: Arc<AtomicBool>,
    resets: Arc<AtomicUsize>,
}

impl Reusable for Fake {
    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    async fn reset(&self) -> bool {
        self.resets.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn key(component: &str, address: &str) -> PoolKey {
    PoolKey { component: component.to_owned(), address: address.to_owned() }
}

async fn lease(pool: &Pool<Fake>, key: PoolKey) -> Lease<Fake> {
    pool.lease::<Infallible>(key, async { Ok(Fake::default()) }).await.unwrap()
}

/// Lets the tasks that dropped leases started come to their end.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn same(one: &Fake, other: &Fake) -> bool {
    Arc::ptr_eq(&one.closed, &other.closed)
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_reset_and_kept_for_the_same_component_and_address() {
    let pool = Pool::new(PER_ADDRESS, Limit::unlimited());
    let first = lease(&pool, key("a", "x")).await;
    let connection = first.clone();
    drop(first);
    settle().await;
    assert_eq!(connection.resets.load(Ordering::Relaxed), 1);
    for other in [key("b", "x"), key("a", "y")] {
        assert!(!same(&*lease(&pool, other).await, &connection));
    }
    assert!(same(&*lease(&pool, key("a", "x")).await, &connection));
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_use_is_not_shared() {
    let pool = Pool::new(PER_ADDRESS, Limit::unlimited());
    let first = lease(&pool, key("a", "x")).await;
    assert!(!same(&*lease(&pool, key("a", "x")).await, &first));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_or_was_left_in_a_call_is_not_kept() {
    let pool = Pool::new(PER_ADDRESS, Limit::unlimited());
    let first = lease(&pool, key("a", "x")).await;
    first.call().finish();
    let _ = first.call();
    let connection = first.clone();
    drop(first);
    settle().await;
    let second = lease(&pool, key("a", "x")).await;
    assert!(!same(&second, &connection));
    let connection = second.clone();
    drop(second);
    settle().await;
    connection.closed.store(true, Ordering::Relaxed);
    assert!(!same(&*lease(&pool, key("a", "x")).await, &connection));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_after_a_while_and_addresses_forgotten() {
    let pool = Pool::new(PER_ADDRESS, Limit::unlimited());
    let first = lease(&pool, key("a", "x")).await;
    let connection = first.clone();
    drop(first);
    settle().await;
    tokio::time::sleep(IDLE_TIME * 2).await;
    assert!(pool.shared.addresses().by_key.is_empty());
    assert!(!pool.shared.addresses().reaped);
    assert_eq!(Arc::strong_count(&connection.closed), 1);
}

#[tokio::test(start_paused = true)]
async fn one_more_than_an_address_may_have_waits_and_then_fails() {
    let pool = Pool::new(PER_ADDRESS, Limit::unlimited());
    let mut leases = Vec::new();
    for _ in 0..PER_ADDRESS {
        leases.push(lease(&pool, key("a", "x")).await);
    }
    let refused =
        pool.lease::<Infallible>(key("a", "x"), async { Ok(Fake::default()) }).await.unwrap_err();
    assert!(matches!(refused, PoolError::Exhausted));
    let waiting = lease(&pool, key("a", "x"));
    let (got, ()) = tokio::join!(waiting, async { drop(leases.pop()) });
    assert!(got.is_open());
    lease(&pool, key("a", "other")).await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_pool_counts_all_its_connections() {
    let pool = Pool::new(PER_ADDRESS, limited(2));
    let first = lease(&pool, key("a", "x")).await;
    let idle = first.clone();
    drop(first);
    settle().await;
    let _second = lease(&pool, key("a", "y")).await;
    assert_eq!(Arc::strong_count(&idle.closed), 2, "there is room for the idle one");
    let _third = lease(&pool, key("b", "z")).await;
    assert_eq!(Arc::strong_count(&idle.closed), 1, "the idle one makes room");
    let refused =
        pool.lease::<Infallible>(key("a", "x"), async { Ok(Fake::default()) }).await.unwrap_err();
    assert!(matches!(refused, PoolError::Exhausted));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_idle_connections_is_limited() {
    let pool = Pool::new(PER_ADDRESS, Limit::unlimited());
    for number in 0..IDLE_LIMIT + 5 {
        drop(lease(&pool, key("a", &number.to_string())).await);
        settle().await;
    }
    let kept: usize =
        pool.shared.addresses().by_key.values().map(|address| address.idle.len()).sum();
    assert_eq!(kept, IDLE_LIMIT);
}
