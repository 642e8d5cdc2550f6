//! Values that nobody may see.

use std::fmt;
use std::io::{self, Read as _};
use std::path::PathBuf;

use fs_err::File;

/// Bytes that the file of a secret may have.
pub const MAX_SECRET: u64 = 64 << 10;

/// A secret: written in the configuration, or in a file that it names.
///
/// Its `Debug` form never shows the secret itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Written in the configuration.
    Inline(String),
    /// In this file, alone but for spaces and line ends around it. It is read
    /// whenever the secret is needed, so a file that is replaced is noticed.
    File(PathBuf),
}

/// The file of a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read; the reason names the file.
    #[error("cannot read a secret")]
    Read(#[source] io::Error),
    /// It holds nothing.
    #[error("the file {} of a secret is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is too long.
    #[error("the file {} of a secret has more than {MAX_SECRET} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// The secret itself. Blocks for as long as reading a small file takes.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is empty, too long or not UTF-8.
    pub fn reveal(&self) -> Result<String, SecretError> {
        let path = match self {
            Self::Inline(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_SECRET + 1).read_to_string(&mut text))
            .map_err(SecretError::Read)?;
        if text.len() as u64 > MAX_SECRET {
            return Err(SecretError::TooLong { path: path.clone() });
        }
        match text.trim() {
            "" => Err(SecretError::Empty { path: path.clone() }),
            secret => Ok(secret.to_owned()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let text = format!("{:?}", Secret::Inline("hunter2".to_owned()));
        assert_eq!(text, "Inline(..)");
    }

    #[test]
    fn a_file_is_read_anew_each_time_without_the_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let secret = Secret::File(path.clone());
        assert!(secret.reveal().unwrap_err().to_string().contains("cannot read"));
        fs_err::write(&path, "first\n").unwrap();
        assert_eq!(secret.reveal().unwrap(), "first");
        fs_err::write(&path, "second").unwrap();
        assert_eq!(secret.reveal().unwrap(), "second");
    }

    #[test]
    fn an_empty_and_an_endless_file_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs_err::write(&path, " \n").unwrap();
        let error = Secret::File(path.clone()).reveal().unwrap_err().to_string();
        assert!(error.contains("token") && error.contains("empty"), "{error}");
        fs_err::write(&path, vec![b'x'; 1 << 20]).unwrap();
        let error = Secret::File(path).reveal().unwrap_err().to_string();
        assert!(error.contains("more than 65536 bytes"), "{error}");
    }
}
