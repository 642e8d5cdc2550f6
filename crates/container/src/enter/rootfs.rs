//! Building the container's view of the file system.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change,
    unmount,
};

use super::id_mappings::IdMappings;
use super::mapped_layers::MappedLayers;
use super::mount_data::mount_data;
use super::mount_options::{ContainerMount, MountKind, MountOptions, RootLayer};
use super::root::{Root, attach, copy_of, copy_of_path, is_folder};
use super::{EnterError, system};
use crate::bundle::Bundle;
use crate::cgroup::Layout;
use crate::syscalls::{MountChange, mount_setattr, set_id_mapping};

const READ_ONLY: u64 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as u64;

/// Mounts the root filesystem at its place in the bundle, seen by this mount
/// namespace only.
pub(super) fn mount_root(bundle: &Bundle, mounts: &[RootLayer]) -> Result<Root, EnterError> {
    // Mounts of the host are still to appear where the spec says so, but nothing
    // mounted here may ever reach the host.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(system(|| "detach the mount namespace from the host's".to_owned()))?;
    let path = bundle.rootfs();
    let attempt = |what: &str| format!("mount the root filesystem ({what}) at {}", path.display());
    for layer in mounts {
        mount_layer(layer, &path).map_err(system(|| attempt(&layer.kind)))?;
    }
    if mounts.is_empty() {
        // A folder becomes a mount of its own, which is what can be pivoted to.
        let copy = copy_of_path(&path, true);
        let place = Root::open_root(&path);
        copy.and_then(|copy| attach(copy.as_fd(), place?.as_fd(), &[PRIVATE]))
            .map_err(system(|| attempt("bind")))?;
    }
    Root::open_root(&path).map_err(system(|| format!("open {}", path.display())))
}

/// Mounts a root filesystem for another program, seen by this mount namespace and
/// its peers. What was mounted before a failure stays.
pub(super) fn mount_visibly(layers: &[RootLayer], path: &Path) -> Result<(), EnterError> {
    layers.iter().try_for_each(|layer| {
        let attempt =
            || format!("mount the root filesystem ({}) at {}", layer.kind, path.display());
        mount_layer(layer, path).map_err(system(attempt))
    })
}

const PRIVATE: MountChange =
    MountChange { set: 0, clear: 0, propagation: libc::MS_PRIVATE, recursive: true };

