//! Which control group hierarchies this machine has, and where.

use std::path::{Path, PathBuf};

use super::CgroupError;

/// The mounted hierarchies, with the place of the calling process in each.
///
/// A machine in *hybrid* mode has the controllers in version 1 hierarchies and
/// an empty version 2 one beside them; it counts as version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(super) hierarchies: Hierarchies,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hierarchies {
    V1(Vec<Hierarchy>),
    V2(Hierarchy),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Names of controllers, `name=…` for a hierarchy without; empty for v2.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) mount_point: PathBuf,
    /// The folder of the calling process.
    pub(super) own: PathBuf,
}

impl Layout {
    /// Reads the layout from `/proc`.
    ///
    /// # Errors
    /// Fails when no hierarchy is mounted.
    pub fn detect() -> Result<Self, CgroupError> {
        let read = |path| fs_err::read_to_string(path).map_err(CgroupError::Layout);
        Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
    }

    /// The layout that the texts of `/proc/self/mountinfo` and
    /// `/proc/self/cgroup` tell.
    ///
    /// # Errors
    /// [`CgroupError::NotMounted`] when no hierarchy is mounted.
    pub fn parse(mountinfo: &str, own: &str) -> Result<Self, CgroupError> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        let mut v2 = None;
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            match mount.kind {
                "cgroup" => {
                    let controllers = mount.controllers();
                    if !v1.iter().any(|known| known.controllers == controllers) {
                        v1.push(mount.hierarchy(controllers, own));
                    }
                }
                "cgroup2" if v2.is_none() => v2 = Some(mount.hierarchy(Vec::new(), own)),
                _ => {}
            }
        }
        let hierarchies = match v2 {
            _ if v1.iter().any(Hierarchy::has_controllers) => Hierarchies::V1(v1),
            Some(unified) => Hierarchies::V2(unified),
            None => return Err(CgroupError::NotMounted),
        };
        Ok(Self { hierarchies })
    }

    /// Every hierarchy.
    pub(super) fn all(&self) -> impl Iterator<Item = &Hierarchy> {
        match &self.hierarchies {
            Hierarchies::V1(hierarchies) => hierarchies.iter(),
            Hierarchies::V2(unified) => std::slice::from_ref(unified).iter(),
        }
    }

    /// The folders of the calling process, each with the name under which its
    /// hierarchy is usually seen below `/sys/fs/cgroup` (empty for version 2).
    pub(crate) fn own_folders(&self) -> Vec<(String, PathBuf)> {
        match &self.hierarchies {
            Hierarchies::V2(unified) => vec![(String::new(), unified.own.clone())],
            Hierarchies::V1(hierarchies) => hierarchies
                .iter()
                .map(|hierarchy| {
                    let name = hierarchy.controllers.join(",");
                    (name.trim_start_matches("name=").to_owned(), hierarchy.own.clone())
                })
                .collect(),
        }
    }
}

impl Hierarchy {
    fn has_controllers(&self) -> bool {
        self.controllers.iter().any(|name| !name.starts_with("name="))
    }
}

