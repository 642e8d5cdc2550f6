//! One entry's file: its format, the checks before it is trusted, and mapping it
//! as executable code. The only unsafe code of this crate is here.
//!
//! An entry is the ELF image that wasmtime produced, from offset 0 so that its
//! pages can be mapped, followed by a trailer of fixed length: a magic number,
//! the image's length, and the SHA-256 digests of image, source and engine
//! fingerprint.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::thread;

use app::Digest;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::entry_file::{self, OpenError};
use crate::Fingerprint;

/// First bytes of a trailer.
const MAGIC: [u8; 16] = *b"spinlet-code-01\n";
const TRAILER: usize = 16 + 8 + 3 * 32;
const COPY_BUFFER: usize = 1 << 20;

/// What the compiler of this crate made for this machine, with [`crate::config`].
///
/// There is no other way to make one: it is what the cache's promise, that code
/// in it can be run safely, begins with.
pub struct NativeCode {
    image: Vec<u8>,
}

impl NativeCode {
    /// To be called with wasmtime's own output only.
    #[cfg(any(test, feature = "compile"))]
    pub(crate) fn from_compiler(image: Vec<u8>) -> Self {
        Self { image }
    }

    /// The code itself.
    #[cfg(all(test, feature = "compile"))]
    pub(crate) fn image(&self) -> &[u8] {
        &self.image
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.image.len() as u64
    }

    /// Whether there is none; never, for code that was compiled.
    pub fn is_empty(&self) -> bool {
        self.image.is_empty()
    }

    /// Writes the entry for the source with digest `source`.
    pub(super) fn write(
        &self,
        source: &Digest,
        fingerprint: &Fingerprint,
        out: &mut impl Write,
    ) -> io::Result<()> {
        // Somebody waits: the digest is made while the image is written.
        let digest = thread::scope(|scope| {
            let digest =
                thread::Builder::new().spawn_scoped(scope, || Sha256::digest(&self.image))?;
            out.write_all(&self.image)?;
            digest.join().map_err(|_| io::Error::other("the digest of the code is not made"))
        })?;
        out.write_all(&trailer(self.len(), &digest, source, fingerprint))
    }
}

impl std::fmt::Debug for NativeCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NativeCode({} bytes)", self.len())
    }
}

fn trailer(length: u64, image: &[u8], source: &Digest, fingerprint: &Fingerprint) -> Vec<u8> {
    let mut trailer = Vec::with_capacity(TRAILER);
    trailer.extend_from_slice(&MAGIC);
    trailer.extend_from_slice(&length.to_le_bytes());
    trailer.extend_from_slice(image);
    trailer.extend_from_slice(source.as_bytes());
    trailer.extend_from_slice(&Sha256::digest(fingerprint.as_str()));
    trailer
}

/// Compiled code of one component: an open descriptor on a cache entry.
///
/// It stays usable when the entry is evicted and when the process loses access
/// to the cache's folder.
#[derive(Debug)]
pub struct CompiledCode {
    file: File,
    digest: Digest,
    length: u64,
    image_digest: [u8; 32],
}

impl CompiledCode {
    /// Opens the file `name` in `folder` and checks everything except the
    /// image's own digest.
    pub(super) fn open(
        folder: BorrowedFd<'_>,
        name: impl rustix::path::Arg,
        digest: &Digest,
        fingerprint: &Fingerprint,
    ) -> Result<Self, OpenError> {
        let (file, size) = entry_file::open(folder, name)?;
        Self::read(file, size, digest, fingerprint)
    }

    /// Checks everything except the owner and the image's own digest of a `file` that
    /// the supervisor has opened in the cache's folder.
    pub(super) fn of_file(
        file: File,
        digest: &Digest,
        fingerprint: &Fingerprint,
    ) -> Result<Self, OpenError> {
        let metadata = file.metadata().map_err(OpenError::Io)?;
        entry_file::check(&metadata)?;
        Self::read(file, metadata.len(), digest, fingerprint)
    }

    fn read(
        file: File,
        size: u64,
        digest: &Digest,
        fingerprint: &Fingerprint,
    ) -> Result<Self, OpenError> {
        let (length, image_digest) = read_trailer(&file, size, digest, fingerprint)
            .map_err(OpenError::Io)?
            .ok_or(OpenError::Untrusted("it is truncated or of another kind"))?;
        Ok(Self { file, digest: *digest, length, image_digest })
    }

