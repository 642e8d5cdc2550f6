//! Start a program in a container's cgroup and pid namespace.
//!
//! The child is made with `clone3` and becomes the program with `execve`;
//! between the two it makes only system calls on memory prepared before, so that
//! it is safe to start one from a process with other threads. The child
//!
//! - joins the cgroups before it is the program: no page is charged elsewhere;
//! - is killed when the *thread* that called [`spawn`] ends (`PDEATHSIG`): call
//!   it from a thread that lives as long as the process, not from a pool;
//! - has default signal dispositions, an empty signal mask, a session of its
//!   own, `/` as its working directory, and exactly the descriptors given.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};
use rustix::thread::LinkNameSpaceType;

use crate::cgroup::Entrance;
use crate::syscalls::{self, NewProcess, Step};

/// The pid namespace of a new process.
#[derive(Debug)]
pub enum PidNamespace {
    /// The caller's.
    Inherit,
    /// A new one, in which the process has number 1.
    New,
    /// An existing one, opened from `/proc/<pid>/ns/pid` or a bind mount of it.
    Join(OwnedFd),
}

/// A program to start.
#[derive(Debug)]
pub struct Program {
    /// Absolute path of the executable.
    pub path: PathBuf,
    /// Arguments, the program's name first.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// The descriptors of the program with their numbers there, all below 64.
    pub descriptors: Vec<(OwnedFd, i32)>,
    /// The cgroup it starts in; none for the caller's.
    pub entrance: Option<Entrance>,
    /// Its pid namespace.
    pub pid_namespace: PidNamespace,
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A path, argument or variable with a NUL byte in it.
    #[error("{0:?} has a NUL byte in it and cannot be given to a program")]
    Nul(String),
    /// A descriptor number that is not between 0 and 63.
    #[error("descriptor number {0} is not between 0 and 63")]
    DescriptorNumber(i32),
    /// The system has no descriptors left.
    #[error("cannot prepare descriptors for {program}")]
    Prepare {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The pid namespace to join is gone or not below the caller's.
    #[error("cannot join the pid namespace for {program}")]
    PidNamespace {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel made no process: no memory, or a limit on processes.
    #[error("cannot make a process for {program}")]
    Clone {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The process was made but could not become the program.
    #[error("cannot {attempt} {program}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What failed.
        attempt: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The code as shells and containerd report it: 128 + N for signal N.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A started process.
///
/// Dropping it neither ends nor reaps the process.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    pidfd: OwnedFd,
}

impl Child {
    /// Its number in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal; to a process that has ended already it does nothing.
    ///
    /// # Errors
    /// Fails for a signal number the kernel does not know.
    pub fn kill(&self, signal: i32) -> std::io::Result<()> {
        let signal =
            Signal::from_named_raw(signal).ok_or_else(|| std::io::Error::from(Errno::INVAL))?;
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reaps the process if it has ended. The pidfd becomes readable at that
    /// moment, so that waiting costs no thread: see [`AsFd`].
    ///
    /// # Errors
    /// Fails when the process was reaped before.
    pub fn try_wait(&self) -> std::io::Result<Option<Exit>> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    /// Waits until the process ends and reaps it. Blocks the thread.
    ///
    /// # Errors
    /// Fails when the process was reaped before.
    pub fn wait(&self) -> std::io::Result<Exit> {
        loop {
            if let Some(exit) = self.wait_with(WaitIdOptions::EXITED)? {
                return Ok(exit);
            }
        }
    }

    fn wait_with(&self, options: WaitIdOptions) -> std::io::Result<Option<Exit>> {
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)
        })?;
        Ok(status.and_then(|status| exit_of(&status)))
    }
}

impl AsFd for Child {
    /// The pidfd.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Takes over a descriptor that this process was started with, such as one of
/// [`Program::descriptors`]; from now on it is close-on-exec. Each can be taken
/// once.
///
/// # Errors
/// Fails when there is no such descriptor, and when it is close-on-exec: then
/// this process has opened it itself, or has taken it already.
pub fn inherited(number: i32) -> std::io::Result<OwnedFd> {
    Ok(syscalls::inherited(number)?)
}

fn exit_of(status: &WaitIdStatus) -> Option<Exit> {
    status.exit_status().map(Exit::Code).or_else(|| status.terminating_signal().map(Exit::Signal))
}

/// Starts a program.
///
/// Returns when the process has become the program or has failed to: a short
/// wait, bounded by the kernel's work for `execve`.
///
/// # Errors
/// Nothing is left running after any error.
pub fn spawn(program: Program) -> Result<Child, SpawnError> {
    let path = program.path.clone();
    let prepare =
        |errno: Errno| SpawnError::Prepare { program: path.clone(), source: errno.into() };
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(prepare)?;
    let writer = syscalls::lift(writer).map_err(prepare)?;
    let (process, namespace) = prepared(program)?;
    let (pid, pidfd) = match namespace {
        PidNamespace::Inherit | PidNamespace::New => {
            syscalls::clone_and_execute(&process, writer.as_fd())
        }
        PidNamespace::Join(namespace) => {
            let _joined = JoinedPidNamespace::join(&namespace)
                .map_err(|source| SpawnError::PidNamespace { program: path.clone(), source })?;
            syscalls::clone_and_execute(&process, writer.as_fd())
        }
    }
    .map_err(|errno| SpawnError::Clone { program: path.clone(), source: errno.into() })?;
    drop(writer);
    let child = Child { pid, pidfd };
    match read_report(&reader) {
        None => Ok(child),
        Some((step, errno)) => {
            // It has ended by itself; nobody else knows of it.
            let _ = child.wait();
            Err(SpawnError::Start { program: path, attempt: attempt(step), source: errno.into() })
        }
    }
}

fn prepared(program: Program) -> Result<(NewProcess, PidNamespace), SpawnError> {
    let path = program.path;
    let text = |text: String| CString::new(text.clone()).map_err(|_| SpawnError::Nul(text));
    let mut descriptors = Vec::with_capacity(program.descriptors.len());
    for (descriptor, number) in program.descriptors {
        if !(0..syscalls::LIFTED).contains(&number) {
            return Err(SpawnError::DescriptorNumber(number));
        }
        let lifted = syscalls::lift(descriptor)
            .map_err(|errno| SpawnError::Prepare { program: path.clone(), source: errno.into() })?;
        descriptors.push((lifted, number));
    }
    // Also the cgroup files must survive the placing of descriptors, and they
    // do: the child writes to them first.
    let (tasks, cgroup) = match program.entrance {
        Some(Entrance::V1(tasks)) => (tasks, None),
        Some(Entrance::V2(cgroup)) => (Vec::new(), Some(cgroup)),
        None => (Vec::new(), None),
    };
    let process = NewProcess {
        program: CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| SpawnError::Nul(path.display().to_string()))?,
        arguments: program.arguments.into_iter().map(text).collect::<Result<_, _>>()?,
        environment: program
            .environment
            .into_iter()
            .map(|(key, value)| text(format!("{key}={value}")))
            .collect::<Result<_, _>>()?,
        descriptors,
        tasks,
        cgroup,
        new_pid_namespace: matches!(program.pid_namespace, PidNamespace::New),
    };
    Ok((process, program.pid_namespace))
}

/// The pid namespace of this thread's *next children*, until dropped.
struct JoinedPidNamespace {
    own: OwnedFd,
}

impl JoinedPidNamespace {
    fn join(namespace: &OwnedFd) -> std::io::Result<Self> {
        let own =
            OwnedFd::from(std::fs::OpenOptions::new().read(true).open("/proc/thread-self/ns/pid")?);
        let kind = Some(LinkNameSpaceType::ProcessID);
        rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)?;
        Ok(Self { own })
    }
}

