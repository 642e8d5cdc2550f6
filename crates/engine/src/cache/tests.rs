use std::os::unix::fs::{FileExt as _, PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::*;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("state/cache")
    }

    fn open(&self) -> Cache {
        self.open_with(DEFAULT_MAX_BYTES)
    }

    fn open_with(&self, max_bytes: u64) -> Cache {
        Cache::open(&self.root(), max_bytes).unwrap()
    }
}

fn code(byte: u8) -> NativeCode {
    NativeCode::from_compiler(vec![byte; 10_000])
}

fn digest(name: &str) -> Digest {
    Digest::of(name)
}

fn insert(cache: &Cache, name: &str) -> CompiledCode {
    cache.lock(&digest(name), None).unwrap().insert(&code(1)).unwrap()
}

fn entry(cache: &Cache, name: &str) -> PathBuf {
    cache.folder.join(digest(name).to_hex())
}

/// Opens an entry for writing as only a fault can.
fn damage(path: &Path, change: impl FnOnce(&std::fs::File)) {
    // Change times advance with the kernel's tick only, 10 ms at most.
    thread::sleep(Duration::from_millis(20));
    fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    change(fs::OpenOptions::new().write(true).open(path).unwrap().file());
    fs::set_permissions(path, PermissionsExt::from_mode(0o444)).unwrap();
}

fn names(cache: &Cache) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(&cache.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_inserted_is_found_by_every_cache_on_the_same_folder() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    assert!(cache.lookup(&digest("a")).unwrap().is_none());
    let inserted = insert(&cache, "a");
    assert_eq!(inserted.len(), 10_000);
    let found = fixture.open().lookup(&digest("a")).unwrap().unwrap();
    assert_eq!(found.digest(), &digest("a"));
    assert!(cache.verify(&found).unwrap());
    assert!(cache.lookup(&digest("b")).unwrap().is_none());
}

#[test]
fn an_entry_is_read_only_and_nothing_else_is_left_beside_it() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    insert(&cache, "a");
    let metadata = fs::metadata(entry(&cache, "a")).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o444);
    assert_eq!(fs::metadata(&cache.folder).unwrap().mode() & 0o7777, 0o700);
    let name = digest("a").to_hex();
    assert_eq!(names(&cache), [name.clone(), format!("{name}.seen")]);
}

#[test]
fn another_fingerprint_is_a_miss() {
    let fixture = Fixture::new();
    insert(&fixture.open(), "a");
    let other = Fingerprint::of("another wasmtime");
    let cache = Cache::open_for(&fixture.root(), DEFAULT_MAX_BYTES, &other).unwrap();
    assert!(cache.lookup(&digest("a")).unwrap().is_none());
}

#[test]
fn first_tier_code_never_stands_where_optimized_code_is_looked_for() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    let first_tier = cache.first_tier().unwrap();
    insert(&first_tier, "a");
    assert!(first_tier.lookup(&digest("a")).unwrap().is_some());
    assert!(cache.lookup(&digest("a")).unwrap().is_none());
    insert(&cache, "a");
    assert!(cache.remove_first_tier(&digest("a")).unwrap());
    assert!(!cache.remove_first_tier(&digest("a")).unwrap());
    assert!(first_tier.lookup(&digest("a")).unwrap().is_none());
    assert!(cache.lookup(&digest("a")).unwrap().is_some());

    insert(&first_tier, "b");
    fs::rename(entry(&first_tier, "b"), entry(&cache, "b")).unwrap();
    assert!(cache.lookup(&digest("b")).unwrap().is_none(), "not even when it is put there");
}

#[test]
fn no_first_tier_leaves_no_folder() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    insert(&cache, "a");
    assert!(!cache.remove_first_tier(&digest("a")).unwrap());
    assert_eq!(fs::read_dir(fixture.root()).unwrap().count(), 1);
}

#[test]
fn code_that_is_handed_over_is_checked_like_code_that_is_found() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    insert(&cache, "a");
    let path = fixture.root().join(cache.entry(&digest("a")));
    assert_eq!(path, entry(&cache, "a"));
    let receive = |name: &str| {
        let file = fs::File::open(&path).unwrap().into_file();
        cache.receive(file, &digest(name)).unwrap()
    };
    assert_eq!(receive("a").unwrap().digest(), &digest("a"));
    assert!(receive("b").is_none(), "code of something else");
    let open = fs::File::open(&path).unwrap().into_file();
    cache.remove(&digest("a")).unwrap();
    assert!(cache.receive(open, &digest("a")).unwrap().is_some(), "evicted since it was opened");

    insert(&cache, "a");
    damage(&path, |file| file.write_all_at(b"X", 17).unwrap());
    assert!(receive("a").is_none(), "damaged");
    insert(&cache, "a");
    fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(receive("a").is_none(), "somebody may write to it");
    let unwritten = tempfile::tempfile().unwrap();
    assert!(cache.receive(unwritten, &digest("a")).unwrap().is_none());
}

