//! What each process does first and last: read its environment, find its state
//! directory, start logging, print an error's causes once, exit with a code that
//! means something.

mod allocator;
mod chain;
mod environment;
mod exit;
#[cfg(feature = "logging")]
mod log_stream;
#[cfg(feature = "logging")]
mod logging;
#[cfg(feature = "logging")]
mod one_line;
mod state_dir;

pub use allocator::ALLOCATOR;
pub use chain::chain;
pub use environment::{Environment, EnvironmentError, Problem, Reader};
pub use exit::ExitCode;
#[cfg(feature = "logging")]
pub use logging::{LogFormat, LoggingError, check_log_filter, start_logging};
pub use state_dir::{StateDirError, state_dir};
