use super::atomics::{Host as _, HostCas};
use super::batch::Host as _;
use super::store::HostBucket;
use super::*;
use crate::tests::instance;

async fn opened() -> (InstanceStores, u32) {
    let mut stores = instance();
    let bucket = store::Host::open(&mut stores, "default".into()).await.unwrap().unwrap();
    (stores, bucket.rep())
}

fn bucket(rep: u32) -> Resource<OpenStore> {
    Resource::new_borrow(rep)
}

fn key() -> String {
    "k".to_owned()
}

#[tokio::test]
async fn a_value_is_found_until_it_is_deleted() {
    let (mut stores, rep) = opened().await;
    assert_eq!(stores.get(bucket(rep), key()).await.unwrap().unwrap(), None);
    stores.set(bucket(rep), key(), vec![7]).await.unwrap().unwrap();
    assert_eq!(stores.get(bucket(rep), key()).await.unwrap().unwrap(), Some(vec![7]));
    assert!(stores.exists(bucket(rep), key()).await.unwrap().unwrap());
    stores.delete(bucket(rep), key()).await.unwrap().unwrap();
    assert!(!stores.exists(bucket(rep), key()).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_store_that_is_not_declared_is_denied() {
    let denied = store::Host::open(&mut instance(), "other".into()).await.unwrap();
    assert!(matches!(denied, Err(Error::AccessDenied)));
}

#[tokio::test]
async fn the_257th_bucket_is_refused_with_the_limit() {
    let (mut stores, _) = opened().await;
    for _ in 1..MAX_OPEN {
        store::Host::open(&mut stores, "default".into()).await.unwrap().unwrap();
    }
    let full = store::Host::open(&mut stores, "default".into()).await.unwrap();
    assert!(matches!(full, Err(Error::Other(text)) if text.contains("256")));
}

#[tokio::test]
async fn all_keys_are_listed_at_once_and_a_cursor_is_an_error() {
    let (mut stores, rep) = opened().await;
    stores.set(bucket(rep), key(), vec![]).await.unwrap().unwrap();
    let listed = stores.list_keys(bucket(rep), None).await.unwrap().unwrap();
    assert_eq!((listed.keys, listed.cursor), (vec![key()], None));
    let error = stores.list_keys(bucket(rep), Some("1".into())).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Other(text) if text == "list_keys: cursor not supported"));
}

#[tokio::test]
async fn increments_add_up() {
    let (mut stores, rep) = opened().await;
    assert_eq!(stores.increment(bucket(rep), key(), 3).await.unwrap().unwrap(), 3);
    assert_eq!(stores.increment(bucket(rep), key(), -5).await.unwrap().unwrap(), -2);
    stores.set(bucket(rep), key(), b"text".to_vec()).await.unwrap().unwrap();
    let error = stores.increment(bucket(rep), key(), 1).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Other(text) if text.contains("not a number")));
}

#[tokio::test]
async fn a_swap_that_lost_can_go_on_from_the_value_that_won() {
    let (mut stores, rep) = opened().await;
    let first = HostCas::new(&mut stores, bucket(rep), key()).await.unwrap().unwrap();
    let second = HostCas::new(&mut stores, bucket(rep), key()).await.unwrap().unwrap();
    assert_eq!(stores.current(Resource::new_borrow(first.rep())).await.unwrap().unwrap(), None);
    atomics::Host::swap(&mut stores, first, b"1".to_vec()).await.unwrap().unwrap();
    let lost = atomics::Host::swap(&mut stores, second, b"2".to_vec()).await.unwrap();
    let Err(CasError::CasFailed(next)) = lost else { panic!("{lost:?}") };
    let current = stores.current(Resource::new_borrow(next.rep())).await.unwrap().unwrap();
    assert_eq!(current.unwrap(), b"1");
    atomics::Host::swap(&mut stores, next, b"3".to_vec()).await.unwrap().unwrap();
    assert_eq!(stores.get(bucket(rep), key()).await.unwrap().unwrap().unwrap(), b"3");
}

#[tokio::test]
async fn a_swap_counts_from_the_value_that_was_looked_at_last() {
    let (mut stores, rep) = opened().await;
    let cas = HostCas::new(&mut stores, bucket(rep), key()).await.unwrap().unwrap();
    stores.set(bucket(rep), key(), b"1".to_vec()).await.unwrap().unwrap();
    let current = stores.current(Resource::new_borrow(cas.rep())).await.unwrap().unwrap();
    assert_eq!(current.unwrap(), b"1");
    atomics::Host::swap(&mut stores, cas, b"2".to_vec()).await.unwrap().unwrap();
}

#[tokio::test]
async fn swaps_that_have_begun_are_limited_and_end() {
    let (mut stores, rep) = opened().await;
    let mut begun = Vec::new();
    for _ in 0..MAX_OPEN {
        begun.push(HostCas::new(&mut stores, bucket(rep), key()).await.unwrap().unwrap());
    }
    let refused = HostCas::new(&mut stores, bucket(rep), key()).await.unwrap();
    assert!(matches!(refused, Err(Error::Other(text)) if text.contains("256")));
    HostCas::drop(&mut stores, begun.pop().unwrap()).await.unwrap();
    HostCas::new(&mut stores, bucket(rep), key()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_value_that_is_too_long_fails_a_swap_as_an_error_of_the_store() {
    let (mut stores, rep) = opened().await;
    let cas = HostCas::new(&mut stores, bucket(rep), key()).await.unwrap().unwrap();
    let value = vec![0; crate::MAX_VALUE + 1];
    let error = atomics::Host::swap(&mut stores, cas, value).await.unwrap().unwrap_err();
    assert!(matches!(error, CasError::StoreError(Error::Other(_))), "{error:?}");
}

#[tokio::test]
async fn batches_work_on_many_keys() {
    let (mut stores, rep) = opened().await;
    let entries = vec![("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])];
    stores.set_many(bucket(rep), entries).await.unwrap().unwrap();
    let keys = || vec!["b".to_owned(), "x".to_owned()];
    let read = stores.get_many(bucket(rep), keys()).await.unwrap().unwrap();
    assert_eq!(read, [("b".to_owned(), Some(vec![2])), ("x".to_owned(), None)]);
    stores.delete_many(bucket(rep), keys()).await.unwrap().unwrap();
    assert_eq!(stores.list_keys(bucket(rep), None).await.unwrap().unwrap().keys, ["a"]);
}