#[test]
fn an_entry_that_was_moved_to_another_digest_or_fingerprint_is_removed() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    insert(&cache, "a");
    fs::rename(entry(&cache, "a"), entry(&cache, "b")).unwrap();
    assert!(cache.lookup(&digest("b")).unwrap().is_none());
    assert!(!entry(&cache, "b").exists());

    insert(&cache, "a");
    let other = Fingerprint::of("another wasmtime");
    let elsewhere = Cache::open_for(&fixture.root(), DEFAULT_MAX_BYTES, &other).unwrap();
    fs::rename(entry(&cache, "a"), entry(&elsewhere, "a")).unwrap();
    assert!(elsewhere.lookup(&digest("a")).unwrap().is_none());
}

#[test]
fn every_kind_of_damage_is_found_removed_and_a_miss() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    let size = fs::metadata({
        insert(&cache, "a");
        entry(&cache, "a")
    })
    .unwrap()
    .len();
    // In the image, in each field of the trailer, at the very end.
    for offset in [0, 5000, 9_999, 10_000, 10_016, 10_024, 10_056, 10_088, size - 1] {
        insert(&cache, "a");
        damage(&entry(&cache, "a"), |file| {
            let mut byte = [0];
            fs::File::open(entry(&cache, "a"))
                .unwrap()
                .file()
                .read_exact_at(&mut byte, offset)
                .unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
        });
        assert!(cache.lookup(&digest("a")).unwrap().is_none(), "offset {offset}");
        assert!(!entry(&cache, "a").exists(), "offset {offset}");
    }
    for length in [0, 1, 119, 120, 5_000, size - 1, size + 1] {
        insert(&cache, "a");
        damage(&entry(&cache, "a"), |file| file.set_len(length).unwrap());
        assert!(cache.lookup(&digest("a")).unwrap().is_none(), "length {length}");
    }
    insert(&cache, "a");
    assert!(cache.lookup(&digest("a")).unwrap().is_some());
}

#[test]
fn an_entry_is_verified_again_after_a_restart_of_the_machine() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    insert(&cache, "a");
    let seen = entry(&cache, "a").with_extension("seen");
    let mark = fs::read_to_string(&seen).unwrap();
    fs::write(&seen, mark.replace('-', "0")).unwrap();
    assert!(cache.lookup(&digest("a")).unwrap().is_some());
    assert_eq!(fs::read_to_string(&seen).unwrap(), mark);
}

#[test]
fn what_is_not_a_file_of_ours_is_refused() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    insert(&cache, "a");
    let (a, b) = (entry(&cache, "a"), entry(&cache, "b"));
    let refused = |what| {
        assert!(cache.lookup(&digest("b")).unwrap().is_none(), "{what}");
        assert!(fs::symlink_metadata(&b).is_err(), "{what}");
    };
    symlink(&a, &b).unwrap();
    refused("a link");
    fs::hard_link(&a, &b).unwrap();
    refused("a second name");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &b,
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o444),
        0,
    )
    .unwrap();
    refused("a fifo");
    fs::copy(&a, &b).unwrap();
    fs::set_permissions(&b, PermissionsExt::from_mode(0o464)).unwrap();
    refused("a writable file");
    assert!(cache.lookup(&digest("a")).unwrap().is_some());
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    for folder in [fixture.root(), cache.folder.clone()] {
        let mode = fs::metadata(&folder).unwrap().permissions();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o770)).unwrap();
        let error = Cache::open(&fixture.root(), DEFAULT_MAX_BYTES).unwrap_err();
        assert!(matches!(error, CacheError::UnsafeFolder { path, .. } if path == folder));
        fs::set_permissions(&folder, mode).unwrap();
    }
    let moved = fixture.folder.path().join("moved");
    fs::rename(fixture.root(), &moved).unwrap();
    symlink(&moved, fixture.root()).unwrap();
    assert!(Cache::open(&fixture.root(), DEFAULT_MAX_BYTES).is_err());
}

#[test]
fn code_stays_usable_after_its_entry_is_gone() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    let held = insert(&cache, "a");
    cache.remove(&digest("a")).unwrap();
    assert!(cache.lookup(&digest("a")).unwrap().is_none());
    assert!(cache.verify(&held).unwrap());
}

