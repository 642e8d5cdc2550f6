//! The container's root filesystem as a descriptor beneath which every path is
//! resolved by the kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::syscalls::{MountChange, mount_setattr};

/// A root directory. Absolute symbolic links and `..` stay below it; links of
/// `/proc` that jump elsewhere are refused.
#[derive(Debug)]
pub(super) struct Root {
    descriptor: OwnedFd,
}

/// How often a lookup is tried again when something was renamed meanwhile.
const TRIES: usize = 64;

impl Root {
    /// Opens a folder of the host as a root.
    pub(super) fn open_root(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { descriptor })
    }

    /// Opens what is at a path, as a place (`O_PATH`).
    pub(super) fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::PATH, Mode::empty())
    }

    /// Opens a folder, which is made if it is missing.
    pub(super) fn folder(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let mut here = self.resolve(Path::new("/"), OFlags::PATH, Mode::empty())?;
        let mut so_far = std::path::PathBuf::from("/");
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            so_far.push(name);
            let open = || self.resolve(&so_far, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
            here = match open() {
                Err(Errno::NOENT) => match mkdirat(&here, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => open()?,
                    Err(errno) => return Err(errno),
                },
                opened => opened?,
            };
        }
        Ok(here)
    }

    /// Opens a file, which is made empty if it is missing.
    pub(super) fn file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        match self.open(path) {
            Err(Errno::NOENT) => {}
            opened => return opened,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR);
        };
        let parent = self.folder(parent)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags | OFlags::WRONLY, Mode::from_raw_mode(0o644))?;
        self.open(path)
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let beneath = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = || openat2(&self.descriptor, path, flags | OFlags::CLOEXEC, mode, beneath);
        for _ in 0..TRIES {
            match open() {
                // A rename raced with a `..`; the kernel asks to look again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        open()
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A detached copy of the mount (and of those below it) that shows a place.
pub(super) fn copy_of(place: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    open_tree(place, c"", copy_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

/// The same for a path of the host.
pub(super) fn copy_of_path(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    open_tree(CWD, path, copy_flags(recursive))
}

fn copy_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Puts a detached mount in its place, changed as told before it is seen there.
pub(super) fn attach(
    mount: BorrowedFd<'_>,
    place: BorrowedFd<'_>,
    changes: &[MountChange],
) -> Result<(), Errno> {
    for change in changes {
        if change.set != 0 || change.clear != 0 || change.propagation != 0 {
            mount_setattr(mount, *change)?;
        }
    }
    let both_descriptors =
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", place, c"", both_descriptors)
}

/// Whether a place is a folder.
pub(super) fn is_folder(place: BorrowedFd<'_>) -> Result<bool, Errno> {
    let status = rustix::fs::statat(place, c"", AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn contents(root: &Root, path: &str) -> Result<String, Errno> {
        use std::io::Read as _;
        let file = root.resolve(Path::new(path), OFlags::RDONLY, Mode::empty())?;
        let mut text = String::new();
        std::fs::File::from(file).read_to_string(&mut text).unwrap();
        Ok(text)
    }

    fn outside_and_root() -> (tempfile::TempDir, Root) {
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("secret"), "outside").unwrap();
        let inside = outside.path().join("root");
        fs_err::create_dir_all(inside.join("etc")).unwrap();
        fs_err::write(inside.join("secret"), "inside").unwrap();
        let root = Root::open_root(&inside).unwrap();
        (outside, root)
    }

    #[test]
    fn links_and_dots_that_would_leave_the_root_stay_below_it() {
        let (outside, root) = outside_and_root();
        let inside = outside.path().join("root");
        symlink("../../../secret", inside.join("etc/climbing")).unwrap();
        symlink("/secret", inside.join("etc/absolute")).unwrap();
        for path in ["/etc/climbing", "/etc/absolute", "/../../secret", "/etc/../../secret"] {
            assert_eq!(contents(&root, path).unwrap(), "inside", "{path}");
        }
    }

    #[test]
    fn a_folder_behind_a_link_is_made_below_the_root() {
        let (outside, root) = outside_and_root();
        let inside = outside.path().join("root");
        symlink("/etc", inside.join("link")).unwrap();
        root.folder(Path::new("/link/a/b")).unwrap();
        assert!(inside.join("etc/a/b").is_dir());
        root.folder(Path::new("/link/a/b")).unwrap();
    }

    #[test]
    fn a_link_to_nothing_is_an_error_and_makes_nothing() {
        let (outside, root) = outside_and_root();
        symlink(outside.path().join("made"), outside.path().join("root/hole")).unwrap();
        assert_eq!(root.folder(Path::new("/hole")).unwrap_err(), Errno::NOENT);
        assert_eq!(root.file(Path::new("/hole")).unwrap_err(), Errno::EXIST);
        assert!(!outside.path().join("made").exists());
    }

    #[test]
    fn a_missing_file_is_made_empty_and_an_existing_one_is_kept() {
        let (_outside, root) = outside_and_root();
        root.file(Path::new("/etc/new/hosts")).unwrap();
        assert_eq!(contents(&root, "/etc/new/hosts").unwrap(), "");
        root.file(Path::new("/secret")).unwrap();
        assert_eq!(contents(&root, "/secret").unwrap(), "inside");
    }

    #[test]
    fn links_of_proc_that_jump_elsewhere_are_refused() {
        let root = Root::open_root(Path::new("/")).unwrap();
        let result = root.open(Path::new("/proc/self/cwd"));
        assert_eq!(result.unwrap_err(), Errno::LOOP);
    }
}
