//! One file of functions: their code one after the other, an index sorted by
//! key, and a trailer of fixed length (a magic number, how many there are, and
//! the SHA-256 digests of the index and of the engine's fingerprint).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::Fingerprint;
use crate::cache::entry_file;

/// Length of a key: Cranelift's SHA-256 over a function and the compiler's flags.
pub(super) const KEY: usize = 32;
const MAGIC: [u8; 16] = *b"spinlet-func-01\n";
const TRAILER: usize = 16 + 8 + 32 + 32;
const RECORD: usize = KEY + 8 + 4 + 32;

/// Where a function's code lies, and its digest.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    length: u32,
    digest: [u8; 32],
}

/// A complete file, open.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    index: Vec<([u8; KEY], Place)>,
}

impl Segment {
    /// Reads the index of a `file` of `size` bytes; none if it is not one that a
    /// [`Writer`] has finished for this fingerprint.
    pub(super) fn read(
        file: File,
        size: u64,
        fingerprint: &Fingerprint,
    ) -> io::Result<Option<Self>> {
        let Some(end) = size.checked_sub(TRAILER as u64) else { return Ok(None) };
        let mut bytes = [0_u8; TRAILER];
        file.read_exact_at(&mut bytes, end)?;
        let (mut count, mut digest) = ([0_u8; 8], [0_u8; 32]);
        let mut rest = bytes.as_slice();
        rest.read_exact(&mut [0_u8; 16])?;
        rest.read_exact(&mut count)?;
        rest.read_exact(&mut digest)?;
        let count = u64::from_le_bytes(count);
        let start = count.checked_mul(RECORD as u64).and_then(|length| end.checked_sub(length));
        let Some(start) = start.filter(|_| bytes == trailer(count, digest, fingerprint)) else {
            return Ok(None);
        };
        let mut index = vec![0_u8; usize::try_from(end - start).unwrap_or_default()];
        file.read_exact_at(&mut index, start)?;
        if Sha256::digest(&index).as_slice() != digest {
            return Ok(None);
        }
        let index = index.chunks_exact(RECORD).map(decode).collect::<io::Result<_>>()?;
        Ok(Some(Self { file, index }))
    }

    /// The code of the function with this key; none if it is not here.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub(super) fn get(&self, key: &[u8; KEY]) -> io::Result<Option<Vec<u8>>> {
        let found = self.index.binary_search_by(|(known, _)| known.cmp(key));
        let Some((_, place)) = found.ok().and_then(|at| self.index.get(at)) else {
            return Ok(None);
        };
        let mut code = vec![0_u8; place.length as usize];
        self.file.read_exact_at(&mut code, place.offset)?;
        if Sha256::digest(&code).as_slice() != place.digest {
            return Err(io::Error::other("a function does not match its digest"));
        }
        Ok(Some(code))
    }
}

fn trailer(count: u64, index: [u8; 32], fingerprint: &Fingerprint) -> [u8; TRAILER] {
    let mut trailer = [0_u8; TRAILER];
    let parts = MAGIC
        .into_iter()
        .chain(count.to_le_bytes())
        .chain(index)
        .chain(<[u8; 32]>::from(Sha256::digest(fingerprint.as_str())));
    for (byte, part) in trailer.iter_mut().zip(parts) {
        *byte = part;
    }
    trailer
}

fn decode(mut record: &[u8]) -> io::Result<([u8; KEY], Place)> {
    let (mut key, mut offset) = ([0_u8; KEY], [0_u8; 8]);
    let (mut length, mut digest) = ([0_u8; 4], [0_u8; 32]);
    record.read_exact(&mut key)?;
    record.read_exact(&mut offset)?;
    record.read_exact(&mut length)?;
    record.read_exact(&mut digest)?;
    let (offset, length) = (u64::from_le_bytes(offset), u32::from_le_bytes(length));
    Ok((key, Place { offset, length, digest }))
}

fn encode(key: &[u8; KEY], place: &Place, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(&place.offset.to_le_bytes());
    out.extend_from_slice(&place.length.to_le_bytes());
    out.extend_from_slice(&place.digest);
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    file: BufWriter<File>,
    offset: u64,
    index: BTreeMap<[u8; KEY], Place>,
}

impl Writer {
    /// Begins a file in `folder`; it has no name until it is finished, so that
    /// nothing is left of one that is not. Not every file system has such files.
    pub(super) fn create(folder: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, File::from(file)),
            offset: 0,
            index: BTreeMap::new(),
        })
    }

    /// Adds a function, unless it was added before.
    pub(super) fn append(&mut self, key: &[u8; KEY], code: &[u8]) -> io::Result<()> {
        if self.index.contains_key(key) {
            return Ok(());
        }
        let length = u32::try_from(code.len())
            .map_err(|_| io::Error::other("a function has more than 4 GiB of code"))?;
        self.file.write_all(code)?;
        let place = Place { offset: self.offset, length, digest: Sha256::digest(code).into() };
        self.offset += u64::from(length);
        self.index.insert(*key, place);
        Ok(())
    }

    /// Completes the file and gives it its name in `folder`; how many functions it
    /// has.
    pub(super) fn finish(
        mut self,
        fingerprint: &Fingerprint,
        folder: BorrowedFd<'_>,
        name: &str,
    ) -> io::Result<u64> {
        let mut index = Vec::with_capacity(self.index.len() * RECORD);
        for (key, place) in &self.index {
            encode(key, place, &mut index);
        }
        let count = self.index.len() as u64;
        self.file.write_all(&index)?;
        self.file.write_all(&trailer(count, Sha256::digest(&index).into(), fingerprint))?;
        let file = self.file.into_inner()?;
        // On the descriptor, so that no umask applies.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry_file::MODE))?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, unnamed, folder, name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(count)
    }
}
