//! The node's file system, wherever it is mounted.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;

/// The root of the node's file system: `/`, or where a container has it mounted.
///
/// Paths given to its methods are absolute paths of the node.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    /// The file system that is mounted at a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Whether this is the root of this process too.
    pub fn is_own(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where a path of the node is for this process.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let parts = path.components().filter(|part| matches!(part, Component::Normal(_)));
        parts.fold(self.0.clone(), |whole, part| whole.join(part))
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.resolve(path).exists()
    }

    /// The content of a file; none when there is no such file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.resolve(path)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a whole file in place at once: whoever opens it sees the old content
    /// or the new one, and a program that runs keeps its own.
    pub(crate) fn replace(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let path = self.resolve(path);
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.spinlet"));
        // What an interrupted run left behind.
        remove_if_there(&temporary)?;
        let mut options = fs::OpenOptions::new();
        options.options_mut().mode(mode);
        let mut file = options.write(true).create_new(true).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        // The mode of `open` is subject to the umask.
        fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        fs::rename(&temporary, &path)?;
        fs::File::open(folder)?.sync_all()
    }

    /// The permission bits of a file.
    pub(crate) fn mode(&self, path: &Path) -> io::Result<u32> {
        use std::os::unix::fs::PermissionsExt as _;
        Ok(fs::metadata(self.resolve(path))?.permissions().mode() & 0o7777)
    }

    /// Removes a file, and says whether there was one.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<bool> {
        remove_if_there(&self.resolve(path))
    }

    /// Removes a folder if nothing is in it.
    pub(crate) fn remove_empty(&self, folder: &Path) {
        // One that is not empty, or not there, is no failure.
        let _ = fs::remove_dir(self.resolve(folder));
    }
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
