//! The system calls that no safe wrapper offers. The only unsafe code of this
//! crate; every block is argued from what is visible in this file.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;

use rustix::io::Errno;

/// The layout of `struct clone_args` as of Linux 5.7 (`CLONE_ARGS_SIZE_VER2`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// libc's constant of this name does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The layout of `struct mount_attr` (`MOUNT_ATTR_SIZE_VER0`).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A change to a mount, or with `recursive` to all mounts below it too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountChange {
    /// `MOUNT_ATTR_*` bits to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub(crate) clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, … or 0.
    pub(crate) propagation: u64,
    /// Whether the mounts below change too.
    pub(crate) recursive: bool,
}

/// Changes the attributes of the mount that `mount` refers to.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, change: MountChange) -> Result<(), Errno> {
    let attributes = MountAttr {
        set: change.set,
        clear: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    set_attributes(mount, &attributes, change.recursive)
}

/// Gives the files of a mount that was never mounted anywhere the owners that they
/// have in a user namespace.
pub(crate) fn set_id_mapping(
    mount: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    recursive: bool,
) -> Result<(), Errno> {
    let userns_fd = u64::from(namespace.as_raw_fd().unsigned_abs());
    let attributes = MountAttr { set: libc::MOUNT_ATTR_IDMAP, userns_fd, ..MountAttr::default() };
    set_attributes(mount, &attributes, recursive)
}

fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: &MountAttr,
    recursive: bool,
) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is a static NUL-terminated string, `attributes` is a live
    // value of the layout and size the kernel expects; it only reads both.
    #[expect(unsafe_code, reason = "no safe wrapper for mount_setattr exists")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Namespaces the calling thread can leave for new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewNamespace {
    /// Control groups.
    Cgroup,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Mounts.
    Mount,
    /// Network.
    Network,
    /// Host and domain name.
    Uts,
}

/// Moves the calling thread into a new namespace of its own.
pub(crate) fn unshare(namespace: NewNamespace) -> Result<(), Errno> {
    use rustix::thread::UnshareFlags;
    let flags = match namespace {
        NewNamespace::Cgroup => UnshareFlags::NEWCGROUP,
        NewNamespace::Ipc => UnshareFlags::NEWIPC,
        NewNamespace::Mount => UnshareFlags::NEWNS,
        NewNamespace::Network => UnshareFlags::NEWNET,
        NewNamespace::Uts => UnshareFlags::NEWUTS,
    };
    // SAFETY: the hazard is `CLONE_FILES`, which gives threads different
    // descriptor tables; none of the flags above implies it.
    #[expect(unsafe_code, reason = "rustix offers no safe subset of unshare")]
    unsafe {
        rustix::thread::unshare_unsafe(flags)
    }
}

/// Everything the new process does before it becomes another program, prepared
/// so that it allocates nothing.
pub(crate) struct NewProcess {
    /// Absolute path of the program.
    pub(crate) program: CString,
    /// Its arguments, the program's name first.
    pub(crate) arguments: Vec<CString>,
    /// Its environment, `KEY=VALUE`.
    pub(crate) environment: Vec<CString>,
    /// `(descriptor here, number there)`; every number there is below every
    /// descriptor here.
    pub(crate) descriptors: Vec<(OwnedFd, i32)>,
    /// Version 1 `tasks` files to enter.
    pub(crate) tasks: Vec<OwnedFd>,
    /// Folder of a version 2 cgroup to be made in.
    pub(crate) cgroup: Option<OwnedFd>,
    /// Whether it is process 1 of a new pid namespace.
    pub(crate) new_pid_namespace: bool,
}

/// What the child reports when it cannot become the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The supervisor died meanwhile.
    Parent,
    /// Writing to a `tasks` file.
    Cgroup,
    /// Placing a descriptor.
    Descriptor,
    /// Resetting signals, session or working directory.
    Process,
    /// `execve`.
    Execute,
}

impl Step {
    const ALL: [Self; 5] =
        [Self::Parent, Self::Cgroup, Self::Descriptor, Self::Process, Self::Execute];

    /// Reads the report that [`child`] wrote.
    pub(crate) fn decode(report: [u8; 5]) -> Option<(Self, Errno)> {
        let [step, errno @ ..] = report;
        let step = Self::ALL.into_iter().find(|known| *known as u8 == step)?;
        Some((step, Errno::from_raw_os_error(i32::from_ne_bytes(errno))))
    }
}

