use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;

fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    // Straight into the field: the library would refuse the names tested here.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header
}

fn packed(build: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Blob {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    build(&mut builder);
    Blob::from_bytes(builder.into_inner().unwrap().finish().unwrap())
}

fn unpack(blob: &Blob) -> Result<Vec<Vec<u8>>, ArchiveError> {
    let mut files = Vec::new();
    for_each_file(blob, |reader| {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        files.push(bytes);
        Ok(())
    })?;
    Ok(files)
}

fn refusal(kind: EntryType, name: &str) -> String {
    let blob = packed(|builder| {
        builder.append(&header(name, kind, 0), io::empty()).unwrap();
    });
    let error = unpack(&blob).unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error} {}", source.unwrap_or_default())
}

#[test]
fn files_and_folders_are_accepted() {
    let long = format!("{}/file", "long-name/".repeat(20));
    let blob = packed(|builder| {
        builder.append(&header("./", EntryType::Directory, 0), io::empty()).unwrap();
        builder.append(&header("./a", EntryType::Regular, 1), &b"a"[..]).unwrap();
        let mut header = header("x", EntryType::Regular, 2);
        builder.append_data(&mut header, &long, &b"bb"[..]).unwrap();
        builder.append_pax_extensions([("path", &b"fine/c"[..])]).unwrap();
        builder.append(&header, &b"cc"[..]).unwrap();
    });
    assert_eq!(unpack(&blob).unwrap(), [b"a".to_vec(), b"bb".to_vec(), b"cc".to_vec()]);
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [EntryType::Symlink, EntryType::Link] {
        assert!(refusal(kind, "x").contains("is a link"));
    }
    for kind in [EntryType::Fifo, EntryType::Char, EntryType::Block, EntryType::GNUSparse] {
        assert!(refusal(kind, "x").contains("neither a file nor a folder"), "{kind:?}");
    }
}

#[test]
fn names_that_leave_the_root_are_refused() {
    for kind in [EntryType::Regular, EntryType::Directory] {
        assert!(refusal(kind, "../x").contains("climbs out"));
        assert!(refusal(kind, "a/../../x").contains("climbs out"));
        assert!(refusal(kind, "/etc/passwd").contains("absolute"));
    }
    let extended = packed(|builder| {
        builder.append_pax_extensions([("path", &b"../../x"[..])]).unwrap();
    });
    assert!(unpack(&extended).unwrap_err().to_string().contains("climbs out"));
    let long = packed(|builder| {
        let name = b"/abs\0";
        let header = header("././@LongLink", EntryType::GNULongName, name.len() as u64);
        builder.append(&header, &name[..]).unwrap();
    });
    assert!(unpack(&long).unwrap_err().to_string().contains("absolute"));
}

#[test]
fn a_bomb_is_stopped_early() {
    let blob = packed(|builder| {
        let size = limits::RATIO_FREE_BYTES * 4;
        builder
            .append(&header("zeros", EntryType::Regular, size), io::repeat(0).take(size))
            .unwrap();
    });
    assert!(blob.size() < 200_000);
    let mut taken = 0;
    let error = for_each_file(&blob, |reader| {
        taken = io::copy(reader, &mut io::sink())?;
        Ok(())
    })
    .unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("times its size"), "{reason}");
    assert_eq!(taken, 0, "the copy must not have succeeded");
}

#[test]
fn a_huge_name_is_not_read() {
    let size = limits::ARCHIVE_EXTENSION_BYTES + 1;
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let blob = packed(|builder| {
            builder.append(&header("x", kind, size), io::repeat(b'a').take(size)).unwrap();
        });
        let error = unpack(&blob).unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        assert!(reason.contains("bytes of one name"), "{reason}");
    }
}

#[test]
fn a_huge_file_is_refused_by_its_header() {
    let size = limits::FILE_BYTES + 1;
    let mut raw = GzEncoder::new(Vec::new(), Compression::fast());
    raw.write_all(header("x", EntryType::Regular, size).as_bytes()).unwrap();
    let blob = Blob::from_bytes(raw.finish().unwrap());
    let error = unpack(&blob).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("bytes of one file"));
}

#[test]
fn truncated_and_changed_archives_are_refused() {
    let noise: Vec<u8> =
        (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let good = packed(|builder| {
        let header = header("a", EntryType::Regular, noise.len() as u64);
        builder.append(&header, noise.as_slice()).unwrap();
    });
    let bytes = good.read_verified(u64::MAX).unwrap();
    let cut = Blob::from_bytes(&bytes[..bytes.len() / 2]);
    assert!(matches!(unpack(&cut), Err(ArchiveError::Unpack { .. })));
    // Valid, but not what was promised.
    let other = Blob::promised_bytes(Digest::of(b"other"), good.size(), bytes.clone());
    assert!(matches!(unpack(&other), Err(ArchiveError::Blob(BlobError::Digest { .. }))));
    assert!(unpack(&Blob::from_bytes(*b"not gzip at all")).is_err());
    assert_eq!(unpack(&good).unwrap(), [noise]);
}

proptest::proptest! {
    #[test]
    fn a_damaged_archive_never_panics(at in 0..3072_usize, byte: u8, cut in 0..4096_usize) {
        let mut builder = Builder::new(Vec::new());
        builder.append_pax_extensions([("path", &b"fine/c"[..])]).unwrap();
        builder.append(&header("a", EntryType::Regular, 3), &b"abc"[..]).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(cut);
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&bytes).unwrap();
        let _ = unpack(&Blob::from_bytes(packer.finish().unwrap()));
    }
}
