//! Which users and groups of a container are which of the host: user namespaces
//! (user_namespaces(7)) and mounts whose files have other owners.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{EnterError, system};
use crate::bundle::{Bundle, Namespace};
use crate::syscalls::NamespaceHolder;

/// Ids inside and outside, for users and for groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct IdMappings {
    users: Vec<Range>,
    groups: Vec<Range>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    length: u32,
}

/// The user namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserNamespace {
    pub(super) mappings: IdMappings,
    /// Where it is, unless it is to be made.
    path: Option<PathBuf>,
}

impl UserNamespace {
    /// The one that a spec asks for, if any.
    ///
    /// # Errors
    /// One without mappings, and mappings that leave out who the process is.
    pub(super) fn of(bundle: &Bundle) -> Result<Option<Self>, EnterError> {
        let path = match bundle.namespace(LinuxNamespaceType::User) {
            Namespace::Inherit => return Ok(None),
            Namespace::New => None,
            Namespace::Path(path) => Some(path),
        };
        let linux = bundle.linux();
        let mappings = IdMappings::of(
            linux.and_then(|linux| linux.uid_mappings().as_deref()),
            linux.and_then(|linux| linux.gid_mappings().as_deref()),
        );
        let user = bundle.spec().process().as_ref().map(|process| process.user().clone());
        let user = user.unwrap_or_default();
        let groups = user.additional_gids().iter().flatten().copied().chain([user.gid()]);
        let without = [("user", user.uid(), mappings.user_outside(user.uid()))]
            .into_iter()
            .chain(groups.map(|group| ("group", group, mappings.group_outside(group))))
            .find(|(_, _, outside)| outside.is_none());
        match without {
            Some((kind, id, _)) => Err(EnterError::Configuration(format!(
                "{kind} {id} of the process is none of its user namespace"
            ))),
            None => Ok(Some(Self { mappings, path })),
        }
    }

    /// Opens it, which makes it if there is none yet. The node's `/proc` must still
    /// be seen.
    pub(super) fn open(&self) -> Result<OwnedFd, EnterError> {
        match &self.path {
            Some(path) => open_namespace(path)
                .map_err(system(|| format!("open the user namespace {}", path.display()))),
            None => {
                self.mappings.namespace().map_err(system(|| "make a new user namespace".to_owned()))
            }
        }
    }
}

impl IdMappings {
    /// The mappings of a spec or of one of its mounts.
    pub(super) fn of(users: Option<&[LinuxIdMapping]>, groups: Option<&[LinuxIdMapping]>) -> Self {
        let ranges = |mappings: Option<&[LinuxIdMapping]>| {
            let mappings = mappings.unwrap_or_default().iter();
            mappings
                .map(|mapping| Range {
                    inside: mapping.container_id(),
                    outside: mapping.host_id(),
                    length: mapping.size(),
                })
                .collect()
        };
        Self { users: ranges(users), groups: ranges(groups) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// Takes in a mount option `uidmap=0:100000:65536,…` or `gidmap=…`, as
    /// containerd writes them for snapshots. False for any other.
    ///
    /// # Errors
    /// For one that is not of this form.
    pub(super) fn take_option(&mut self, option: &str) -> Result<bool, String> {
        let (list, value) = if let Some(value) = option.strip_prefix("uidmap=") {
            (&mut self.users, value)
        } else if let Some(value) = option.strip_prefix("gidmap=") {
            (&mut self.groups, value)
        } else {
            return Ok(false);
        };
        let range = |text: &str| {
            let mut numbers = text.split(':').map(|number| number.parse::<u32>().ok());
            let range = Range {
                inside: numbers.next()??,
                outside: numbers.next()??,
                length: numbers.next()??,
            };
            numbers.next().is_none().then_some(range)
        };
        let ranges: Option<Vec<Range>> = value.split(',').map(range).collect();
        *list = ranges
            .ok_or_else(|| format!("option {option:?} is not of the form inside:outside:length"))?;
        Ok(true)
    }

    /// The host's number of a user of the container.
    pub(super) fn user_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.users, inside)
    }

    /// The host's number of a group of the container.
    pub(super) fn group_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.groups, inside)
    }

    /// A new user namespace with these mappings, in which no process is. It lives as
    /// long as the descriptor and whatever is in it by then.
    pub(super) fn namespace(&self) -> Result<OwnedFd, Errno> {
        let holder = NamespaceHolder::in_new_user_namespace()?;
        let process = holder.folder_in_proc()?;
        for (file, ranges) in [("uid_map", &self.users), ("gid_map", &self.groups)] {
            let file = rustix::fs::openat(
                CWD,
                process.join(file),
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            // The kernel takes all of it in one write or nothing.
            rustix::io::write(&file, lines(ranges).as_bytes())?;
        }
        open_namespace(&process.join("ns/user"))
    }
}

fn open_namespace(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn outside(ranges: &[Range], inside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside).filter(|offset| *offset < range.length)?;
        range.outside.checked_add(offset)
    })
}

fn lines(ranges: &[Range]) -> String {
    ranges.iter().fold(String::new(), |mut text, Range { inside, outside, length }| {
        let _ = writeln!(text, "{inside} {outside} {length}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::tests::bundle;

    fn namespace(user: Value) -> Result<Option<UserNamespace>, EnterError> {
        let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        UserNamespace::of(&bundle(json!({
            "process": { "cwd": "/", "user": user },
            "linux": {
                "namespaces": [{"type": "user", "path": "/proc/17/ns/user"}],
                "uidMappings": ids, "gidMappings": ids,
            },
        })))
    }

    #[test]
    fn ids_inside_are_found_outside_and_those_of_nobody_are_not() {
        let mappings = namespace(json!({"uid": 0, "gid": 0})).unwrap().unwrap().mappings;
        assert_eq!(mappings.user_outside(0), Some(100_000));
        assert_eq!(mappings.group_outside(999), Some(100_999));
        assert_eq!(mappings.user_outside(1000), None);
        assert_eq!(lines(&mappings.users), "0 100000 1000\n");
    }

    #[test]
    fn a_process_that_the_namespace_does_not_know_is_refused_by_its_number() {
        for (user, named) in [
            (json!({"uid": 1000, "gid": 0}), "user 1000"),
            (json!({"uid": 0, "gid": 2000}), "group 2000"),
            (json!({"uid": 0, "gid": 0, "additionalGids": [3000]}), "group 3000"),
        ] {
            let error = namespace(user).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn options_of_snapshots_are_read_and_a_wrong_one_is_named() {
        let mut mappings = IdMappings::default();
        assert!(mappings.take_option("uidmap=0:100000:65536").unwrap());
        assert!(mappings.take_option("gidmap=0:200000:10,10:300000:5").unwrap());
        assert!(!mappings.take_option("lowerdir=/a").unwrap());
        assert_eq!(mappings.user_outside(1), Some(100_001));
        assert_eq!(mappings.group_outside(12), Some(300_002));
        for wrong in ["uidmap=", "uidmap=0:1", "gidmap=0:1:2:3", "gidmap=a:1:2"] {
            let error = mappings.take_option(wrong).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