impl Drop for JoinedPidNamespace {
    fn drop(&mut self) {
        let kind = Some(LinkNameSpaceType::ProcessID);
        if let Err(errno) = rustix::thread::move_into_link_name_space(self.own.as_fd(), kind) {
            tracing::error!(%errno, "cannot return to the supervisor's pid namespace");
        }
    }
}

fn read_report(reader: &OwnedFd) -> Option<(Step, Errno)> {
    let mut report = [0_u8; 5];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(reader, &mut report)).ok()?;
    // Shorter means empty: a pipe transfers five bytes whole.
    if length == report.len() { Step::decode(report) } else { None }
}

fn attempt(step: Step) -> &'static str {
    match step {
        Step::Parent => "keep the supervisor that starts",
        Step::Cgroup => "join the cgroup for",
        Step::Descriptor => "place the descriptors of",
        Step::Process => "prepare the process of",
        Step::Execute => "execute",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn shell(script: &str) -> Program {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        Program {
            path: "/bin/sh".into(),
            arguments: vec!["sh".into(), "-c".into(), script.into()],
            environment: vec![("GIVEN".into(), "yes".into())],
            descriptors: vec![
                (null.try_clone().unwrap().into(), 0),
                (null.try_clone().unwrap().into(), 1),
                (null.into(), 2),
            ],
            entrance: None,
            pid_namespace: PidNamespace::Inherit,
        }
    }

    fn output_of(script: &str) -> (String, Exit) {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut program = shell(script);
        program.descriptors.push((writer.into(), 3));
        let child = spawn(program).unwrap();
        let mut text = String::new();
        std::fs::File::from(OwnedFd::from(reader)).read_to_string(&mut text).unwrap();
        (text, child.wait().unwrap())
    }

    #[test]
    fn the_program_gets_the_descriptors_and_the_environment_it_was_given_and_no_other() {
        let (text, exit) = output_of("echo $GIVEN $PATH_OF_NOBODY >&3; ls /proc/self/fd >&3");
        assert_eq!(exit, Exit::Code(0));
        // `ls` holds the folder itself open as a fifth one.
        assert_eq!(text, "yes\n0\n1\n2\n3\n4\n");
    }

    #[test]
    fn descriptors_may_be_swapped() {
        let (first, mut to_first) = std::io::pipe().unwrap();
        let (second, mut to_second) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut to_first, b"first\n").unwrap();
        std::io::Write::write_all(&mut to_second, b"second\n").unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut program = shell("read a <&5; read b <&4; echo $a $b >&3");
        program.descriptors.push((writer.into(), 3));
        program.descriptors.push((first.into(), 5));
        program.descriptors.push((second.into(), 4));
        let child = spawn(program).unwrap();
        let mut text = String::new();
        std::fs::File::from(OwnedFd::from(reader)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "first second\n");
        assert_eq!(child.wait().unwrap().code(), 0);
    }

    #[test]
    fn the_program_starts_with_default_signals_in_its_own_session_at_the_root() {
        // Without a further program: the shell blocks signals while it starts one.
        let (text, _) = output_of(
            "while read key value; do case $key in SigBlk:|SigIgn:) echo $value >&3;; esac; done \
             </proc/$$/status; pwd >&3; \
             read stat </proc/$$/stat; set -- $stat; [ $6 = $$ ] && echo leader >&3",
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "0000000000000000");
        let ignored = u64::from_str_radix(lines[1], 16).unwrap();
        // Signals 32 and 33 belong to the C library, which does not let go of them.
        assert_eq!(ignored & !0x1_8000_0000, 0, "{ignored:x}");
        assert_eq!(&lines[2..], ["/", "leader"]);
    }

    #[test]
    fn an_exit_code_and_a_signal_are_told_apart() {
        assert_eq!(output_of("exit 7").1, Exit::Code(7));
        let (_, exit) = output_of("kill -TERM $$");
        assert_eq!(exit, Exit::Signal(15));
        assert_eq!(exit.code(), 143);
    }

    #[test]
    fn a_running_program_is_not_reaped_and_can_be_killed() {
        let child = spawn(shell("exec sleep 600")).unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill(9).unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Signal(9));
        child.kill(9).unwrap();
    }

    #[test]
    fn a_missing_program_is_reported_by_its_path() {
        let mut program = shell("");
        program.path = "/nonexistent/program".into();
        let error = spawn(program).unwrap_err();
        assert_eq!(error.to_string(), "cannot execute /nonexistent/program");
    }

    #[test]
    fn text_with_a_nul_byte_is_refused_before_anything_is_started() {
        let mut program = shell("");
        program.environment.push(("KEY".into(), "a\0b".into()));
        assert!(matches!(spawn(program), Err(SpawnError::Nul(text)) if text == "KEY=a\0b"));
    }

    #[test]
    fn a_descriptor_from_outside_is_taken_once_and_one_of_our_own_never() {
        use std::os::fd::{AsRawFd as _, IntoRawFd as _};
        let (reader, _writer) = std::io::pipe().unwrap();
        let ours = OwnedFd::from(reader);
        assert!(inherited(ours.as_raw_fd()).is_err());
        rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).unwrap();
        let number = ours.into_raw_fd();
        let taken = inherited(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert!(inherited(number).is_err());
        assert!(inherited(i32::MAX).is_err());
    }

    #[test]
    fn the_program_dies_with_the_thread_that_started_it() {
        let child = std::thread::spawn(|| spawn(shell("exec sleep 600")).unwrap()).join().unwrap();
        assert_eq!(child.wait().unwrap(), Exit::Signal(9));
    }
}
