use super::*;
use crate::store::{MAX_KEY, MAX_VALUE};

fn in_memory() -> Arc<dyn Store> {
    SqliteStores::new(Location::Memory).store("default")
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[tokio::test]
async fn a_value_is_set_replaced_read_and_forgotten() {
    let store = in_memory();
    assert_eq!(store.get(text("k")).await.unwrap(), None);
    assert!(!store.exists(text("k")).await.unwrap());
    store.set(text("k"), b"one".to_vec()).await.unwrap();
    store.set(text("k"), b"two".to_vec()).await.unwrap();
    assert_eq!(store.get(text("k")).await.unwrap().unwrap(), b"two");
    assert!(store.exists(text("k")).await.unwrap());
    store.delete(text("k")).await.unwrap();
    store.delete(text("k")).await.unwrap();
    assert_eq!(store.get(text("k")).await.unwrap(), None);
}

#[tokio::test]
async fn empty_keys_and_values_and_any_bytes_are_kept() {
    let store = in_memory();
    let bytes: Vec<u8> = (0..=255).collect();
    for (key, value) in [("", vec![]), ("a\0b", bytes.clone()), ("ключ 🗝", bytes)] {
        store.set(text(key), value.clone()).await.unwrap();
        assert_eq!(store.get(text(key)).await.unwrap(), Some(value), "{key:?}");
    }
    let mut keys = store.keys().await.unwrap();
    keys.sort();
    assert_eq!(keys, ["", "a\0b", "ключ 🗝"]);
}

#[tokio::test]
async fn stores_in_one_database_do_not_see_each_other() {
    let stores = SqliteStores::new(Location::Memory);
    let (one, two) = (stores.store("one"), stores.store("two"));
    one.set(text("k"), vec![1]).await.unwrap();
    assert_eq!(two.get(text("k")).await.unwrap(), None);
    assert!(two.keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn many_keys_are_read_written_and_forgotten_at_once() {
    let store = in_memory();
    let entries = vec![(text("a"), vec![1]), (text("b"), vec![2]), (text("a"), vec![3])];
    store.set_many(entries).await.unwrap();
    let read = store.get_many(vec![text("b"), text("x"), text("a")]).await.unwrap();
    let expected = vec![(text("b"), Some(vec![2])), (text("x"), None), (text("a"), Some(vec![3]))];
    assert_eq!(read, expected);
    store.delete_many(vec![text("a"), text("x")]).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), ["b"]);
}

#[tokio::test]
async fn nothing_of_many_is_written_when_one_of_them_is_refused() {
    let store = in_memory();
    let entries = vec![(text("a"), vec![1]), ("x".repeat(MAX_KEY + 1), vec![2])];
    let error = store.set_many(entries).await.unwrap_err();
    assert!(matches!(error, StoreError::KeyTooLong { bytes } if bytes == MAX_KEY + 1));
    assert!(store.keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_and_values_have_a_longest_length() {
    let store = in_memory();
    let longest = "x".repeat(MAX_KEY);
    store.set(longest.clone(), vec![1]).await.unwrap();
    assert!(store.exists(longest.clone()).await.unwrap());
    let too_long = longest + "x";
    for error in [
        store.get(too_long.clone()).await.unwrap_err(),
        store.set(too_long.clone(), vec![]).await.unwrap_err(),
        store.delete(too_long.clone()).await.unwrap_err(),
        store.exists(too_long.clone()).await.unwrap_err(),
        store.increment(too_long.clone(), 1).await.unwrap_err(),
        store.get_many(vec![too_long.clone()]).await.unwrap_err(),
        store.delete_many(vec![too_long.clone()]).await.unwrap_err(),
        store.swap(too_long, None, vec![]).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::KeyTooLong { .. }), "{error}");
    }
    let error = store.set(text("k"), vec![0; MAX_VALUE + 1]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the value of \"k\" has {} bytes, more than {MAX_VALUE}", MAX_VALUE + 1)
    );
}

