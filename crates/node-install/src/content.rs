//! What is to be in a file, read as a stream: a shim is larger than the memory
//! that an installer gets.

use std::io::{self, Read};
use std::path::Path;

use fs_err as fs;
use sha2::{Digest as _, Sha256};

/// What is to be in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'a> {
    Text(&'a str),
    /// A file of this process's file system.
    File(&'a Path),
}

impl Content<'_> {
    pub(crate) fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Text(text) => Box::new(text.as_bytes()),
            Self::File(path) => Box::new(fs::File::open(path)?),
        })
    }

    pub(crate) fn digest(&self) -> io::Result<String> {
        digest(&mut self.open()?)
    }
}

/// The SHA-256 of everything that can be read, in hexadecimal.
pub(crate) fn digest(content: &mut dyn Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_same_however_the_content_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let text = "x".repeat(200_000);
        fs::write(&path, &text).unwrap();
        let digest = Content::File(&path).digest().unwrap();
        assert_eq!(digest, Content::Text(&text).digest().unwrap());
        assert_eq!(digest, hex::encode(Sha256::digest(text.as_bytes())));
    }
}