/// Makes an entry appear as last used `seconds` ago.
fn age(cache: &Cache, name: &str, seconds: u64) {
    let used = std::time::SystemTime::now() - Duration::from_secs(seconds);
    let seen = entry(cache, name).with_extension("seen");
    fs::OpenOptions::new().write(true).open(seen).unwrap().file().set_modified(used).unwrap();
}

#[test]
fn the_least_recently_used_entries_are_evicted_first_and_never_the_new_one() {
    let fixture = Fixture::new();
    let one_entry = {
        let cache = fixture.open();
        insert(&cache, "a");
        cache.size().unwrap()
    };
    let cache = fixture.open_with(2 * one_entry);
    insert(&cache, "b");
    age(&cache, "a", 500);
    age(&cache, "b", 400);
    cache.lookup(&digest("a")).unwrap().unwrap();
    insert(&cache, "c");
    assert!(cache.lookup(&digest("a")).unwrap().is_some());
    assert!(cache.lookup(&digest("b")).unwrap().is_none());
    assert!(cache.lookup(&digest("c")).unwrap().is_some());
    assert_eq!(cache.size().unwrap(), 2 * one_entry);

    let tiny = fixture.open_with(1);
    age(&cache, "a", 61);
    insert(&tiny, "d");
    assert!(tiny.lookup(&digest("a")).unwrap().is_none());
    assert!(tiny.lookup(&digest("c")).unwrap().is_some(), "used a moment ago");
    assert!(tiny.lookup(&digest("d")).unwrap().is_some());
}

#[test]
fn entries_of_other_fingerprints_count_and_are_evicted() {
    let fixture = Fixture::new();
    let other = Fingerprint::of("another wasmtime");
    let old = Cache::open_for(&fixture.root(), DEFAULT_MAX_BYTES, &other).unwrap();
    insert(&old, "a");
    age(&old, "a", 100);
    let cache = fixture.open_with(15_000);
    insert(&cache, "a");
    assert!(old.lookup(&digest("a")).unwrap().is_none());
    assert!(cache.lookup(&digest("a")).unwrap().is_some());
}

#[test]
fn functions_are_evicted_before_entries_and_leave_most_of_the_room_to_them() {
    let fixture = Fixture::new();
    let cache = fixture.open_with(40_000);
    insert(&cache, "a");
    age(&cache, "a", 500);
    for (name, seconds) in [("f", 300), ("g", 200)] {
        let path = entry(&cache, name).with_extension("functions");
        fs::write(&path, [0; 8_000]).unwrap();
        let used = std::time::SystemTime::now() - Duration::from_secs(seconds);
        fs::File::open(&path).unwrap().file().set_modified(used).unwrap();
    }
    insert(&cache, "b");
    let left = names(&cache);
    assert!(!left.contains(&format!("{}.functions", digest("f").to_hex())), "{left:?}");
    assert!(left.contains(&format!("{}.functions", digest("g").to_hex())), "{left:?}");
    assert!(cache.lookup(&digest("a")).unwrap().is_some());
}

#[test]
fn what_dead_makers_left_is_swept_and_live_ones_are_left_alone() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    let left = |name: &str, extension| entry(&cache, name).with_extension(extension);
    fs::write(left("dead", "partial"), b"half").unwrap();
    fs::write(left("dead", "lock"), b"").unwrap();
    fs::write(left("unlocked", "partial"), b"half").unwrap();
    fs::write(left("gone", "seen"), b"mark").unwrap();
    fs::write(cache.folder.join("README"), b"not ours").unwrap();
    let live = cache.lock(&digest("live"), None).unwrap();
    fs::write(left("live", "partial"), b"half").unwrap();
    insert(&cache, "a");
    let mut expected = vec![
        "README".to_owned(),
        digest("a").to_hex(),
        format!("{}.seen", digest("a").to_hex()),
        format!("{}.lock", digest("live").to_hex()),
        format!("{}.partial", digest("live").to_hex()),
    ];
    expected.sort();
    assert_eq!(names(&cache), expected);
    live.insert(&code(2)).unwrap();
    assert!(cache.lookup(&digest("live")).unwrap().is_some());
}

#[test]
fn a_lock_has_one_holder_and_a_deadline() {
    let fixture = Fixture::new();
    let cache = fixture.open();
    let held = cache.lock(&digest("a"), None).unwrap();
    let deadline = Some(Instant::now() + Duration::from_millis(50));
    let error = fixture.open().lock(&digest("a"), deadline).unwrap_err();
    assert!(matches!(error, CacheError::Locked { digest: locked } if locked == digest("a")));
    cache.lock(&digest("b"), deadline).unwrap();
    drop(held);
    cache.lock(&digest("a"), Some(Instant::now())).unwrap();
}

