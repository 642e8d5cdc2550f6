//! Table and trailer.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::PayloadError;

/// Length of the trailer in bytes: magic, table offset, table length (both
/// little-endian), SHA-256 of the table.
pub const TRAILER_LENGTH: usize = MAGIC.len() + 8 + 8 + 32;
/// First bytes of the trailer. The digit is the version of this format.
const MAGIC: &[u8; 16] = b"spinlet-carried1";
/// A table over this many bytes is not one of ours.
const MAX_TABLE: u64 = 64 * 1024;

/// The programs a file carries.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) programs: Vec<Program>,
}

/// Where one carried program lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) sha256: String,
}

impl Table {
    /// Reads the table of `file`; none when the file carries nothing.
    pub(crate) fn read(file: &File, path: &Path) -> Result<Option<Self>, PayloadError> {
        let damaged = |problem| PayloadError::Damaged { path: path.to_path_buf(), problem };
        let size = file.metadata()?.len();
        let Some(trailer_offset) = size.checked_sub(TRAILER_LENGTH as u64) else {
            return Ok(None);
        };
        let mut trailer = [0_u8; TRAILER_LENGTH];
        file.read_exact_at(&mut trailer, trailer_offset)?;
        let Some(rest) = trailer.strip_prefix(MAGIC) else {
            return Ok(None);
        };
        let (offset, length, digest) = split_trailer(rest).ok_or(damaged("its trailer"))?;
        if length > MAX_TABLE || offset.checked_add(length) != Some(trailer_offset) {
            return Err(damaged("its trailer does not fit the file's size"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, offset)?;
        if Sha256::digest(&bytes).as_slice() != digest {
            return Err(damaged("the digest of its table does not match"));
        }
        let table: Self =
            serde_json::from_slice(&bytes).map_err(|_| damaged("its table cannot be read"))?;
        let fits = |program: &Program| {
            program.offset.checked_add(program.length).is_some_and(|end| end <= offset)
                && is_digest(&program.sha256)
                && is_name(&program.name)
        };
        if !table.programs.iter().all(fits) {
            return Err(damaged("its table does not fit the file's size"));
        }
        Ok(Some(table))
    }

    /// Writes table and trailer; `offset` is where in the file this happens.
    pub(crate) fn write(&self, offset: u64, out: &mut impl Write) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        out.write_all(&bytes)?;
        out.write_all(MAGIC)?;
        out.write_all(&offset.to_le_bytes())?;
        out.write_all(&(bytes.len() as u64).to_le_bytes())?;
        out.write_all(&Sha256::digest(&bytes))
    }
}

/// Whether `name` may become a file name.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn split_trailer(rest: &[u8]) -> Option<(u64, u64, &[u8])> {
    let (offset, rest) = rest.split_first_chunk()?;
    let (length, digest) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*offset), u64::from_le_bytes(*length), digest))
}
