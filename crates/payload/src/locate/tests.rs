use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::append;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self { folder };
        fs::write(fixture.path("base"), b"\x7fELF carrying program").unwrap();
        fs::set_permissions(fixture.path("base"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(fixture.path("first"), vec![7; 100_000]).unwrap();
        fs::write(fixture.path("second"), b"#!/bin/sh\necho carried\n").unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self) {
        let (first, second) = (self.path("first"), self.path("second"));
        append(
            &self.path("base"),
            &[("first", &first), ("second", &second)],
            &self.path("carrier"),
        )
        .unwrap();
    }

    fn locate(&self, program: &str) -> Result<PathBuf, PayloadError> {
        locate_in(&self.path("carrier"), &self.path("state"), program)
    }
}

#[test]
fn carried_programs_are_unpacked_equal_and_executable() {
    let fixture = Fixture::new();
    fixture.append();
    let first = fixture.locate("first").unwrap();
    assert_eq!(fs::read(&first).unwrap(), vec![7; 100_000]);
    assert!(first.starts_with(fixture.path("state").join("programs")));
    let second = fixture.locate("second").unwrap();
    let output = std::process::Command::new(second).output().unwrap();
    assert_eq!(output.stdout, b"carried\n");
}

#[test]
fn the_carrier_begins_with_the_base_and_keeps_its_permissions() {
    let fixture = Fixture::new();
    fixture.append();
    let carrier = fs::read(fixture.path("carrier")).unwrap();
    assert!(carrier.starts_with(b"\x7fELF carrying program"));
    assert_eq!(fs::metadata(fixture.path("carrier")).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn appending_to_a_carrier_replaces_what_it_carried() {
    let fixture = Fixture::new();
    fixture.append();
    let once = fs::read(fixture.path("carrier")).unwrap();
    fs::rename(fixture.path("carrier"), fixture.path("base")).unwrap();
    fixture.append();
    assert_eq!(fs::read(fixture.path("carrier")).unwrap(), once);
}

#[test]
fn the_second_call_does_not_write() {
    let fixture = Fixture::new();
    fixture.append();
    let path = fixture.locate("first").unwrap();
    let before = fs::metadata(&path).unwrap();
    assert_eq!(fixture.locate("first").unwrap(), path);
    assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
}

#[test]
fn a_truncated_or_replaced_program_is_unpacked_again() {
    let fixture = Fixture::new();
    fixture.append();
    let path = fixture.locate("first").unwrap();
    fs::remove_file(&path).unwrap();
    symlink("/bin/sh", &path).unwrap();
    assert_eq!(fs::read(fixture.locate("first").unwrap()).unwrap().len(), 100_000);
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5).unwrap();
    assert_eq!(fs::read(fixture.locate("first").unwrap()).unwrap().len(), 100_000);
}

#[test]
fn what_a_killed_process_left_is_no_obstacle() {
    let fixture = Fixture::new();
    fixture.append();
    let path = fixture.locate("first").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(path.with_file_name("first.partial"), b"half").unwrap();
    assert_eq!(fs::read(fixture.locate("first").unwrap()).unwrap().len(), 100_000);
    assert!(!path.with_file_name("first.partial").exists());
}

#[test]
fn concurrent_callers_all_get_the_whole_program() {
    let fixture = Fixture::new();
    fixture.append();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let path = fixture.locate("first").unwrap();
                assert_eq!(fs::read(path).unwrap().len(), 100_000);
            });
        }
    });
}

#[test]
fn a_state_directory_that_others_can_write_to_is_refused() {
    let fixture = Fixture::new();
    fixture.append();
    fixture.locate("first").unwrap();
    let programs = fixture.path("state").join("programs");
    fs::set_permissions(&programs, PermissionsExt::from_mode(0o777)).unwrap();
    let error = fixture.locate("first").unwrap_err();
    assert!(matches!(error, PayloadError::UnsafeFolder { path, .. } if path == programs));
}

#[test]
fn damage_is_told_and_nothing_is_left_unpacked() {
    let fixture = Fixture::new();
    fixture.append();
    let mut bytes = fs::read(fixture.path("carrier")).unwrap();
    bytes[50] ^= 1;
    fs::write(fixture.path("carrier"), &bytes).unwrap();
    let error = fixture.locate("first").unwrap_err().to_string();
    assert!(error.contains("digest of a carried program"), "{error}");
    fixture.locate("second").unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(fixture.path("carrier"), &bytes).unwrap();
    let error = fixture.locate("second").unwrap_err().to_string();
    assert!(error.contains("digest of its table"), "{error}");
}

#[test]
fn a_file_that_carries_nothing_falls_back_to_its_own_folder() {
    let fixture = Fixture::new();
    fs::copy(fixture.path("base"), fixture.path("carrier")).unwrap();
    assert_eq!(fixture.locate("first").unwrap(), fixture.path("first"));
    let error = fixture.locate("third").unwrap_err();
    assert!(matches!(error, PayloadError::NotFound { .. }), "{error}");
}

#[test]
fn a_program_that_is_not_carried_is_named() {
    let fixture = Fixture::new();
    fixture.append();
    let error = fixture.locate("third").unwrap_err();
    assert!(error.to_string().contains("\"third\""), "{error}");
}

#[test]
fn names_that_climb_or_repeat_are_refused() {
    let fixture = Fixture::new();
    let first = fixture.path("first");
    for programs in [&[("../x", &*first)][..], &[("a", &*first), ("a", &*first)]] {
        let error = append(&fixture.path("base"), programs, &fixture.path("out")).unwrap_err();
        assert!(matches!(error, PayloadError::Name(_)));
        assert!(!fixture.path("out").exists());
    }
    assert!(matches!(fixture.locate("../first"), Err(PayloadError::Name(_))));
}
