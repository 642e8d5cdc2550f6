//! Programs carried at the end of another program's file.
//!
//! One file on a node's PATH is enough: `containerd-shim-spin-v2` and `spinlet`
//! carry the runtime and the compiler behind their own last byte and unpack them
//! once into the state directory. An ELF loader ignores what follows the last
//! section, so the file still runs as it is.
//!
//! Layout: the carrying program, the carried programs one after the other, a
//! table (JSON) that names, places and digests each of them, and a trailer of
//! [`TRAILER_LENGTH`] bytes that places and digests the table.

mod append;
mod format;
mod locate;

use std::io;
use std::path::PathBuf;

pub use append::append;
pub use format::TRAILER_LENGTH;
pub use locate::locate;

/// Why a program cannot be appended, found or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A file or folder could not be read or written; the source names it.
    #[error("cannot handle carried programs")]
    Io(#[from] io::Error),
    /// The end of the file looks like ours but is damaged.
    #[error("{path} is damaged: {problem}; install it again")]
    Damaged {
        /// The carrying file.
        path: PathBuf,
        /// What does not fit.
        problem: &'static str,
    },
    /// The file carries programs, but not this one.
    #[error("{path} does not carry the program {program:?}")]
    NotCarried {
        /// The carrying file.
        path: PathBuf,
        /// The program asked for.
        program: String,
    },
    /// The file carries nothing, and the program is not beside it either.
    #[error(
        "program {program:?} is neither carried by {path} nor in the same folder; install a \
         complete build"
    )]
    NotFound {
        /// This process's own file.
        path: PathBuf,
        /// The program asked for.
        program: String,
    },
    /// A name that cannot be a file name, or is carried twice.
    #[error(
        "{0:?} cannot name a carried program: expected letters, digits, `-` and `_`, each name once"
    )]
    Name(String),
    /// A folder that others could change.
    #[error(
        "{path} is not safe for programs: expected a folder owned by user {expected} that group \
         and others cannot write to"
    )]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// The effective user id of this process.
        expected: u32,
    },
}
