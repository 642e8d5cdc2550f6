//! The folder that a manifest's paths are relative to.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::blob::Blob;
use crate::limits;

/// Where a manifest's paths lead.
pub(super) enum Base {
    /// A folder of the author's own machine: paths may lead anywhere.
    Folder(PathBuf),
    /// A root filesystem made by somebody else: paths, and links, stay in it.
    Rootfs {
        /// It, as it was named.
        path: PathBuf,
        /// It, opened.
        root: OwnedFd,
    },
}

impl Base {
    /// Opens a root filesystem.
    pub(super) fn rootfs(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self::Rootfs { path: path.to_owned(), root })
    }

    /// Opens a regular file.
    pub(super) fn open_file(&self, path: &str) -> io::Result<fs_err::File> {
        let file = match self {
            Self::Folder(folder) => fs_err::File::open(folder.join(path))?,
            Self::Rootfs { root, path: shown } => {
                // Not blocking: the image may have a FIFO there.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
                let file = open_inside(root, path, flags)?;
                fs_err::File::from_parts(File::from(file), shown.join(path))
            }
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} is not a regular file", file.path().display()),
            ));
        }
        Ok(file)
    }

    /// Why `what` has not the Wasm at `path`, and what to do.
    pub(super) fn unreadable(&self, what: &str, path: &str, error: &io::Error) -> String {
        match self {
            Self::Rootfs { path: shown, .. } if error.kind() == io::ErrorKind::NotFound => format!(
                "{what}: the image has no {}; copy it there in its Dockerfile, or mend `source`",
                shown.join(path).display()
            ),
            _ => format!("{what}: {error}"),
        }
    }

    /// A file as a blob.
    pub(super) fn blob(&self, path: &str) -> io::Result<Blob> {
        match self {
            Self::Folder(folder) => {
                self.open_file(path)?;
                Blob::edited(&folder.join(path))
            }
            Self::Rootfs { .. } => Blob::opened(self.open_file(path)?.into_parts().0),
        }
    }

    /// The folder of a root filesystem that `path` leads to, with all links
    /// followed, named below the root as it was named.
    pub(super) fn folder_inside(&self, path: &str) -> io::Result<PathBuf> {
        match self {
            Self::Folder(folder) => Ok(folder.join(path)),
            Self::Rootfs { root, path: shown } => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let folder = open_inside(root, path, flags)?;
                let (real_root, real) = (real_path(root)?, real_path(&folder)?);
                let relative = real.strip_prefix(&real_root).map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidInput, "it is outside of its root")
                })?;
                Ok(shown.join(relative))
            }
        }
    }
}

/// Opens a path as if `root` were the root of the whole system.
fn open_inside(root: &OwnedFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// The path of an open folder.
fn real_path(folder: &OwnedFd) -> io::Result<PathBuf> {
    fs_err::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

/// Reads a manifest, at most one byte more than a manifest may have.
pub(super) fn read_manifest(file: fs_err::File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(limits::SPIN_TOML_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}
