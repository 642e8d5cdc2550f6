//! The layers of an overlay with the owners that their files have in a user
//! namespace: an overlay cannot be mapped itself, what it is made of can.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};

use super::id_mappings::IdMappings;
use super::mount_data::{folder_of_layers, renamed};
use super::root::{Root, attach, copy_of_path};
use super::rootfs::map;
use crate::syscalls::MountChange;

/// Where the folder of all layers is seen with other owners, beside the root
/// filesystem.
const NAME: &str = "layers";

/// The folder of all layers, mounted a second time until dropped. The overlay keeps
/// the layers themselves.
#[derive(Debug)]
pub(super) struct MappedLayers {
    place: PathBuf,
    options: Vec<(String, Option<String>)>,
}

impl MappedLayers {
    /// Mounts them, read-only, beside `target`.
    pub(super) fn attach(
        options: &[(String, Option<String>)],
        mappings: &IdMappings,
        target: &Path,
    ) -> Result<Self, Errno> {
        let folder = folder_of_layers(options).ok_or(Errno::INVAL)?;
        let copy = copy_of_path(&folder, false)?;
        map(copy.as_fd(), mappings, false)?;
        let place = target.with_file_name(NAME);
        match rustix::fs::mkdir(&place, rustix::fs::Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let options = renamed(options, &folder, &place.display().to_string());
        let layers = Self { place, options };
        let unseen = MountChange {
            set: u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
            propagation: libc::MS_PRIVATE,
            ..MountChange::default()
        };
        attach(copy.as_fd(), Root::open_root(&layers.place)?.as_fd(), &[unseen])?;
        Ok(layers)
    }

    /// The options of the overlay that names the layers as they are seen here.
    pub(super) fn options(&self) -> &[(String, Option<String>)] {
        &self.options
    }
}

impl Drop for MappedLayers {
    fn drop(&mut self) {
        if let Err(errno) = unmount(&self.place, UnmountFlags::DETACH) {
            tracing::warn!(%errno, place = %self.place.display(), "layers stay mounted");
            return;
        }
        if let Err(errno) = rustix::fs::rmdir(&self.place) {
            tracing::warn!(%errno, place = %self.place.display(), "a folder of layers is left");
        }
    }
}
