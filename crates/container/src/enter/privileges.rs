//! Giving up privileges: limits, identity, capabilities, profiles, filters.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{PosixRlimitType, Process};
use rustix::fs::{Gid, Mode, Uid};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::capabilities::Sets;
use super::{EnterError, system};
use crate::bundle::Bundle;

/// Everything that the spec says about the process itself.
#[derive(Debug)]
pub(super) struct Privileges {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    umask: Mode,
    limits: Vec<(Resource, Rlimit)>,
    capabilities: Sets,
    pub(super) oom_score_adj: Option<i32>,
    profile: Option<Profile>,
}

/// A security module's profile to change to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Profile {
    AppArmor(String),
    SeLinux(String),
}

/// A profile with the file through which to change to it.
#[derive(Debug)]
pub(super) struct OpenProfile {
    file: File,
    request: String,
}

const DEFAULT_UMASK: u32 = 0o022;

impl Privileges {
    /// Reads and checks what the spec says.
    pub(super) fn of(bundle: &Bundle) -> Result<Self, EnterError> {
        let no_process = || EnterError::Configuration("the spec has no process".to_owned());
        let process = bundle.spec().process().as_ref().ok_or_else(no_process)?;
        let user = process.user();
        let groups = user.additional_gids().iter().flatten();
        Ok(Self {
            uid: Uid::from_raw(valid_id(user.uid())?),
            gid: Gid::from_raw(valid_id(user.gid())?),
            groups: groups
                .map(|gid| valid_id(*gid).map(Gid::from_raw))
                .collect::<Result<_, _>>()?,
            umask: Mode::from_raw_mode(user.umask().unwrap_or(DEFAULT_UMASK) & 0o777),
            limits: limits(process),
            capabilities: Sets::of(process.capabilities().as_ref(), user.uid())?,
            oom_score_adj: process.oom_score_adj(),
            profile: Profile::of(process)?,
        })
    }

    /// Opens what is needed to change to the profile, while the node's `/proc`
    /// can still be seen.
    pub(super) fn open_profile(&self) -> Result<Option<OpenProfile>, EnterError> {
        self.profile.as_ref().map(Profile::open).transpose()
    }

    /// Drops everything the spec does not grant. Only for a single thread.
    pub(super) fn drop(
        &self,
        user_namespace: Option<OwnedFd>,
        profile: Option<OpenProfile>,
    ) -> Result<(), EnterError> {
        for (resource, limit) in &self.limits {
            rustix::process::setrlimit(*resource, *limit)
                .map_err(system(|| format!("set the limit {resource:?}")))?;
        }
        let failed = |attempt: &'static str| system(move || attempt.to_owned());
        // A change of user or of user namespace would drop the signal that ties this
        // process to its supervisor, and a change of user the capabilities that the
        // next lines keep.
        let with_parent =
            rustix::process::parent_process_death_signal().map_err(failed("read a setting"))?;
        if let Some(namespace) = user_namespace {
            // The kernel gives all capabilities of the namespace; none of the host's
            // are left.
            let kind = Some(LinkNameSpaceType::User);
            move_into_link_name_space(namespace.as_fd(), kind)
                .map_err(failed("join the user namespace"))?;
        }
        self.capabilities.limit_bounding().map_err(failed("limit the capabilities"))?;
        rustix::thread::set_keep_capabilities(true).map_err(failed("keep capabilities"))?;
        set_thread_groups(&self.groups).map_err(failed("set the supplementary groups"))?;
        set_thread_res_gid(self.gid, self.gid, self.gid).map_err(failed("set the group"))?;
        set_thread_res_uid(self.uid, self.uid, self.uid).map_err(failed("set the user"))?;
        rustix::thread::set_keep_capabilities(false).map_err(failed("keep no capabilities"))?;
        self.capabilities.apply().map_err(failed("set the capabilities"))?;
        rustix::process::set_parent_process_death_signal(with_parent)
            .map_err(failed("stay tied to the supervisor"))?;
        rustix::process::umask(self.umask);
        if let Some(mut profile) = profile {
            profile.file.write_all(profile.request.as_bytes()).map_err(|source| {
                EnterError::System { attempt: profile.request.clone(), source }
            })?;
        }
        rustix::thread::set_no_new_privs(true).map_err(failed("set no_new_privs"))
    }
}