struct Mount<'a> {
    kind: &'a str,
    root: &'a str,
    place: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw` (proc(5)).
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let mut back = back.split(' ');
        let (root, place) = (front.next()?, front.next()?);
        let (kind, _source) = (back.next()?, back.next()?);
        Some(Self { kind, root, place, options: back.next().unwrap_or_default() })
    }

    fn controllers(&self) -> Vec<String> {
        const NOT_CONTROLLERS: [&str; 7] =
            ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode", "seclabel"];
        self.options
            .split(',')
            .filter(|option| !NOT_CONTROLLERS.contains(option))
            .filter(|option| !option.starts_with("release_agent="))
            .map(str::to_owned)
            .collect()
    }

    fn hierarchy(&self, controllers: Vec<String>, own: &str) -> Hierarchy {
        let mount_point = PathBuf::from(unescape(self.place));
        let path = own_path(own, &controllers).unwrap_or("/");
        // Below the part of the hierarchy that is mounted here, which is all of
        // it except inside a container.
        let below = path.strip_prefix(self.root.trim_end_matches('/')).unwrap_or(path);
        let own = mount_point.join(below.trim_start_matches('/'));
        Hierarchy { controllers, mount_point, own }
    }
}

/// The path in `4:memory:/a/b` lines for a set of controllers, `0::/a/b` for none.
fn own_path<'a>(own: &'a str, controllers: &[String]) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        let mut listed = names.split(',').filter(|name| !name.is_empty());
        let same = match controllers.first() {
            None => names.is_empty(),
            Some(first) => listed.any(|name| name == first),
        };
        same.then_some(path)
    })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(path: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .into_iter()
        .fold(path.to_owned(), |path, (escaped, plain)| path.replace(escaped, plain))
}

/// The path of a container's cgroup below each hierarchy's mount point, without
/// a leading slash.
///
/// `configured` is `linux.cgroupsPath`. A path that starts with a slash is taken
/// from the root of the hierarchy. The form `slice:prefix:name` names a systemd
/// scope: it is expanded to the folder that systemd uses for it. Nothing at all
/// means `/spinlet/<id>`.
///
/// # Errors
/// A path that climbs, or a slice name that is none.
pub(super) fn relative_path(configured: Option<&Path>, id: &str) -> Result<PathBuf, CgroupError> {
    let invalid = |path: &Path| CgroupError::InvalidPath(path.display().to_string());
    let path = match configured.filter(|path| !path.as_os_str().is_empty()) {
        None => Path::new("spinlet").join(id),
        Some(path) => {
            let text = path.to_str().ok_or_else(|| invalid(path))?;
            let parts: Vec<&str> = text.split(':').collect();
            match parts.as_slice() {
                [slice, prefix, name] if !text.starts_with('/') => {
                    expand_scope(slice, prefix, name).ok_or_else(|| invalid(path))?
                }
                _ => PathBuf::from(text.trim_start_matches('/')),
            }
        }
    };
    let plain =
        path.components().all(|component| matches!(component, std::path::Component::Normal(_)));
    if plain && path.components().next().is_some() { Ok(path) } else { Err(invalid(&path)) }
}

/// `a-b.slice` lies in `a.slice`: systemd.slice(5).
fn expand_scope(slice: &str, prefix: &str, name: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    let stem = if slice.is_empty() { "system" } else { slice.strip_suffix(".slice")? };
    if stem != "-" {
        let mut so_far = String::new();
        for part in stem.split('-') {
            if part.is_empty() {
                return None;
            }
            if !so_far.is_empty() {
                so_far.push('-');
            }
            so_far.push_str(part);
            path.push(format!("{so_far}.slice"));
        }
    }
    if name.is_empty() || name.contains('/') || prefix.contains('/') {
        return None;
    }
    let unit = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}") };
    path.push(format!("{unit}.scope"));
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 27 0:21 / /proc rw,relatime - proc proc rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:32 / /elsewhere rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    const HYBRID_OWN: &str = "4:memory:/a\n3:cpu,cpuacct:/\n2:name=systemd:/b\n0::/user.slice";

    fn v1(layout: &Layout) -> &[Hierarchy] {
        match &layout.hierarchies {
            Hierarchies::V1(hierarchies) => hierarchies,
            Hierarchies::V2(_) => panic!("version 2"),
        }
    }

    #[test]
    fn a_hybrid_machine_counts_as_version_1_with_each_hierarchy_once() {
        let layout = Layout::parse(HYBRID, HYBRID_OWN).unwrap();
        let found: Vec<_> = v1(&layout)
            .iter()
            .map(|h| (h.controllers.join(","), h.own.display().to_string()))
            .collect();
        let expected = [
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/"),
            ("memory", "/sys/fs/cgroup/memory/a"),
            ("name=systemd", "/sys/fs/cgroup/systemd/b"),
        ]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_unified_machine_counts_as_version_2() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
        let layout = Layout::parse(mounts, "0::/system.slice/x").unwrap();
        let Hierarchies::V2(unified) = &layout.hierarchies else { panic!("version 1") };
        assert_eq!(unified.own, Path::new("/sys/fs/cgroup/system.slice/x"));
    }

    #[test]
    fn a_systemd_hierarchy_alone_beside_a_unified_one_is_version_2() {
        let mounts = "\
30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
31 23 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";
        let layout = Layout::parse(mounts, "1:name=systemd:/\n0::/").unwrap();
        assert!(matches!(layout.hierarchies, Hierarchies::V2(_)));
    }

    #[test]
    fn inside_a_container_the_mounted_part_of_a_path_is_left_out() {
        let mounts = "30 23 0:26 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids";
        let layout = Layout::parse(mounts, "8:pids:/docker/abc/inner").unwrap();
        assert_eq!(v1(&layout)[0].own, Path::new("/sys/fs/cgroup/pids/inner"));
    }

    #[test]
    fn no_hierarchy_at_all_is_an_error() {
        assert!(matches!(Layout::parse("", ""), Err(CgroupError::NotMounted)));
    }

    #[test]
    fn a_plain_path_starts_at_the_root_of_the_hierarchy() {
        let path = relative_path(Some(Path::new("/kubepods/pod1/c1")), "c1").unwrap();
        assert_eq!(path, Path::new("kubepods/pod1/c1"));
    }

    #[test]
    fn without_a_configured_path_the_container_id_names_the_cgroup() {
        assert_eq!(relative_path(None, "c1").unwrap(), Path::new("spinlet/c1"));
    }

    #[test]
    fn a_systemd_scope_is_expanded_as_systemd_does() {
        let scope = Path::new("kubepods-besteffort-podx.slice:cri-containerd:c1");
        assert_eq!(
            relative_path(Some(scope), "c1").unwrap(),
            Path::new(
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podx.slice/cri-containerd-c1.scope"
            )
        );
        assert_eq!(
            relative_path(Some(Path::new(":spin:c1")), "c1").unwrap(),
            Path::new("system.slice/spin-c1.scope")
        );
        assert_eq!(
            relative_path(Some(Path::new("-.slice:spin:c1")), "c1").unwrap(),
            Path::new("spin-c1.scope")
        );
    }

    #[test]
    fn a_path_that_climbs_or_is_no_slice_is_refused() {
        for path in
            ["/a/../../b", "/", "a--b.slice:p:n", "a.scope:p:n", "a.slice:p:", "x.slice:..:../y"]
        {
            let result = relative_path(Some(Path::new(path)), "c1");
            assert!(matches!(result, Err(CgroupError::InvalidPath(_))), "{path}");
        }
    }
}
