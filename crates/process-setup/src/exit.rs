//! Exit codes.

use std::process::Termination;

/// The codes our processes exit with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was asked for has been done.
    Success = 0,
    /// It could not be done; standard error says why.
    Failure = 1,
    /// The command line or the environment is not understood. `clap` uses the
    /// same code.
    Usage = 2,
    /// Stopped from outside before the work was done, for example by a second
    /// signal while draining: 128 + SIGINT, as shells report it.
    Interrupted = 130,
    /// Ended by SIGTERM before the work was done: 128 + SIGTERM.
    Terminated = 143,
}

impl ExitCode {
    /// The number the parent process sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

impl Termination for ExitCode {
    fn report(self) -> std::process::ExitCode {
        self.into()
    }
}