#[test]
fn what_one_call_returns_has_a_largest_size() {
    let mut size = ResultSize::default();
    size.add(crate::MAX_RESULT).unwrap();
    let error = size.add(1).unwrap_err().to_string();
    // In the words of Spin.
    assert_eq!(error, "query result exceeds limit of 134217728 bytes");
}

#[tokio::test]
async fn numbers_are_kept_as_eight_bytes_little_endian() {
    let store = in_memory();
    assert_eq!(store.increment(text("n"), 5).await.unwrap(), 5);
    assert_eq!(store.increment(text("n"), -7).await.unwrap(), -2);
    let value = store.get(text("n")).await.unwrap().unwrap();
    assert_eq!(value, (-2_i64).to_le_bytes());
}

#[tokio::test]
async fn what_is_not_a_number_or_would_overflow_is_left_alone() {
    let store = in_memory();
    store.set(text("t"), b"text".to_vec()).await.unwrap();
    let error = store.increment(text("t"), 1).await.unwrap_err();
    assert!(matches!(error, StoreError::NotANumber { .. }), "{error}");
    assert_eq!(store.get(text("t")).await.unwrap().unwrap(), b"text");
    store.increment(text("n"), i64::MAX).await.unwrap();
    let error = store.increment(text("n"), 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Overflow { .. }), "{error}");
    assert_eq!(store.increment(text("n"), 0).await.unwrap(), i64::MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_increment_is_lost_between_tasks_and_between_processes() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("x.db"));
    // Two databases on one file behave as two processes do.
    let stores: Vec<_> =
        (0..2).map(|_| SqliteStores::new(location.clone()).store("default")).collect();
    let tasks: Vec<_> = (0..8)
        .map(|task: usize| {
            let store = Arc::clone(&stores[task % 2]);
            tokio::spawn(async move {
                for _ in 0..10 {
                    store.increment(text("n"), 1).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(stores[0].increment(text("n"), 0).await.unwrap(), 80);
}

#[tokio::test]
async fn a_swap_is_done_only_when_the_value_is_the_expected_one() {
    let store = in_memory();
    let swap = |expected: Option<&[u8]>, value: &[u8]| {
        store.swap(text("k"), expected.map(<[u8]>::to_vec), value.to_vec())
    };
    assert_eq!(swap(None, b"a").await.unwrap(), Swap::Done);
    assert_eq!(swap(None, b"b").await.unwrap(), Swap::Changed(Some(b"a".to_vec())));
    assert_eq!(swap(Some(b"x"), b"b").await.unwrap(), Swap::Changed(Some(b"a".to_vec())));
    assert_eq!(swap(Some(b"a"), b"b").await.unwrap(), Swap::Done);
    store.delete(text("k")).await.unwrap();
    assert_eq!(swap(Some(b"b"), b"c").await.unwrap(), Swap::Changed(None));
}

#[tokio::test]
async fn data_in_a_file_outlives_the_store_and_is_in_the_table_of_spin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/sqlite_key_value.db");
    let store = SqliteStores::new(Location::File(path.clone())).store("default");
    assert!(!path.exists());
    store.set(text("k"), b"v".to_vec()).await.unwrap();
    drop(store);
    let again = SqliteStores::new(Location::File(path.clone())).store("default");
    assert_eq!(again.get(text("k")).await.unwrap().unwrap(), b"v");
    let found: Vec<u8> = Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT value FROM spin_key_value WHERE store = 'default' AND key = 'k'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(found, b"v");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_named_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("blocked");
    fs_err::write(&blocked, "").unwrap();
    let store = SqliteStores::new(Location::File(blocked.join("x.db"))).store("default");
    let error = store.get(text("k")).await.unwrap_err();
    assert!(error.chain().contains("blocked/x.db"), "{}", error.chain());
    fs_err::remove_file(&blocked).unwrap();
    assert_eq!(store.get(text("k")).await.unwrap(), None);
}
