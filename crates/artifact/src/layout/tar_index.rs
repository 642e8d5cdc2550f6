//! Where the blobs are in a tar file of an image layout.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Component, Path};

use app::Digest;

use super::LayoutError;
use crate::limits;

/// A part of a tar file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Blobs by digest.
pub(super) type Blobs = BTreeMap<Digest, Range>;

/// What a tar file of a layout holds.
pub(super) struct Contents {
    /// The bytes of `index.json`.
    pub(super) index: Vec<u8>,
    pub(super) blobs: Blobs,
}

/// Reads the headers of the tar file, skipping the content of its blobs.
pub(super) fn read(file: &File, path: &Path) -> Result<Contents, LayoutError> {
    let failed = |source| LayoutError::Io { attempt: "read", path: path.to_owned(), source };
    let not_layout = |reason| LayoutError::NotLayout { path: path.to_owned(), reason };
    let mut magic = [0; 2];
    let mut start = file.try_clone().map_err(failed)?;
    start.rewind().map_err(failed)?;
    if start.read(&mut magic).map_err(failed)? == 2 && magic == [0x1f, 0x8b] {
        return Err(not_layout("it is compressed; unpack it with gunzip first"));
    }
    start.rewind().map_err(failed)?;
    let mut archive = tar::Archive::new(BufReader::new(start));
    let mut index = None;
    let mut blobs = Blobs::new();
    let mut met = 0;
    // Raw: names of blobs are short, and long names could be of any length.
    for entry in archive.entries_with_seek().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        met += 1;
        if met > limits::LAYOUT_ENTRIES {
            return Err(not_layout("it has too many entries"));
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path_bytes().into_owned();
        match name_of(&name).as_deref() {
            Some("index.json") => {
                let mut bytes = Vec::new();
                entry
                    .by_ref()
                    .take(limits::MANIFEST_BYTES + 1)
                    .read_to_end(&mut bytes)
                    .map_err(failed)?;
                index = Some(bytes);
            }
            Some(name) => {
                let digest = name
                    .strip_prefix("blobs/sha256/")
                    .and_then(|hex| format!("sha256:{hex}").parse().ok());
                if let Some(digest) = digest {
                    let range = Range { offset: entry.raw_file_position(), size: entry.size() };
                    blobs.insert(digest, range);
                }
            }
            None => {}
        }
    }
    let index = index.ok_or_else(|| not_layout("it has no index.json"))?;
    Ok(Contents { index, blobs })
}

/// The name of an entry without `./`; none when it is not a plain relative path.
fn name_of(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?;
    let mut parts = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            _ => return None,
        }
    }
    Some(parts.join("/"))
}
