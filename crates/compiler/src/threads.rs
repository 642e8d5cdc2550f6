//! The threads that compile.

use std::thread::available_parallelism;

use anyhow::Context as _;

/// Threads for each processor. Functions are handed out in their order, in parts of
/// the whole; one that is as long as a thousand others (an interpreter's loop) is
/// begun earlier where the parts are smaller, and leaves fewer processors with
/// nothing to do at the end.
const PER_PROCESSOR: usize = 2;

/// Starts them; to be called once, before anything is compiled.
pub(crate) fn start() -> anyhow::Result<()> {
    let processors = available_parallelism().map_or(1, usize::from);
    rayon::ThreadPoolBuilder::new()
        .num_threads(processors * PER_PROCESSOR)
        .thread_name(|number| format!("compile-{number}"))
        .build_global()
        .context("cannot start threads")
}