#[test]
fn contenders_for_one_lock_never_hold_it_together() {
    let fixture = Fixture::new();
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cache = fixture.open();
                for _ in 0..50 {
                    let _held = cache.lock(&digest("a"), None).unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert!(names(&fixture.open()).is_empty());
}

#[test]
fn concurrent_insertions_lookups_and_removals_never_show_a_broken_entry() {
    let fixture = Fixture::new();
    thread::scope(|scope| {
        for thread in 0..4_u8 {
            let fixture = &fixture;
            scope.spawn(move || {
                let cache = fixture.open();
                for round in 0..60_u8 {
                    let name = format!("{}", (thread + round) % 5);
                    if let Some(found) = cache.lookup(&digest(&name)).unwrap() {
                        assert!(cache.verify(&found).unwrap());
                        cache.remove(&digest(&name)).unwrap();
                    } else {
                        insert(&cache, &name);
                    }
                }
            });
        }
    });
}

#[test]
fn garbage_under_a_valid_trailer_is_refused_by_wasmtime() {
    let fixture = Fixture::new();
    let code = insert(&fixture.open(), "a");
    let engine = crate::new_engine(&crate::RuntimeSettings { pool: None }).unwrap();
    let error = load(&engine, &code).unwrap_err();
    assert!(error.to_string().contains(&digest("a").to_string()));
}

#[cfg(feature = "compile")]
mod compiled {
    use wasmtime::Store;
    use wasmtime::component::{Linker, TypedFunc};

    use super::*;
    use crate::{RuntimeSettings, Tier, compile, new_engine};

    const ADDER: &str = r#"(component
        (core module $m
            (memory (export "memory") 1)
            (data (i32.const 0) "\2a")
            (func (export "add") (param i32) (result i32)
                (i32.add (local.get 0) (i32.load8_u (i32.const 0)))))
        (core instance $i (instantiate $m))
        (func (export "add") (param "n" u32) (result u32)
            (canon lift (core func $i "add"))))"#;

    fn adds(engine: &wasmtime::Engine, code: &CompiledCode) {
        let component = load(engine, code).unwrap();
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1);
        let instance = Linker::new(engine).instantiate(&mut store, &component).unwrap();
        let add: TypedFunc<(u32,), (u32,)> = instance.get_typed_func(&mut store, "add").unwrap();
        assert_eq!(add.call(&mut store, (8,)).unwrap(), (50,));
    }

    #[test]
    fn compiled_code_runs_from_the_cache_with_and_without_a_pool() {
        let fixture = Fixture::new();
        let cache = fixture.open();
        let source = wat::parse_str(ADDER).unwrap();
        let native = compile(&source, Tier::Optimized, None).unwrap();
        let digest = Digest::of(&source);
        let code = cache.lock(&digest, None).unwrap().insert(&native).unwrap();
        adds(&new_engine(&RuntimeSettings::default()).unwrap(), &code);
        adds(&new_engine(&RuntimeSettings { pool: None }).unwrap(), &code);
        cache.remove(&digest).unwrap();
        adds(&new_engine(&RuntimeSettings::default()).unwrap(), &code);
    }

    #[test]
    fn code_of_both_tiers_runs_in_one_engine() {
        let fixture = Fixture::new();
        let optimized = fixture.open();
        let first = optimized.first_tier().unwrap();
        let source = wat::parse_str(ADDER).unwrap();
        let digest = Digest::of(&source);
        let engine = new_engine(&RuntimeSettings::default()).unwrap();
        let mut images = Vec::new();
        for (cache, tier) in [(&first, Tier::First), (&optimized, Tier::Optimized)] {
            let native = compile(&source, tier, None).unwrap();
            images.push(native.image().to_vec());
            adds(&engine, &cache.lock(&digest, None).unwrap().insert(&native).unwrap());
        }
        assert_ne!(images.first(), images.last(), "the tiers differ in nothing");
    }

    #[test]
    fn an_engine_of_another_configuration_refuses_the_code() {
        let fixture = Fixture::new();
        let native = compile(&wat::parse_str(ADDER).unwrap(), Tier::Optimized, None).unwrap();
        let cache = fixture.open();
        let code = cache.lock(&digest("a"), None).unwrap().insert(&native).unwrap();
        load(&wasmtime::Engine::default(), &code).unwrap_err();
    }

    #[test]
    fn what_is_not_a_component_is_refused_with_an_explanation() {
        let error = compile(b"\0asm not really", Tier::Optimized, None).unwrap_err();
        assert!(std::error::Error::source(&error).is_some());
    }
}