    /// Digest of the source this code was compiled from.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Length of the code in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is none; never, for code that was compiled.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Reads the image and compares its digest.
    pub(super) fn verify(&self) -> io::Result<bool> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0_u8; COPY_BUFFER];
        let mut offset = 0;
        while offset < self.length {
            let wanted = usize::try_from(self.length - offset).unwrap_or(COPY_BUFFER);
            let wanted = wanted.min(COPY_BUFFER);
            let Some(buffer) = buffer.get_mut(..wanted) else { return Ok(false) };
            let read = match self.file.read_at(buffer, offset) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(buffer.get(..read).unwrap_or_default());
            offset += read as u64;
        }
        Ok(hasher.finalize().as_slice() == self.image_digest)
    }
}

/// Length and digest of the image; none if the trailer is not the one of an
/// entry for `digest` in a file of `size` bytes.
fn read_trailer(
    file: &File,
    size: u64,
    digest: &Digest,
    fingerprint: &Fingerprint,
) -> io::Result<Option<(u64, [u8; 32])>> {
    let Some(length) = size.checked_sub(TRAILER as u64) else { return Ok(None) };
    let mut bytes = [0_u8; TRAILER];
    file.read_exact_at(&mut bytes, length)?;
    let mut rest = bytes.as_slice();
    let mut head = [0_u8; 24];
    let mut image = [0_u8; 32];
    rest.read_exact(&mut head)?;
    rest.read_exact(&mut image)?;
    let expected = trailer(length, &image, digest, fingerprint);
    Ok((expected == bytes).then_some((length, image)))
}

/// Compiled code cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("compiled code for {digest} cannot be loaded")]
pub struct LoadError {
    /// Digest of the component's source.
    pub digest: Digest,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Maps `code` into this process, private and copy-on-write: replicas on one
/// node share its pages in the page cache, and nothing is read before it runs.
///
/// Needs `/proc`, which a container that the process has entered may lack.
///
/// # Errors
/// Fails when `/proc` is missing, when the code's file system is mounted
/// `noexec`, when the process may not map more memory, and when `engine` was not
/// made from [`crate::config`] on a machine of the same kind.
pub fn load(engine: &Engine, code: &CompiledCode) -> Result<Component, LoadError> {
    // Components cannot be loaded from a descriptor or, without giving up
    // memory images that are shared between replicas, from a mapping of ours.
    let path = format!("/proc/self/fd/{}", code.file.as_raw_fd());
    // SAFETY: wasmtime requires that the file holds what a compatible wasmtime
    // serialized, and that it does not change while it is mapped.
    // - Content: a `CompiledCode` exists only through `CompiledCode::open` and
    //   `CompiledCode::of_file`, which accept nothing but a regular file without a
    //   second name, not writable by anyone and ending in a trailer made for this
    //   source and this fingerprint. `Cache::lookup` and `Lock::insert` call the first,
    //   which wants this user as the owner, too, on a folder that only this user can
    //   write to; `Cache::receive` calls the second on what the supervisor, a process
    //   of that user, has opened in such a folder. These three, the only ones who hand
    //   it out, do so only if the image has been written by this process or compared
    //   with its digest since this machine started and since the file was last touched.
    //   Files of that form in such a folder are written by `NativeCode::write`
    //   alone, and a `NativeCode` holds wasmtime's own output: compiled, or put
    //   together from functions that a compiler of the same fingerprint kept
    //   in such a folder and that were compared with their digests. Whoever else
    //   could write one runs as this user, and could as well write into this
    //   process. Equal fingerprints mean equal wasmtime version, configuration
    //   and instruction set; wasmtime compares them again, since our
    //   configuration makes the fingerprint its version string. That of the first
    //   tier adds only what no engine depends on: how code was allocated and
    //   optimized.
    // - Change: entries are renamed into place when complete and are only ever
    //   unlinked after that; the descriptor keeps the file itself alive, and the
    //   path names that descriptor, which `code` holds open during the call.
    #[expect(unsafe_code, clippy::disallowed_methods, reason = "this is the place for it")]
    let component = unsafe { Component::deserialize_file(engine, &path) };
    component.map_err(|error| LoadError { digest: code.digest, source: error.into() })
}