/// Starts a process. Returns its pid and a pidfd.
///
/// `report` is the close-on-exec end of a pipe that gets five bytes for
/// [`Step::decode`] when the program could not be executed, and nothing otherwise.
pub(crate) fn clone_and_execute(
    process: &NewProcess,
    report: BorrowedFd<'_>,
) -> Result<(i32, OwnedFd), Errno> {
    let arguments = null_terminated(&process.arguments);
    let environment = null_terminated(&process.environment);
    let mut pidfd: libc::c_int = -1;
    let mut flags = libc::CLONE_PIDFD as u64;
    if process.new_pid_namespace {
        flags |= libc::CLONE_NEWPID as u64;
    }
    if process.cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let clone_args = CloneArgs {
        flags,
        cgroup: process.cgroup.as_ref().map_or(0, |folder| folder.as_raw_fd() as u64),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    let parent = rustix::process::getpid().as_raw_nonzero().get();
    let blocked = BlockedSignals::all()?;
    // SAFETY: `clone_args` has the layout and size the kernel expects and its
    // pidfd pointer is to a live integer. Without CLONE_VM the child works on a
    // copy of this address space, so nothing it does can touch this process. In
    // the child only this thread exists and other threads may have held locks;
    // `child` therefore makes only system calls on memory prepared above, never
    // allocates, locks or unwinds, and never returns.
    #[expect(unsafe_code, reason = "no safe wrapper for clone3 exists")]
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone3, &raw const clone_args, size_of::<CloneArgs>());
        if pid == 0 {
            child(process, &arguments, &environment, parent, report.as_raw_fd());
        }
        pid
    };
    let failure = (pid < 0).then(last_errno);
    drop(blocked);
    if let Some(errno) = failure {
        return Err(errno);
    }
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so the kernel has stored a new
    // descriptor there that nobody else owns.
    #[expect(unsafe_code, reason = "takes over the descriptor that the kernel made")]
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid as i32, pidfd))
}

/// The life of the new process up to `execve`.
///
/// # Safety
/// Must run in a process of its own (after clone3 without CLONE_VM), with
/// `arguments` and `environment` null-terminated arrays of live C strings.
#[expect(unsafe_code, reason = "raw system calls between clone3 and execve")]
unsafe fn child(
    process: &NewProcess,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    parent: i32,
    report: i32,
) -> ! {
    // SAFETY: every call below is an async-signal-safe system call wrapper given
    // integers, or pointers into memory that the caller keeps alive; failures
    // end the process through `fail`, which is of the same kind.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) != 0 {
            fail(report, Step::Process);
        }
        // A parent that died before the line above sends nothing. Across a pid
        // namespace the parent's number is 0 and tells nothing; there the closed
        // control socket does.
        let seen = libc::getppid();
        if seen != parent && seen != 0 {
            fail(report, Step::Parent);
        }
        for tasks in &process.tasks {
            if libc::write(tasks.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1 {
                fail(report, Step::Cgroup);
            }
        }
        let mut above = 0;
        for (here, there) in &process.descriptors {
            if libc::dup3(here.as_raw_fd(), *there, 0) < 0 {
                fail(report, Step::Descriptor);
            }
            if *there >= above {
                above = *there + 1;
            }
        }
        // Whatever some library opened without close-on-exec stays behind. Old
        // kernels lack the call; everything of ours is close-on-exec anyway.
        libc::syscall(libc::SYS_close_range, above, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if libc::setsid() < 0 || libc::chdir(c"/".as_ptr()) != 0 {
            fail(report, Step::Process);
        }
        for signal in 1..=libc::SIGRTMAX() {
            // Refused for SIGKILL, SIGSTOP and the two that libc keeps for itself.
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) != 0 {
            fail(report, Step::Process);
        }
        libc::execve(process.program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
        fail(report, Step::Execute)
    }
}

/// Reports the step and errno to the supervisor and ends the process.
///
/// # Safety
/// As for [`child`].
#[expect(unsafe_code, reason = "raw system calls between clone3 and execve")]
unsafe fn fail(report: i32, step: Step) -> ! {
    let [a, b, c, d] = last_errno().raw_os_error().to_ne_bytes();
    let text = [step as u8, a, b, c, d];
    // SAFETY: writes a live buffer of the given length, then ends this process
    // without running any destructor or exit handler of the copied parent.
    unsafe {
        libc::write(report, text.as_ptr().cast(), text.len());
        libc::_exit(127)
    }
}

/// A process that does nothing and holds a namespace, until dropped.
pub(crate) struct NamespaceHolder {
    pidfd: OwnedFd,
}

impl NamespaceHolder {
    /// One in a new user namespace without mappings.
    pub(crate) fn in_new_user_namespace() -> Result<Self, Errno> {
        let mut pidfd: libc::c_int = -1;
        let clone_args = CloneArgs {
            flags: (libc::CLONE_PIDFD | libc::CLONE_NEWUSER) as u64,
            pidfd: (&raw mut pidfd) as u64,
            exit_signal: libc::SIGCHLD as u64,
            ..CloneArgs::default()
        };
        let blocked = BlockedSignals::all()?;
        // SAFETY: as in `clone_and_execute`; the child makes only the two system calls
        // below, touches no memory and never returns. Should this thread end first,
        // the kernel kills it.
        #[expect(unsafe_code, reason = "no safe wrapper for clone3 exists")]
        let pid = unsafe {
            let pid =
                libc::syscall(libc::SYS_clone3, &raw const clone_args, size_of::<CloneArgs>());
            if pid == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
                loop {
                    libc::pause();
                }
            }
            pid
        };
        let failure = (pid < 0).then(last_errno);
        drop(blocked);
        if let Some(errno) = failure {
            return Err(errno);
        }
        // SAFETY: clone3 succeeded with CLONE_PIDFD, so the kernel has stored a new
        // descriptor there that nobody else owns.
        #[expect(unsafe_code, reason = "takes over the descriptor that the kernel made")]
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self { pidfd })
    }

    /// Its folder in the `/proc` that this process sees, which may be of another pid
    /// namespace than this process is in.
    pub(crate) fn folder_in_proc(&self) -> Result<PathBuf, Errno> {
        let path = format!("/proc/self/fdinfo/{}", self.pidfd.as_raw_fd());
        let text = fs_err::read_to_string(path).map_err(|_| Errno::SRCH)?;
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
        match pid.and_then(|pid| pid.parse::<u32>().ok()) {
            Some(pid) if pid > 0 => Ok(PathBuf::from(format!("/proc/{pid}"))),
            _ => Err(Errno::SRCH),
        }
    }
}

