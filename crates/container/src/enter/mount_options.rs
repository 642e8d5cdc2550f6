//! The mounts of an OCI spec, parsed and checked before any is made.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::mount::MountAttrFlags;

use super::EnterError;
use super::id_mappings::IdMappings;
use crate::bundle::RootfsMount;
use crate::syscalls::MountChange;

/// One mount to make inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerMount {
    /// Path in the container, absolute and without `.` or `..`.
    pub(super) destination: PathBuf,
    pub(super) kind: MountKind,
    pub(super) options: MountOptions,
    /// The owners that the files of a bind have in the container; none for those
    /// they have.
    pub(super) mappings: Option<IdMappings>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MountKind {
    /// Another view of this path of the host.
    Bind { source: PathBuf, recursive: bool },
    /// The container's own cgroup.
    Cgroup,
    /// A new filesystem of this type.
    Filesystem(&'static str),
}

/// What `mount -o` says, by the part of the kernel that wants to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MountOptions {
    /// `MOUNT_ATTR_*` for this mount alone.
    pub(super) set: u64,
    pub(super) clear: u64,
    /// `MOUNT_ATTR_*` for this mount and all below it.
    pub(super) set_below: u64,
    pub(super) clear_below: u64,
    /// Whether mounts that the host makes later below the source appear.
    pub(super) follows_host: bool,
    /// Whether `bind` or `rbind` was among them.
    pub(super) bind: Option<bool>,
    /// Whether files have other owners in the container; true with mounts below.
    pub(super) mapped: Option<bool>,
    /// What the filesystem itself understands.
    pub(super) data: Vec<(String, Option<String>)>,
}

/// One mount of the root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootLayer {
    /// Filesystem type.
    pub(super) kind: String,
    /// Device, folder or name.
    pub(super) source: String,
    pub(super) options: MountOptions,
    /// The owners that its files have in the container; none for those they have.
    pub(super) mappings: Option<IdMappings>,
}

impl RootLayer {
    /// Parses what containerd hands over.
    pub(super) fn parse(mount: &RootfsMount) -> Result<Self, EnterError> {
        let problem = |what| EnterError::Configuration(format!("root filesystem: {what}"));
        let mut mappings = IdMappings::default();
        let mut others = Vec::new();
        for option in &mount.options {
            if !mappings.take_option(option).map_err(problem)? {
                others.push(option.clone());
            }
        }
        let mut options = MountOptions::parse(&others).map_err(problem)?;
        if mount.kind == "bind" && options.bind.is_none() {
            options.bind = Some(false);
        }
        Ok(Self {
            kind: mount.kind.clone(),
            source: mount.source.clone(),
            options,
            mappings: Some(mappings).filter(|mappings| !mappings.is_empty()),
        })
    }
}

/// The filesystems that a container may ask for.
const FILESYSTEMS: [&str; 5] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue"];

impl ContainerMount {
    /// Parses one entry of `mounts`; relative sources are in the bundle. `container`
    /// are the mappings of its user namespace, if it has one.
    pub(super) fn parse(
        mount: &Mount,
        bundle: &Path,
        container: Option<&IdMappings>,
    ) -> Result<Self, EnterError> {
        let destination = normal_path(mount.destination())?;
        let problem = |what: String| {
            EnterError::Configuration(format!("mount at {}: {what}", destination.display()))
        };
        let options = mount.options().as_deref().unwrap_or_default();
        let mut options = MountOptions::parse(options).map_err(problem)?;
        let named = mount.typ().as_deref().unwrap_or_default();
        let recursive = match (options.bind, named) {
            (Some(recursive), _) => Some(recursive),
            (None, "bind") => Some(false),
            (None, _) => None,
        };
        let kind = if let Some(recursive) = recursive {
            let source = mount.source().as_deref().ok_or_else(|| problem("no source".into()))?;
            MountKind::Bind { source: bundle.join(source), recursive }
        } else if named == "cgroup" || named == "cgroup2" {
            MountKind::Cgroup
        } else {
            let known = FILESYSTEMS.into_iter().find(|known| *known == named);
            MountKind::Filesystem(
                known.ok_or_else(|| {
                    problem(format!("filesystem type {named:?} is not supported"))
                })?,
            )
        };
        let own = IdMappings::of(mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref());
        let mappings = match (own.is_empty(), options.mapped) {
            (false, _) => Some(own),
            (true, Some(_)) => Some(container.cloned().ok_or_else(|| {
                problem("other owners are asked for, and there are no mappings".to_owned())
            })?),
            (true, None) => None,
        };
        if mappings.is_some() && !matches!(kind, MountKind::Bind { .. }) {
            return Err(problem("only the files of a bind can have other owners".to_owned()));
        }
        if let (MountKind::Filesystem(filesystem), Some(container)) = (&kind, container) {
            options.own_by(filesystem, container).map_err(problem)?;
        }
        Ok(Self { destination, kind, options, mappings })
    }
}

