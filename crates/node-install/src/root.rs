//! The node's file system, wherever it is mounted.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::content;

/// More symbolic links than the kernel follows are a circle.
const LINKS: usize = 40;

/// The root of the node's file system: `/`, or where a container has it mounted.
///
/// Paths given to its methods are absolute paths of the node.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    /// User and group; none for those of this process.
    #[serde(default)]
    pub(crate) owner: Option<(u32, u32)>,
}

impl Attributes {
    pub(crate) const EXECUTABLE: Self = Self { mode: 0o755, owner: None };
    pub(crate) const CONFIGURATION: Self = Self { mode: 0o644, owner: None };
    pub(crate) const PRIVATE: Self = Self { mode: 0o600, owner: None };
}

impl Root {
    /// The file system that is mounted at a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Whether this is the root of this process too.
    pub fn is_own(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where a path of the node is for this process. Symbolic links lead to where
    /// they lead on the node.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let mut left = names(path);
        let mut inside = PathBuf::new();
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                inside.pop();
                continue;
            }
            let next = inside.join(name);
            match fs::read_link(self.0.join(&next)) {
                Ok(target) if links < LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        inside = PathBuf::new();
                    }
                    left.extend(names(&target));
                }
                _ => inside = next,
            }
        }
        self.0.join(inside)
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.resolve(path).exists()
    }

    /// A file for reading; none when there is no such file.
    pub(crate) fn open(&self, path: &Path) -> io::Result<Option<fs::File>> {
        none_if_absent(fs::File::open(self.resolve(path)))
    }

    /// The content of a small file; none when there is no such file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        none_if_absent(fs::read(self.resolve(path)))
    }

    /// The digest of a file of any size; none when there is no such file.
    pub(crate) fn digest(&self, path: &Path) -> io::Result<Option<String>> {
        self.open(path)?.map(|mut file| content::digest(&mut file)).transpose()
    }

    /// Puts a whole file in place at once: whoever opens it sees the old content
    /// or the new one, and a program that runs keeps its own. The content is
    /// never in memory as a whole.
    pub(crate) fn replace(
        &self,
        path: &Path,
        content: &mut dyn Read,
        attributes: Attributes,
    ) -> io::Result<()> {
        let path = self.resolve(path);
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.spinlet"));
        // What an interrupted run left behind.
        remove_if_there(&temporary)?;
        let written = write(&temporary, content, attributes);
        if let Err(error) = written.and_then(|()| fs::rename(&temporary, &path)) {
            // The reason is more important than what is left.
            let _ = remove_if_there(&temporary);
            return Err(error);
        }
        fs::File::open(folder)?.sync_all()
    }

    /// The attributes of a file; none when there is no such file.
    pub(crate) fn attributes(&self, path: &Path) -> io::Result<Option<Attributes>> {
        let metadata = none_if_absent(fs::metadata(self.resolve(path)))?;
        Ok(metadata.map(|metadata| Attributes {
            mode: metadata.permissions().mode() & 0o7777,
            owner: Some((metadata.uid(), metadata.gid())),
        }))
    }

    /// The folders that would have to be made for a file, the outermost first.
    pub(crate) fn missing_folders(&self, path: &Path) -> Vec<PathBuf> {
        let missing = path.ancestors().skip(1).take_while(|folder| !self.exists(folder));
        let mut folders: Vec<_> = missing.map(Path::to_owned).collect();
        folders.reverse();
        folders
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

    /// Removes a folder with everything in it.
    pub(crate) fn remove_all(&self, folder: &Path) -> io::Result<()> {
        none_if_absent(fs::remove_dir_all(self.resolve(folder))).map(|_| ())
    }
}

/// The names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect::<Vec<_>>().into_iter().rev().collect()
}

fn write(path: &Path, content: &mut dyn Read, attributes: Attributes) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.options_mut().mode(0o600);
    let mut file = options.write(true).create_new(true).open(path)?;
    io::copy(content, &mut file)?;
    file.flush()?;
    if let Some((user, group)) = attributes.owner {
        std::os::unix::fs::fchown(file.file(), Some(user), Some(group))?;
    }
    // The mode of `open` is subject to the umask.
    file.set_permissions(std::fs::Permissions::from_mode(attributes.mode))?;
    file.sync_all()
}

fn none_if_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    none_if_absent(fs::remove_file(path)).map(|removed| removed.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_where_they_lead_on_the_node() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        fs::create_dir_all(folder.path().join("usr/share/x")).unwrap();
        for (target, link) in [("/usr/share/x", "etc"), ("../usr/./share", "usr/relative")] {
            std::os::unix::fs::symlink(target, folder.path().join(link)).unwrap();
        }
        let inside = |path: &str| folder.path().join(path);
        assert_eq!(root.resolve(Path::new("/etc/a.toml")), inside("usr/share/x/a.toml"));
        assert_eq!(root.resolve(Path::new("/usr/relative/x")), inside("usr/share/x"));
        assert_eq!(root.resolve(Path::new("/../../b")), inside("b"));
        std::os::unix::fs::symlink("/circle", inside("circle")).unwrap();
        assert_eq!(root.resolve(Path::new("/circle/c")), inside("circle/c"));
    }

    #[test]
    fn a_replaced_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        fs::write(folder.path().join("real"), "old").unwrap();
        std::os::unix::fs::symlink("/real", folder.path().join("link")).unwrap();
        let (path, attributes) = (Path::new("/link"), Attributes::CONFIGURATION);
        root.replace(path, &mut b"new".as_slice(), attributes).unwrap();
        assert!(fs::symlink_metadata(folder.path().join("link")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(folder.path().join("real")).unwrap(), "new");
    }

    #[test]
    fn folders_that_are_missing_are_named_from_the_outside() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("opt")).unwrap();
        let missing = Root::new(folder.path()).missing_folders(Path::new("/opt/spinlet/bin/shim"));
        assert_eq!(missing, [Path::new("/opt/spinlet"), Path::new("/opt/spinlet/bin")]);
    }
}