impl Drop for NamespaceHolder {
    fn drop(&mut self) {
        use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
        // Whoever sweeps up ended children may have been first.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// All signals blocked in this thread, until dropped.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn all() -> Result<Self, Errno> {
        // SAFETY: both sets are live values that the calls initialise before they
        // are read; an all-zero sigset_t is a valid (empty) one.
        #[expect(unsafe_code, reason = "rustix leaves signal masks to libc")]
        let (result, before) = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            let result = libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            (result, before)
        };
        if result == 0 { Ok(Self { before }) } else { Err(Errno::from_raw_os_error(result)) }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: restores the mask that the kernel gave us; the pointer is live.
        #[expect(unsafe_code, reason = "rustix leaves signal masks to libc")]
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut());
        }
    }
}

fn null_terminated(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|text| CStr::as_ptr(text)).chain([ptr::null()]).collect()
}

fn last_errno() -> Errno {
    // Reads errno only: no allocation, so also fit for the child.
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// Takes over a descriptor that came through `execve`.
pub(crate) fn inherited(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the calls read and set a flag of a number; they touch no memory.
    #[expect(unsafe_code, reason = "the number has no owner that could be borrowed")]
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(last_errno());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::ACCESS);
    }
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "the number has no owner that could be borrowed")]
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    if result < 0 {
        return Err(last_errno());
    }
    // SAFETY: a descriptor without the flag came through execve: the standard
    // library and rustix set it on whatever they open. Nothing in this process
    // owns such a number, and as it has the flag now nobody takes it again.
    #[expect(unsafe_code, reason = "takes over what the parent process gave")]
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives the heap's unused pages back. Only glibc has to be asked.
pub(crate) fn trim_heap() {
    // SAFETY: `malloc_trim` may be called at any time from any thread; it changes
    // nothing that was allocated.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no safe wrapper for malloc_trim exists")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Duplicates a descriptor to a number above those that programs are given, so
/// that placing one never overwrites another's source.
pub(crate) fn lift(descriptor: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, LIFTED)
}

/// The first number that [`lift`] uses.
pub(crate) const LIFTED: i32 = 64;
