//! Limits this process puts on itself. The control group it was started in has
//! the last word on memory and processors; these hold without one, too.

use anyhow::Context as _;
use fs_err as fs;
use rustix::process::{Resource, Rlimit};

/// Added to the scheduling priority number: serving processes come first.
const NICE: i32 = 10;
/// Makes the kernel choose the compiler, not an app, when memory runs out.
const OOM_SCORE: &str = "500";
/// Address space, in bytes; far over what the largest accepted source needs.
const ADDRESS_SPACE: u64 = 16 << 30;
/// Processor time, in seconds, all threads together: against sources that make
/// the compiler loop.
const PROCESSOR_SECONDS: u64 = 3600;

/// Applies all limits.
pub(crate) fn restrain() -> anyhow::Result<()> {
    rustix::process::nice(NICE).context("cannot lower the scheduling priority")?;
    // Kernels without this file choose by memory alone, which fits as well.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    for (resource, limit) in [
        (Resource::As, ADDRESS_SPACE),
        (Resource::Cpu, PROCESSOR_SECONDS),
        // A core file would carry the app's code.
        (Resource::Core, 0),
    ] {
        lower(resource, limit).with_context(|| format!("cannot limit {resource:?} to {limit}"))?;
    }
    Ok(())
}

/// Lowers a limit; one that is lower already stays.
fn lower(resource: Resource, limit: u64) -> rustix::io::Result<()> {
    let old = rustix::process::getrlimit(resource);
    let lower = |old: Option<u64>| Some(old.map_or(limit, |old| old.min(limit)));
    let new = Rlimit { current: lower(old.current), maximum: lower(old.maximum) };
    rustix::process::setrlimit(resource, new)
}
