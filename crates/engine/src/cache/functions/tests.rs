use std::os::unix::fs::{FileExt as _, PermissionsExt};

use app::Digest;

use super::*;
use crate::{DEFAULT_MAX_BYTES, NativeCode, Tier, compile};

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn cache(&self) -> Cache {
        self.cache_for(Fingerprint::current())
    }

    fn cache_for(&self, fingerprint: &Fingerprint) -> Cache {
        let root = self.folder.path().join("cache");
        Cache::open_for(&root, DEFAULT_MAX_BYTES, fingerprint).unwrap()
    }

    /// Compiles `source` with what the cache has; stores no entry.
    fn compile(&self, source: &[u8]) -> (NativeCode, Reuse) {
        let cache = self.cache();
        let lock = cache.lock(&Digest::of(source), None).unwrap();
        let functions = lock.functions();
        let code = compile(source, Tier::Optimized, Some(&functions)).unwrap();
        (code, functions.keep().unwrap())
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.cache().folder).unwrap();
        files.map(|file| file.unwrap().path()).filter(|path| is_functions(path)).collect()
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.cache().folder).unwrap().count()
    }
}

/// A component of functions that compute with `numbers`, one each.
fn component(numbers: &[i32]) -> Vec<u8> {
    let functions = numbers.iter().map(|number| {
        format!(
            "(func (param i32) (result i32)
               (i32.mul (i32.const {number}) (i32.add (local.get 0) (i32.const {number}))))"
        )
    });
    let functions = functions.collect::<Vec<_>>().concat();
    wat::parse_str(format!("(component (core module {functions}))")).unwrap()
}

fn damage(path: &std::path::Path, change: impl FnOnce(&std::fs::File)) {
    fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    change(fs::OpenOptions::new().write(true).open(path).unwrap().file());
    fs::set_permissions(path, PermissionsExt::from_mode(0o444)).unwrap();
}

#[test]
fn a_component_is_put_together_from_functions_of_another_and_its_code_is_the_same() {
    let fixture = Fixture::new();
    let (_, first) = fixture.compile(&component(&[1, 2, 3]));
    assert_eq!(first.found, 0);
    let source = component(&[2, 9, 3]);
    let (code, second) = fixture.compile(&source);
    assert!(second.found >= 2, "{second:?}");
    assert!((1..first.added).contains(&second.added), "{second:?} after {first:?}");
    assert_eq!(code.image(), compile(&source, Tier::Optimized, None).unwrap().image());
    let (_, third) = fixture.compile(&source);
    assert_eq!(third.added, 0, "{third:?}");
}

#[test]
fn nothing_but_complete_files_of_functions_is_left_behind() {
    let fixture = Fixture::new();
    fixture.compile(&component(&[1]));
    assert_eq!((fixture.segments().len(), fixture.files()), (1, 1));
    let cache = fixture.cache();
    let lock = cache.lock(&Digest::of("given up"), None).unwrap();
    let functions = lock.functions();
    compile(&component(&[2]), Tier::Optimized, Some(&functions)).unwrap();
    drop((functions, lock));
    assert_eq!((fixture.segments().len(), fixture.files()), (1, 1));
}

#[test]
fn every_kind_of_damage_costs_functions_and_changes_no_code() {
    let source = component(&[1, 2, 3]);
    let expected = compile(&source, Tier::Optimized, None).unwrap();
    let size = {
        let fixture = Fixture::new();
        fixture.compile(&source);
        fs::metadata(&fixture.segments()[0]).unwrap().len()
    };
    for offset in [0, size / 2, size - 120, size - 60, size - 20] {
        let fixture = Fixture::new();
        fixture.compile(&source);
        damage(&fixture.segments()[0], |file| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap_or_default();
            file.write_all_at(&[byte[0] ^ 0x55], offset).unwrap();
        });
        let (code, _) = fixture.compile(&source);
        assert_eq!(code.image(), expected.image(), "byte {offset} of {size}");
    }
    for length in [0, 1, size / 2, size - 1] {
        let fixture = Fixture::new();
        fixture.compile(&source);
        damage(&fixture.segments()[0], |file| file.set_len(length).unwrap());
        let (code, reuse) = fixture.compile(&source);
        assert_eq!((code.image(), reuse.found), (expected.image(), 0), "{length} of {size} bytes");
        assert_eq!(fixture.compile(&source).1.added, 0, "a whole file is there again");
    }
}

#[test]
fn files_of_others_and_of_other_builds_are_not_used() {
    let fixture = Fixture::new();
    let source = component(&[1, 2]);
    fixture.compile(&source);
    let segment = fixture.segments().remove(0);
    fs::set_permissions(&segment, PermissionsExt::from_mode(0o464)).unwrap();
    assert_eq!(fixture.compile(&source).1.found, 0);

    let other = fixture.cache_for(&Fingerprint::of("another build"));
    let segment = fixture.segments().remove(0);
    let foreign = other.folder.join(segment.file_name().unwrap());
    fs::rename(&segment, &foreign).unwrap();
    let lock = other.lock(&Digest::of("any"), None).unwrap();
    assert!(lock.functions().known.is_empty());
    assert!(!foreign.exists());
}

#[test]
fn of_many_files_those_used_last_are_searched() {
    let fixture = Fixture::new();
    for number in 0..=MOST_SEGMENTS as i32 {
        fixture.compile(&component(&[number]));
    }
    assert_eq!(fixture.segments().len(), MOST_SEGMENTS + 1);
    let oldest = Digest::of(component(&[0])).to_hex();
    let cache = fixture.cache();
    let past = SystemTime::now() - std::time::Duration::from_secs(10);
    let file = fs::File::open(cache.folder.join(format!("{oldest}.functions"))).unwrap();
    file.file().set_modified(past).unwrap();
    let lock = cache.lock(&Digest::of("any"), None).unwrap();
    let known = lock.functions();
    assert_eq!(known.known.len(), MOST_SEGMENTS);
    assert!(known.known.iter().all(|known| known.path.file_stem().unwrap() != oldest.as_str()));
}
