//! Exit codes.

use std::process::Termination;

/// The codes our processes exit with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// Everything that was asked for has been done.
    Success,
    /// It could not be done; standard error says why.
    Failure,
    /// The command line or the environment is not understood. `clap` uses the
    /// same code.
    Usage,
    /// Stopped from outside before the work was done, for example by a second
    /// signal while draining: 128 + SIGINT, as shells report it.
    Interrupted,
    /// Ended by SIGTERM before the work was done: 128 + SIGTERM.
    Terminated,
    /// What a program that was run here exited with.
    Program(u8),
}

impl ExitCode {
    /// The number the parent process sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Program(code) => code,
        }
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