impl Profile {
    fn of(process: &Process) -> Result<Option<Self>, EnterError> {
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let apparmor = given(process.apparmor_profile()).filter(|name| name != "unconfined");
        match (apparmor, given(process.selinux_label())) {
            (None, None) => Ok(None),
            (Some(name), None) => Ok(Some(Self::AppArmor(name))),
            (None, Some(label)) => Ok(Some(Self::SeLinux(label))),
            (Some(_), Some(_)) => Err(EnterError::Configuration(
                "an AppArmor profile and a SELinux label cannot both be applied".to_owned(),
            )),
        }
    }

    fn open(&self) -> Result<OpenProfile, EnterError> {
        let (path, request) = match self {
            Self::AppArmor(name) => {
                let own = Path::new("/proc/self/attr/apparmor/current");
                let enabled = fs_err::read_to_string("/sys/module/apparmor/parameters/enabled");
                if !enabled.is_ok_and(|enabled| enabled.trim() == "Y") {
                    return Err(EnterError::Configuration(format!(
                        "AppArmor profile {name:?} is asked for, but this node's kernel has no AppArmor"
                    )));
                }
                let path = if own.exists() { own } else { Path::new("/proc/self/attr/current") };
                (path, format!("changeprofile {name}"))
            }
            Self::SeLinux(label) => {
                if !Path::new("/sys/fs/selinux/enforce").exists() {
                    return Err(EnterError::Configuration(format!(
                        "SELinux label {label:?} is asked for, but this node has no SELinux"
                    )));
                }
                (Path::new("/proc/self/attr/current"), label.clone())
            }
        };
        let file = std::fs::OpenOptions::new().write(true).open(path).map_err(|source| {
            EnterError::System { attempt: format!("open {}", path.display()), source }
        })?;
        Ok(OpenProfile { file, request })
    }
}

/// The largest number means "no change" to the kernel.
fn valid_id(id: u32) -> Result<u32, EnterError> {
    if id == u32::MAX {
        return Err(EnterError::Configuration(format!("{id} is no user or group number")));
    }
    Ok(id)
}

fn limits(process: &Process) -> Vec<(Resource, Rlimit)> {
    let value = |value: u64| (value != u64::MAX).then_some(value);
    let limits = process.rlimits().iter().flatten();
    limits
        .map(|limit| {
            let both = Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) };
            (resource(limit.typ()), both)
        })
        .collect()
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::tests::bundle;

    fn privileges(process: Value) -> Result<Privileges, EnterError> {
        let mut whole = json!({"cwd": "/", "user": {"uid": 0, "gid": 0}});
        whole.as_object_mut().unwrap().extend(process.as_object().unwrap().clone());
        Privileges::of(&bundle(json!({ "process": whole })))
    }

    #[test]
    fn identity_and_limits_are_taken_from_the_spec() {
        let user = json!({"uid": 65532, "gid": 65533, "additionalGids": [7], "umask": 0o77});
        let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX}]);
        let privileges = privileges(json!({"user": user, "rlimits": limits})).unwrap();
        assert_eq!((privileges.uid.as_raw(), privileges.gid.as_raw()), (65532, 65533));
        assert_eq!(privileges.groups, [Gid::from_raw(7)]);
        assert_eq!(privileges.umask, Mode::from_raw_mode(0o77));
        let expected = Rlimit { current: Some(10), maximum: None };
        assert!(privileges.limits == [(Resource::Nofile, expected)]);
    }

    #[test]
    fn a_user_number_that_means_no_change_is_refused() {
        let user = json!({"uid": u32::MAX, "gid": 0});
        assert!(privileges(json!({ "user": user })).is_err());
    }

    #[test]
    fn an_unconfined_profile_is_none() {
        let unconfined = privileges(json!({"apparmorProfile": "unconfined"})).unwrap();
        assert_eq!(unconfined.profile, None);
        let named = privileges(json!({"apparmorProfile": "cri-containerd.apparmor.d"})).unwrap();
        assert_eq!(named.profile, Some(Profile::AppArmor("cri-containerd.apparmor.d".into())));
    }

    #[test]
    fn a_profile_that_the_kernel_cannot_apply_is_an_error_and_not_left_out() {
        let both = json!({"apparmorProfile": "a", "selinuxLabel": "b"});
        assert!(privileges(both).is_err());
        if !Path::new("/sys/fs/selinux/enforce").exists() {
            let label = privileges(json!({"selinuxLabel": "system_u:system_r:container_t:s0"}));
            let error = label.unwrap().open_profile().unwrap_err();
            assert!(error.to_string().contains("has no SELinux"), "{error}");
        }
    }
}
