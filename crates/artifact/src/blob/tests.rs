use std::io::Read;

use super::*;

fn every_kind(content: &[u8], digest: Digest, size: u64) -> (tempfile::TempDir, Vec<Blob>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    fs_err::write(&path, content).unwrap();
    let inside = folder.path().join("inside");
    let mut padded = b"before".to_vec();
    padded.extend_from_slice(content);
    fs_err::write(&inside, padded).unwrap();
    let file = Arc::new(fs_err::File::open(&inside).unwrap().into_parts().0);
    let blobs = vec![
        Blob::promised_bytes(digest, size, content.to_vec()),
        Blob::stored(digest, size, &path),
        Blob { digest, size, place: Place::Edited(path) },
        Blob::range(digest, size, file, 6),
    ];
    (folder, blobs)
}

#[test]
fn every_kind_of_blob_gives_its_verified_bytes() {
    let content = vec![7; CHUNK * 2 + 3];
    let (_folder, blobs) = every_kind(&content, Digest::of(&content), content.len() as u64);
    for blob in blobs {
        assert_eq!(blob.read_verified(u64::MAX).unwrap(), content);
        let mut file = blob.open_verified().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, content, "{blob:?}");
        assert_eq!(blob.peek(3).unwrap(), [7; 3]);
    }
}

#[test]
fn other_content_of_the_same_size_is_refused() {
    let (_folder, blobs) = every_kind(b"evil", Digest::of(b"good"), 4);
    for blob in blobs {
        assert!(matches!(blob.read_verified(10), Err(BlobError::Digest { .. })));
        assert!(matches!(blob.open_verified(), Err(BlobError::Digest { .. })));
    }
}

#[test]
fn truncated_content_is_refused() {
    let (_folder, blobs) = every_kind(b"goo", Digest::of(b"good"), 4);
    for blob in blobs {
        assert!(matches!(blob.read_verified(10), Err(BlobError::Size { .. })), "{blob:?}");
        assert!(matches!(blob.open_verified(), Err(BlobError::Size { .. })), "{blob:?}");
    }
}

#[test]
fn a_limit_is_kept_before_anything_is_read() {
    let blob = Blob::stored(Digest::of(b"x"), 11, "/nowhere");
    assert!(matches!(blob.read_verified(10), Err(BlobError::TooLarge { .. })));
}

#[test]
fn a_verified_copy_cannot_be_changed() {
    use std::io::Write as _;
    let blob = Blob::from_bytes(*b"abc");
    let mut file = blob.open_verified().unwrap();
    assert!(file.write_all(b"x").is_err());
    assert!(file.set_len(0).is_err());
}

#[test]
fn an_edited_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wasm");
    fs_err::write(&path, b"one").unwrap();
    let blob = Blob::edited(&path).unwrap();
    assert_eq!(blob.read_verified(3).unwrap(), b"one");
    fs_err::write(&path, b"two").unwrap();
    assert!(matches!(blob.open_verified(), Err(BlobError::Digest { .. })));
}

#[test]
fn an_opened_file_is_read_whatever_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs_err::write(&path, b"abc").unwrap();
    let mut file = fs_err::File::open(&path).unwrap().into_parts().0;
    file.seek(io::SeekFrom::End(0)).unwrap();
    let blob = Blob::opened(file).unwrap();
    assert_eq!(blob.digest(), Digest::of(b"abc"));
    assert_eq!(blob.read_verified(3).unwrap(), b"abc");
}