impl MountOptions {
    /// Parses options; the error names the one that is not supported.
    pub(super) fn parse(options: &[String]) -> Result<Self, String> {
        let mut parsed = Self::default();
        for option in options {
            if parsed.attribute(option) || parsed.placement(option)? {
                continue;
            }
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (option.as_str(), None),
            };
            parsed.data.push((key.to_owned(), value));
        }
        Ok(parsed)
    }

    /// A filesystem that is made here belongs to root of the container, or to whom of
    /// the container its options say.
    fn own_by(&mut self, filesystem: &str, container: &IdMappings) -> Result<(), String> {
        type Outside = fn(&IdMappings, u32) -> Option<u32>;
        let keys: [(&str, Outside); 2] =
            [("uid", IdMappings::user_outside), ("gid", IdMappings::group_outside)];
        for (key, outside) in keys {
            let given = self.data.iter_mut().find(|(name, _)| name == key);
            let inside = match &given {
                Some((_, Some(inside))) => inside.parse().ok(),
                Some((_, None)) => None,
                None if filesystem == "tmpfs" => Some(0),
                None => continue,
            };
            let id = inside.and_then(|inside| outside(container, inside));
            let id = id.ok_or_else(|| format!("its {key} is none of the user namespace"))?;
            match given {
                Some((_, value)) => *value = Some(id.to_string()),
                None => self.data.push((key.to_owned(), Some(id.to_string()))),
            }
        }
        Ok(())
    }

    /// `ro`, `nosuid`, … and with a leading `r` the same for all mounts below.
    fn attribute(&mut self, option: &str) -> bool {
        let find = |name: &str| ATTRIBUTES.iter().find(|attribute| attribute.0 == name);
        if let Some((_, set, clear)) = find(option) {
            self.clear = (self.clear & !set) | clear;
            self.set = (self.set & !clear) | set;
            return true;
        }
        let Some((_, set, clear)) = option.strip_prefix('r').and_then(find) else { return false };
        self.clear_below = (self.clear_below & !set) | clear;
        self.set_below = (self.set_below & !clear) | set;
        true
    }

    /// Options about where and how, not about the filesystem.
    fn placement(&mut self, option: &str) -> Result<bool, String> {
        match option {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            // No process in the container can mount, so that being a peer of the
            // host's mounts comes to the same as following them.
            "shared" | "rshared" | "slave" | "rslave" => self.follows_host = true,
            "private" | "rprivate" | "unbindable" | "runbindable" => self.follows_host = false,
            "defaults" | "async" | "nomand" | "noiversion" | "nolazytime" | "silent" | "loud" => {}
            "idmap" => self.mapped = Some(false),
            "ridmap" => self.mapped = Some(true),
            "remount" | "tmpcopyup" => {
                return Err(format!("option {option:?} is not supported"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The changes that turn a plain mount into the one asked for.
    pub(super) fn changes(&self) -> Vec<MountChange> {
        let propagation = if self.follows_host { libc::MS_SLAVE } else { libc::MS_PRIVATE };
        vec![
            MountChange {
                set: self.set_below,
                clear: with_atime(self.set_below, self.clear_below),
                propagation,
                recursive: true,
            },
            MountChange {
                set: self.set,
                clear: with_atime(self.set, self.clear),
                propagation: 0,
                recursive: false,
            },
        ]
    }
}

/// The kernel wants the whole access-time field cleared when it is set anew.
fn with_atime(set: u64, clear: u64) -> u64 {
    let field = bits(MountAttrFlags::MOUNT_ATTR__ATIME);
    if (set | clear) & field == 0 { clear } else { clear | field }
}

const fn bits(flags: MountAttrFlags) -> u64 {
    flags.bits() as u64
}

const RDONLY: u64 = bits(MountAttrFlags::MOUNT_ATTR_RDONLY);
const NOSUID: u64 = bits(MountAttrFlags::MOUNT_ATTR_NOSUID);
const NODEV: u64 = bits(MountAttrFlags::MOUNT_ATTR_NODEV);
const NOEXEC: u64 = bits(MountAttrFlags::MOUNT_ATTR_NOEXEC);
const NOATIME: u64 = bits(MountAttrFlags::MOUNT_ATTR_NOATIME);
const STRICTATIME: u64 = bits(MountAttrFlags::MOUNT_ATTR_STRICTATIME);
const NODIRATIME: u64 = bits(MountAttrFlags::MOUNT_ATTR_NODIRATIME);
const NOSYMFOLLOW: u64 = bits(MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW);

/// Option, bits it sets, bits it clears. Relative access time is no bit at all.
const ATTRIBUTES: [(&str, u64, u64); 18] = [
    ("ro", RDONLY, 0),
    ("rw", 0, RDONLY),
    ("nosuid", NOSUID, 0),
    ("suid", 0, NOSUID),
    ("nodev", NODEV, 0),
    ("dev", 0, NODEV),
    ("noexec", NOEXEC, 0),
    ("exec", 0, NOEXEC),
    ("noatime", NOATIME, STRICTATIME),
    ("atime", 0, NOATIME),
    ("strictatime", STRICTATIME, NOATIME),
    ("nostrictatime", 0, STRICTATIME),
    ("relatime", 0, NOATIME | STRICTATIME),
    ("norelatime", 0, 0),
    ("nodiratime", NODIRATIME, 0),
    ("diratime", 0, NODIRATIME),
    ("nosymfollow", NOSYMFOLLOW, 0),
    ("symfollow", 0, NOSYMFOLLOW),
];

/// An absolute path without `.` and empty parts.
///
/// # Errors
/// `..` is refused, and so is the root itself.
pub(super) fn normal_path(path: &Path) -> Result<PathBuf, EnterError> {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => normal.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(EnterError::Configuration(format!("path {} climbs", path.display())));
            }
        }
    }
    if normal == Path::new("/") {
        let what = format!("path {:?} is the root of the container", path.display().to_string());
        return Err(EnterError::Configuration(what));
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(mount: Value) -> Result<ContainerMount, EnterError> {
        ContainerMount::parse(&serde_json::from_value(mount).unwrap(), Path::new("/bundle"), None)
    }

    fn options(list: &[&str]) -> MountOptions {
        let list: Vec<String> = list.iter().map(|option| (*option).to_owned()).collect();
        MountOptions::parse(&list).unwrap()
    }

    #[test]
    fn a_filesystem_keeps_its_own_options_apart_from_those_of_the_mount() {
        let mount = parse(json!({
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        }))
        .unwrap();
        assert_eq!(mount.kind, MountKind::Filesystem("tmpfs"));
        assert_eq!(mount.options.set, NOSUID | STRICTATIME);
        let data = [("mode", "755"), ("size", "65536k")]
            .map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        assert_eq!(mount.options.data, data);
    }

    #[test]
    fn a_bind_is_told_by_its_type_or_its_options() {
        let by_type = json!({"destination": "/a", "type": "bind", "source": "/host"});
        let expected = MountKind::Bind { source: "/host".into(), recursive: false };
        assert_eq!(parse(by_type).unwrap().kind, expected);
        let by_option = json!({"destination": "/a", "source": "x", "options": ["bind", "rbind"]});
        let expected = MountKind::Bind { source: "/bundle/x".into(), recursive: true };
        assert_eq!(parse(by_option).unwrap().kind, expected);
    }

    #[test]
    fn read_only_is_for_one_mount_and_recursively_read_only_for_all_below() {
        let one = options(&["rbind", "ro"]);
        assert_eq!((one.set, one.set_below), (RDONLY, 0));
        let all = options(&["rbind", "rro"]);
        assert_eq!((all.set, all.set_below), (0, RDONLY));
    }

    #[test]
    fn of_opposite_options_the_last_counts() {
        let parsed = options(&["ro", "rw", "nodev"]);
        assert_eq!((parsed.set, parsed.clear), (NODEV, RDONLY));
    }

    #[test]
    fn a_mount_is_private_unless_it_is_to_follow_the_host() {
        let propagation = |list: &[&str]| options(list).changes()[0].propagation;
        assert_eq!(propagation(&[]), libc::MS_PRIVATE);
        assert_eq!(propagation(&["rslave"]), libc::MS_SLAVE);
        assert_eq!(propagation(&["rshared"]), libc::MS_SLAVE);
        assert_eq!(propagation(&["rslave", "rprivate"]), libc::MS_PRIVATE);
    }

    #[test]
    fn setting_the_access_time_clears_the_whole_field_first() {
        let changes = options(&["noatime"]).changes();
        assert_eq!(changes[1].clear, bits(MountAttrFlags::MOUNT_ATTR__ATIME));
        assert_eq!(options(&["ro"]).changes()[1].clear, 0);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let error = parse(json!({"destination": "/a", "type": "nfs", "source": "x"})).unwrap_err();
        assert!(error.to_string().contains("mount at /a: filesystem type \"nfs\""), "{error}");
        let options = json!({"destination": "/a", "type": "tmpfs", "options": ["tmpcopyup"]});
        assert!(parse(options).unwrap_err().to_string().contains("tmpcopyup"));
    }

    /// A user namespace in which root is 100000.
    fn mapped(mount: Value) -> Result<ContainerMount, EnterError> {
        let mut container = IdMappings::default();
        container.take_option("uidmap=0:100000:65536").unwrap();
        container.take_option("gidmap=0:200000:65536").unwrap();
        let mount = serde_json::from_value(mount).unwrap();
        ContainerMount::parse(&mount, Path::new("/bundle"), Some(&container))
    }

    #[test]
    fn what_is_mounted_anew_belongs_to_the_container_of_a_user_namespace() {
        let devices = json!({"destination": "/dev/pts", "type": "devpts", "options": ["gid=5"]});
        let id = |id: &str, key: &str| (key.to_owned(), Some(id.to_owned()));
        assert_eq!(mapped(devices).unwrap().options.data, [id("200005", "gid")]);
        let memory = json!({"destination": "/dev/shm", "type": "tmpfs", "options": ["uid=7"]});
        let data = mapped(memory).unwrap().options.data;
        assert_eq!(data, [id("100007", "uid"), id("200000", "gid")]);
        let wrong = json!({"destination": "/dev/shm", "type": "tmpfs", "options": ["uid=70000"]});
        let error = mapped(wrong).unwrap_err().to_string();
        assert!(error.contains("mount at /dev/shm: its uid"), "{error}");
    }

    #[test]
    fn a_bind_has_mappings_of_its_own_or_those_of_the_container() {
        let ids = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
        let own = json!({"destination": "/a", "type": "bind", "source": "/a", "uidMappings": ids,
            "gidMappings": ids});
        assert_eq!(mapped(own.clone()).unwrap().mappings.unwrap().user_outside(0), Some(5));
        assert!(parse(own).is_ok(), "also without a user namespace");
        let option = json!({"destination": "/a", "type": "bind", "source": "/a",
            "options": ["ridmap"]});
        let mount = mapped(option.clone()).unwrap();
        assert_eq!(mount.mappings.unwrap().user_outside(0), Some(100_000));
        assert_eq!(mount.options.mapped, Some(true));
        assert!(parse(option).unwrap_err().to_string().contains("no mappings"));
        let anew = json!({"destination": "/a", "type": "tmpfs", "options": ["idmap"]});
        assert!(mapped(anew).unwrap_err().to_string().contains("only the files of a bind"));
    }

    #[test]
    fn a_destination_that_climbs_or_is_the_root_is_refused() {
        for destination in ["/a/../b", "/", ""] {
            assert!(parse(json!({"destination": destination, "type": "tmpfs"})).is_err());
        }
        assert_eq!(normal_path(Path::new("a//./b")).unwrap(), Path::new("/a/b"));
    }
}
