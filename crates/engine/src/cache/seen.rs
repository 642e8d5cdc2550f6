//! Remembering that an entry was verified since the machine started.
//!
//! Reading and hashing a whole entry costs tens of milliseconds, more than a
//! start may take. It is needed once: disks and power cuts damage files between
//! two boots, and within one any change of a file also changes the kernel's own
//! record of it. The mark holds that record: boot id, device, inode, change time
//! and size. A mark that cannot be written or read only costs the next lookup a
//! verification.

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW};

use super::CompiledCode;

/// Whether the mark at `path` stands for `code` as it is now.
pub(super) fn is_current(path: &Path, code: &CompiledCode) -> bool {
    let Ok(stamp) = stamp(code) else { return false };
    fs::read(path).is_ok_and(|mark| mark == stamp.as_bytes())
}

/// Marks `code` as verified and as used just now.
pub(super) fn write(path: &Path, code: &CompiledCode) {
    let written = stamp(code).and_then(|stamp| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        file.write_all(stamp.as_bytes())
    });
    if let Err(error) = written {
        tracing::debug!(%error, "code cache entry will be verified again");
    }
}

/// Marks the entry as used just now.
pub(super) fn touch(path: &Path) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    // Without it the entry is only evicted earlier.
    let _ =
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
}

fn stamp(code: &CompiledCode) -> io::Result<String> {
    let metadata = code.file().metadata()?;
    let boot = boot_id()?;
    Ok(format!(
        "{boot} {} {} {}.{:09} {}\n",
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.size()
    ))
}

/// A text that differs after every start of the machine.
fn boot_id() -> io::Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT.get_or_init(|| boot.trim().to_owned()))
}
