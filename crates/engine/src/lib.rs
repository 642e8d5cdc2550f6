//! The one wasmtime configuration, the node cache of compiled code, and limits.
//!
//! Two processes use this crate. The compiler (feature `compile`) turns a
//! component into [`NativeCode`] and inserts it into the [`Cache`]; a runtime,
//! built without a compiler, looks it up and [`load`]s it by mapping the file.
//! Both take their settings from [`config`], and both store and look up under
//! the [`Fingerprint`] of everything that decides whether code fits: a change of
//! any of it is a cache miss, never an error.

mod cache;
#[cfg(feature = "compile")]
mod compile;
mod config;
mod epoch;
mod fingerprint;
mod limits;
mod tier;

pub use cache::{
    Cache, CacheError, CompiledCode, DEFAULT_MAX_BYTES, LoadError, Lock, NativeCode, load,
};
#[cfg(feature = "compile")]
pub use cache::{Functions, Reuse};
#[cfg(feature = "compile")]
pub use compile::{CompileError, compile};
pub use config::{EngineError, Pool, RuntimeSettings, config, new_engine};
pub use epoch::{EpochTicker, Running, TICK, ticks};
pub use fingerprint::Fingerprint;
pub use limits::{
    InstanceLimiter, MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES,
    MaxMemoryError, OnGrowth, parse_max_instance_memory,
};
pub use tier::{Tier, TierError};
