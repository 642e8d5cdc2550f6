//! The capability sets of a process that never executes anything again.

use oci_spec::runtime::{Capabilities, LinuxCapabilities};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::EnterError;

/// What is left to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) bounding: CapabilitySet,
    pub(super) effective: CapabilitySet,
    pub(super) permitted: CapabilitySet,
    pub(super) inheritable: CapabilitySet,
    pub(super) ambient: CapabilitySet,
}

impl Sets {
    /// The sets that a program started from this spec would have: those of the
    /// spec for root; for any other user what passes through `execve`, which is
    /// the ambient set. No sets at all leave none.
    ///
    /// # Errors
    /// A capability that this crate does not know cannot be kept.
    pub(super) fn of(spec: Option<&LinuxCapabilities>, uid: u32) -> Result<Self, EnterError> {
        let set = |get: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
            spec.and_then(|spec| get(spec).as_ref()).map_or(Ok(CapabilitySet::empty()), collect)
        };
        let ambient = set(LinuxCapabilities::ambient)?;
        let of_root = |get| if uid == 0 { set(get) } else { Ok(ambient) };
        Ok(Self {
            bounding: set(LinuxCapabilities::bounding)?,
            effective: of_root(LinuxCapabilities::effective)?,
            permitted: of_root(LinuxCapabilities::permitted)?,
            inheritable: of_root(LinuxCapabilities::inheritable)?,
            ambient,
        })
    }

    /// Drops everything else from the bounding set; needs `CAP_SETPCAP`.
    pub(super) fn limit_bounding(&self) -> Result<(), Errno> {
        for bit in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            match capability_is_in_bounding_set(capability) {
                Ok(true) if !self.bounding.contains(capability) => {
                    remove_capability_from_bounding_set(capability)?;
                }
                Ok(_) => {}
                // The first that the kernel does not know is past the last.
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Takes on all other sets.
    pub(super) fn apply(&self) -> Result<(), Errno> {
        clear_ambient_capability_set()?;
        set_capabilities(
            None,
            CapabilitySets {
                effective: self.effective,
                permitted: self.permitted,
                inheritable: self.inheritable,
            },
        )?;
        // The kernel holds the ambient set to what is permitted and inheritable.
        let ambient = self.ambient & self.permitted & self.inheritable;
        ambient.iter().try_for_each(|one| configure_capability_in_ambient_set(one, true))
    }
}

fn collect(capabilities: &Capabilities) -> Result<CapabilitySet, EnterError> {
    capabilities
        .iter()
        .map(|capability| {
            let name = capability.to_string();
            CapabilitySet::from_name(name.trim_start_matches("CAP_"))
                .ok_or_else(|| EnterError::Configuration(format!("capability {name} is not known")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> LinuxCapabilities {
        let all = json!(["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
        serde_json::from_value(json!({
            "bounding": all, "effective": all, "permitted": all,
            "inheritable": [], "ambient": ["CAP_NET_BIND_SERVICE"],
        }))
        .unwrap()
    }

    #[test]
    fn root_keeps_what_the_spec_says() {
        let sets = Sets::of(Some(&spec()), 0).unwrap();
        assert_eq!(sets.permitted, CapabilitySet::CHOWN | CapabilitySet::NET_BIND_SERVICE);
        assert_eq!(sets.effective, sets.permitted);
        assert_eq!(sets.inheritable, CapabilitySet::empty());
    }

    #[test]
    fn another_user_keeps_what_execve_would_have_left() {
        let sets = Sets::of(Some(&spec()), 65532).unwrap();
        for set in [sets.permitted, sets.effective, sets.inheritable, sets.ambient] {
            assert_eq!(set, CapabilitySet::NET_BIND_SERVICE);
        }
    }

    #[test]
    fn a_spec_without_sets_leaves_none() {
        let sets = Sets::of(None, 0).unwrap();
        assert_eq!(sets.bounding | sets.permitted | sets.ambient, CapabilitySet::empty());
    }

    #[test]
    fn every_capability_of_linux_has_a_bit() {
        let names = [
            "AUDIT_CONTROL",
            "AUDIT_READ",
            "AUDIT_WRITE",
            "BLOCK_SUSPEND",
            "BPF",
            "CHECKPOINT_RESTORE",
            "CHOWN",
            "DAC_OVERRIDE",
            "DAC_READ_SEARCH",
            "FOWNER",
            "FSETID",
            "IPC_LOCK",
            "IPC_OWNER",
            "KILL",
            "LEASE",
            "LINUX_IMMUTABLE",
            "MAC_ADMIN",
            "MAC_OVERRIDE",
            "MKNOD",
            "NET_ADMIN",
            "NET_BIND_SERVICE",
            "NET_BROADCAST",
            "NET_RAW",
            "PERFMON",
            "SETGID",
            "SETFCAP",
            "SETPCAP",
            "SETUID",
            "SYS_ADMIN",
            "SYS_BOOT",
            "SYS_CHROOT",
            "SYS_MODULE",
            "SYS_NICE",
            "SYS_PACCT",
            "SYS_PTRACE",
            "SYS_RAWIO",
            "SYS_RESOURCE",
            "SYS_TIME",
            "SYS_TTY_CONFIG",
            "SYSLOG",
            "WAKE_ALARM",
        ];
        let all: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
        let spec = serde_json::from_value(json!({ "bounding": all })).unwrap();
        assert_eq!(Sets::of(Some(&spec), 0).unwrap().bounding.bits(), (1 << 41) - 1);
    }
}
