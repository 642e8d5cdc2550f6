//! `spinlet bench`: the same app under several runtimes, side by side.
//!
//! Everything is started by a containerd of the benchmark's own, in folders and
//! a control group that are removed at the end. Starts of all contenders are
//! interleaved in random order, so that whatever else the machine does hits all
//! of them alike. Every raw sample is kept.
//!
//! What one start is: from the execution of `ctr` (or of a bare process) to the
//! first HTTP answer with status 200.

pub mod arguments;
pub mod bench;
mod containerd;
pub mod contender;
mod counters;
mod group;
mod image;
mod interrupt;
mod load;
mod machine;
mod memory;
mod parity;
mod probe;
mod process;
mod promises;
mod random;
mod report;
mod results;
mod scenario;
mod start;
mod statistics;
