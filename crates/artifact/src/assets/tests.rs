use std::os::unix::fs::MetadataExt;

use app::LockedApp;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::artifact::FileEntry;
use crate::wasm::WasmKind;

fn entry(path: &str, content: &[u8], archived: bool) -> FileEntry {
    let blob = Blob::from_bytes(content);
    let digest = blob.digest();
    let content = if archived { FileContent::Archived } else { FileContent::Blob(blob) };
    FileEntry { path: path.to_owned(), digest, content }
}

fn artifact(files: Vec<FileEntry>, archives: Vec<Blob>) -> Artifact {
    let content = ComponentContent {
        wasm: Blob::from_bytes(*b"\0asm\x01\0\0\0"),
        kind: WasmKind::Module,
        dependencies: BTreeMap::new(),
        trigger_dependencies: BTreeMap::new(),
        files,
        mounts: Vec::new(),
    };
    Artifact {
        app: LockedApp::default(),
        reference: None,
        image: None,
        components: BTreeMap::from([("main".to_owned(), content)]),
        archives,
    }
}

fn archive(contents: &[&[u8]]) -> Blob {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (number, content) in contents.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, format!("whatever-{number}"), *content).unwrap();
    }
    Blob::from_bytes(builder.into_inner().unwrap().finish().unwrap())
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs_err::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_appear_once_per_content_and_read_only() {
    let root = tempfile::tempdir().unwrap();
    let app = artifact(
        vec![
            entry("a.txt", b"a", false),
            entry("sub/dir/b.txt", b"b", true),
            entry("sub/copy-of-a", b"a", false),
            entry("archived-a", b"a", true),
            entry("empty", b"", true),
        ],
        vec![archive(&[b"unwanted", b"b"]), archive(&[b"", b"b"])],
    );
    let mounts = materialize(&app, "main", root.path()).unwrap();
    let [mount] = mounts.as_slice() else { panic!("one mount") };
    assert_eq!(mount.guest, "/");
    for (path, content) in [
        ("a.txt", "a"),
        ("sub/dir/b.txt", "b"),
        ("sub/copy-of-a", "a"),
        ("archived-a", "a"),
        ("empty", ""),
    ] {
        let file = mount.host.join(path);
        assert_eq!(fs_err::read_to_string(&file).unwrap(), content, "{path}");
        assert_eq!(fs_err::metadata(&file).unwrap().mode() & 0o777, 0o444, "{path}");
    }
    assert_eq!(names(root.path()).len(), 1, "nothing else is left");
    let inode = fs_err::metadata(&mount.host).unwrap().ino();
    assert_eq!(materialize(&app, "main", root.path()).unwrap(), mounts);
    assert_eq!(fs_err::metadata(&mount.host).unwrap().ino(), inode, "it is reused");
}

#[test]
fn reuse_reads_no_content() {
    let root = tempfile::tempdir().unwrap();
    let blob = |place: &Path| Blob::stored(Digest::of(b"x"), 1, place);
    let file = |blob: Blob| FileEntry {
        path: "x".to_owned(),
        digest: blob.digest(),
        content: FileContent::Blob(blob),
    };
    let stored = root.path().join("stored");
    fs_err::write(&stored, b"x").unwrap();
    let assets = root.path().join("assets");
    let first = materialize(&artifact(vec![file(blob(&stored))], Vec::new()), "main", &assets);
    let gone = artifact(vec![file(blob(Path::new("/nowhere")))], Vec::new());
    assert_eq!(materialize(&gone, "main", &assets).unwrap(), first.unwrap());
}

#[test]
fn a_component_without_files_gets_nothing() {
    let root = tempfile::tempdir().unwrap();
    let assets = root.path().join("assets");
    assert!(materialize(&artifact(Vec::new(), Vec::new()), "main", &assets).unwrap().is_empty());
    assert!(!assets.exists());
    let error = materialize(&artifact(Vec::new(), Vec::new()), "nobody", &assets).unwrap_err();
    assert!(matches!(error, AssetsError::NoSuchComponent { .. }));
}

#[test]
fn damaged_missing_and_escaping_files_leave_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let damaged = FileEntry {
        path: "damaged".to_owned(),
        digest: Digest::of(b"good"),
        content: FileContent::Blob(Blob::promised_bytes(Digest::of(b"good"), 4, *b"evil")),
    };
    let error = materialize(&artifact(vec![damaged], Vec::new()), "main", root.path()).unwrap_err();
    assert!(matches!(&error, AssetsError::Blob { path, .. } if path == "damaged"), "{error}");

    let missing = vec![entry("one", b"1", true), entry("two", b"2", true)];
    let app = artifact(missing, vec![archive(&[b"2"])]);
    let error = materialize(&app, "main", root.path()).unwrap_err().to_string();
    assert!(error.contains(&Digest::of(b"1").to_string()), "{error}");
    assert!(!error.contains("two"), "{error}");

    for path in ["../escape", "/abs", "a/../../b"] {
        let app = artifact(vec![entry(path, b"x", false)], Vec::new());
        assert!(matches!(materialize(&app, "main", root.path()), Err(AssetsError::Path(_))));
    }
    let clash = artifact(vec![entry("f", b"1", false), entry("f/g", b"2", false)], Vec::new());
    assert!(matches!(materialize(&clash, "main", root.path()), Err(AssetsError::Write { .. })));
    assert!(names(root.path()).is_empty());
}

#[test]
fn an_archive_that_turns_out_damaged_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let whole = archive(&[&[1; 5000], b"last"]);
    let mut bytes = whole.read_verified(u64::MAX).unwrap();
    // The checksum at the very end: every file was unpacked by then.
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = Blob::promised_bytes(whole.digest(), whole.size(), bytes);
    let app = artifact(vec![entry("x", &[1; 5000], true)], vec![damaged]);
    assert!(matches!(materialize(&app, "main", root.path()), Err(AssetsError::Archive(_))));
    assert!(names(root.path()).is_empty());
}

#[test]
fn many_at_once_agree_on_one_folder() {
    let root = tempfile::tempdir().unwrap();
    let files = (0..50).map(|n| entry(&format!("d{}/f{n}", n % 7), &[n], n % 2 == 0)).collect();
    let contents: Vec<_> = (0..50_u8).map(|n| vec![n]).collect();
    let contents: Vec<_> = contents.iter().map(Vec::as_slice).collect();
    let app = artifact(files, vec![archive(&contents)]);
    let mounts: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| materialize(&app, "main", root.path()).unwrap()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(mounts.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(names(root.path()).len(), 1);
    assert_eq!(fs_err::read(mounts[0][0].host.join("d3/f3")).unwrap(), [3]);
}

#[test]
fn what_a_crash_left_behind_is_removed_when_it_is_old() {
    let root = tempfile::tempdir().unwrap();
    let (old, new) = (root.path().join("incoming-old"), root.path().join("incoming-new"));
    for folder in [&old, &new] {
        fs_err::create_dir_all(folder.join("sub")).unwrap();
    }
    let handle = fs_err::File::open(&old).unwrap();
    handle.file().set_modified(SystemTime::now() - ABANDONED * 2).unwrap();
    let app = artifact(vec![entry("x", b"x", false)], Vec::new());
    materialize(&app, "main", root.path()).unwrap();
    assert!(!old.exists());
    assert!(new.exists(), "somebody may still be writing it");
}