fn mount_layer(layer: &RootLayer, target: &Path) -> Result<(), Errno> {
    let options = &layer.options;
    if let Some(recursive) = options.bind {
        let copy = copy_of_path(Path::new(&layer.source), recursive)?;
        // One that is written to is a new folder, which the snapshotter has made the
        // container's own already.
        if let Some(mappings) = layer.mappings.as_ref().filter(|_| options.set & READ_ONLY != 0) {
            map(copy.as_fd(), mappings, false)?;
        }
        let place = Root::open_root(target)?;
        return attach(copy.as_fd(), place.as_fd(), &options.changes());
    }
    // The older interface, because the newer one limits a value to 255 bytes and
    // an overlay's list of layers is longer.
    let mapped = layer.mappings.as_ref();
    let mapped =
        mapped.map(|mappings| MappedLayers::attach(&options.data, mappings, target)).transpose()?;
    let data = mapped.as_ref().map_or(options.data.as_slice(), MappedLayers::options);
    let (data, _ancestor) = mount_data(data)?;
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let mut flags = MountFlags::empty();
    for (attribute, flag) in [
        (MountAttrFlags::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
        (MountAttrFlags::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
        (MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
        (MountAttrFlags::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
        (MountAttrFlags::MOUNT_ATTR_NOATIME, MountFlags::NOATIME),
    ] {
        if options.set & u64::from(attribute.bits()) != 0 {
            flags |= flag;
        }
    }
    mount(layer.source.as_str(), target, layer.kind.as_str(), flags, data.as_c_str())
}

/// Makes one mount of the spec.
pub(super) fn mount_inside(
    root: &Root,
    wanted: &ContainerMount,
    label: Option<&str>,
    cgroups: Option<&Layout>,
) -> Result<(), EnterError> {
    let destination = &wanted.destination;
    let made = match &wanted.kind {
        MountKind::Bind { source, recursive } => {
            let mappings = wanted.mappings.as_ref();
            bind(root, destination, source, *recursive, &wanted.options, mappings)
        }
        MountKind::Filesystem(kind) => filesystem(kind, &wanted.options, label)
            .and_then(|mount| attach(mount.as_fd(), root.folder(destination)?.as_fd(), &[PRIVATE])),
        MountKind::Cgroup => cgroup(root, destination, &wanted.options, cgroups),
    };
    made.map_err(system(|| {
        let what = match &wanted.kind {
            MountKind::Bind { source, .. } => source.display().to_string(),
            MountKind::Filesystem(kind) => (*kind).to_owned(),
            MountKind::Cgroup => "cgroup".to_owned(),
        };
        format!("mount {what} at {}", destination.display())
    }))
}

fn bind(
    root: &Root,
    destination: &Path,
    source: &Path,
    recursive: bool,
    options: &MountOptions,
    mappings: Option<&IdMappings>,
) -> Result<(), Errno> {
    let copy = copy_of_path(source, recursive)?;
    if let Some(mappings) = mappings {
        map(copy.as_fd(), mappings, options.mapped == Some(true))?;
    }
    let place =
        if is_folder(copy.as_fd())? { root.folder(destination)? } else { root.file(destination)? };
    attach(copy.as_fd(), place.as_fd(), &options.changes())
}

/// Gives the files of a mount that is mounted nowhere yet other owners.
pub(super) fn map(
    mount: BorrowedFd<'_>,
    mappings: &IdMappings,
    recursive: bool,
) -> Result<(), Errno> {
    set_id_mapping(mount, mappings.namespace()?.as_fd(), recursive)
}

/// A new filesystem, mounted nowhere yet.
fn filesystem(kind: &str, options: &MountOptions, label: Option<&str>) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", kind)?;
    for (key, value) in &options.data {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str())?,
            None => fsconfig_set_flag(&context, key.as_str())?,
        }
    }
    if let Some(label) = label.filter(|_| kind == "tmpfs" || kind == "devpts") {
        fsconfig_set_string(&context, "context", label)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::from_bits_retain((options.set | options.set_below) as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Shows the container its own cgroup: in version 2 the folder, in version 1 a
/// folder for each controller.
fn cgroup(
    root: &Root,
    destination: &Path,
    options: &MountOptions,
    layout: Option<&Layout>,
) -> Result<(), Errno> {
    let folders = layout.map(Layout::own_folders).unwrap_or_default();
    let options = MountOptions { data: Vec::new(), ..options.clone() };
    if let [(name, folder)] = folders.as_slice()
        && name.is_empty()
    {
        return bind(root, destination, folder, false, &options, None);
    }
    let writable = MountOptions { set: options.set & !READ_ONLY, ..MountOptions::default() };
    let holder = filesystem("tmpfs", &writable, None)?;
    attach(holder.as_fd(), root.folder(destination)?.as_fd(), &[PRIVATE])?;
    for (name, folder) in folders {
        bind(root, &destination.join(name), &folder, false, &options, None)?;
    }
    let change = MountChange { set: options.set | options.set_below, ..MountChange::default() };
    mount_setattr(holder.as_fd(), change)
}

/// The device nodes that any program may expect: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills `/dev` where the spec mounts a new filesystem there; a `/dev` of the
/// image is left as it is.
pub(super) fn make_devices(root: &Root, mounts: &[ContainerMount]) -> Result<(), EnterError> {
    let fresh = mounts.iter().any(|mount| {
        mount.destination == Path::new("/dev") && mount.kind == MountKind::Filesystem("tmpfs")
    });
    if !fresh {
        return Ok(());
    }
    let make = || {
        let dev = root.folder(Path::new("/dev"))?;
        let mode = Mode::from_raw_mode(0o666);
        for (name, major, minor) in DEVICES {
            let device = rustix::fs::makedev(major, minor);
            let kind = rustix::fs::FileType::CharacterDevice;
            keep_existing(rustix::fs::mknodat(&dev, name, kind, mode, device))?;
        }
        DEVICE_LINKS
            .iter()
            .try_for_each(|(name, to)| keep_existing(rustix::fs::symlinkat(*to, &dev, *name)))
    };
    make().map_err(system(|| "fill /dev".to_owned()))
}

/// What the spec has mounted there is to stay.
fn keep_existing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

/// Covers what the container is not to see: files with `/dev/null`, folders with
/// an empty one. What does not exist needs no cover.
pub(super) fn mask(root: &Root, paths: &[PathBuf]) -> Result<(), EnterError> {
    let null = host_null().map_err(system(|| "open /dev/null".to_owned()))?;
    for path in paths {
        let cover = || {
            let place = match root.open(path) {
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                place => place?,
            };
            let cover = if is_folder(place.as_fd())? {
                let options = MountOptions { set: READ_ONLY, ..MountOptions::default() };
                filesystem("tmpfs", &options, None)?
            } else {
                copy_of(null.as_fd(), false)?
            };
            attach(cover.as_fd(), place.as_fd(), &[PRIVATE])
        };
        cover().map_err(system(|| format!("mask {}", path.display())))?;
    }
    Ok(())
}

/// The node's own, never one that an image or a volume put in its place.
fn host_null() -> Result<OwnedFd, Errno> {
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let status = rustix::fs::fstat(&null)?;
    let is_device = rustix::fs::FileType::from_raw_mode(status.st_mode)
        == rustix::fs::FileType::CharacterDevice;
    if is_device && status.st_rdev == rustix::fs::makedev(1, 3) {
        Ok(null)
    } else {
        Err(Errno::NODEV)
    }
}

/// Makes parts of the container's file system read-only, with all below them.
pub(super) fn make_read_only(root: &Root, paths: &[PathBuf]) -> Result<(), EnterError> {
    for path in paths {
        let seal = || {
            let place = match root.open(path) {
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                place => place?,
            };
            let copy = copy_of(place.as_fd(), true)?;
            let read_only = MountChange { set: READ_ONLY, ..PRIVATE };
            attach(copy.as_fd(), place.as_fd(), &[read_only])
        };
        seal().map_err(system(|| format!("make {} read-only", path.display())))?;
    }
    Ok(())
}

/// Makes the root filesystem this process's `/` and lets go of the host's.
pub(super) fn pivot(root: &Root, read_only: bool) -> Result<(), EnterError> {
    if read_only {
        let change = MountChange { set: READ_ONLY, ..MountChange::default() };
        mount_setattr(root.as_fd(), change)
            .map_err(system(|| "make the root filesystem read-only".to_owned()))?;
    }
    let pivot = || {
        rustix::process::fchdir(root)?;
        // The old root ends up on top of the new one, at ".", and goes at once.
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    };
    pivot().map_err(system(|| "pivot into the root filesystem".to_owned()))
}
