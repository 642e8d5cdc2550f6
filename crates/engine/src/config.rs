//! wasmtime's settings, for the process that compiles and the one that runs.

use wasmtime::{
    Collector, Config, Engine, InstanceAllocationStrategy, ModuleVersionStrategy,
    PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::Fingerprint;
use crate::limits::MAX_MEMORIES;

/// Settings that only a compiler reads and that the fingerprint must therefore
/// be told about; see [`base`]. Raise the number with any change to them.
pub(crate) const COMPILER_SETTINGS: &str = "compiler settings 1";
/// The same for what a first tier has different; see [`crate::compile`].
pub(crate) const FIRST_TIER_SETTINGS: &str = "first tier settings 1";

/// Native stack for one guest call, host frames included, in bytes. Address
/// space only until it is touched.
const CALL_STACK: usize = 2 << 20;
/// Most table elements of one table in the pool; interpreters compiled to Wasm
/// have some ten thousand functions in theirs.
const POOL_TABLE_ELEMENTS: usize = 200_000;
/// Bytes wasmtime may need beside its linear memories for one (core) instance.
const POOL_INSTANCE_BYTES: usize = 16 << 20;
/// Core instances that a component consists of, on average over a full pool; a
/// count, costs nothing. Python components have several dozen.
const POOL_CORE_INSTANCES_PER_INSTANCE: u32 = 100;
/// Slots of linear memory per instance: its own, a second one for composed
/// components, one for garbage-collected values.
const POOL_MEMORIES_PER_INSTANCE: u32 = 3;
/// Slots of tables per instance: wit-component adds some to the module's own.
const POOL_TABLES_PER_INSTANCE: u32 = 6;

/// What compiled code depends on: instruction set extensions aside, everything
/// that must be equal where code is made and where it runs.
pub(crate) fn base() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .collector(Collector::DeferredReferenceCounting)
        .epoch_interruption(true)
        .memory_init_cow(true)
        // Not left to the environment variable that wasmtime reads otherwise:
        // it would make code unusable that was compiled without it.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(true)
        .debug_symbols(false)
        // Only debuggers use it; registering it costs time per loaded component.
        .native_unwind_info(false)
        .async_stack_size(CALL_STACK);
    #[cfg(feature = "compile")]
    config.cranelift_opt_level(wasmtime::OptLevel::Speed).parallel_compilation(true);
    config
}

/// The configuration of every engine: component model with WASI 0.3's
/// asynchronous functions, epoch interruption, copy-on-write memory images, and
/// [`Fingerprint::current`] as the version that wasmtime itself checks before it
/// runs compiled code.
///
/// # Errors
/// Does not fail; the signature is wasmtime's.
pub fn config() -> Result<Config, EngineError> {
    let mut config = base();
    let version = Fingerprint::current().as_str().to_owned();
    config.module_version(ModuleVersionStrategy::Custom(version)).map_err(EngineError::new)?;
    Ok(config)
}

/// What a runtime may choose without touching the code it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// Keep places for instances ready instead of asking the kernel for memory
    /// at every instantiation. A full pool fails instantiation with
    /// [`wasmtime::PoolConcurrencyLimitError`].
    pub pool: Option<Pool>,
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self { pool: Some(Pool::default()) }
    }
}

/// Size of the instance pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Component instances that can exist at once.
    pub instances: u32,
    /// Guest calls that can be in progress at once, in all instances together.
    pub calls: u32,
    /// Bytes of each table that stay resident between two instances and are zeroed
    /// instead of being returned to the kernel. Linear memories are returned: they
    /// begin with a stack whose end alone is used, and zeroing it would touch more
    /// pages than the guest did.
    pub keep_tables: usize,
    /// Slots that keep their last module's memory image while unused.
    pub warm_slots: u32,
}

impl Default for Pool {
    /// 64 instances: each slot costs two kernel mappings and a few microseconds
    /// when the engine is made, so a thousand of them would cost milliseconds of
    /// every start.
    fn default() -> Self {
        Self { instances: 64, calls: 128, keep_tables: 16 << 10, warm_slots: 16 }
    }
}

impl Pool {
    fn allocation(self) -> InstanceAllocationStrategy {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(self.instances)
            .total_core_instances(self.instances.saturating_mul(POOL_CORE_INSTANCES_PER_INSTANCE))
            .total_memories(self.instances.saturating_mul(POOL_MEMORIES_PER_INSTANCE))
            .total_tables(self.instances.saturating_mul(POOL_TABLES_PER_INSTANCE))
            .total_gc_heaps(self.instances)
            .total_stacks(self.calls)
            .max_component_instance_size(POOL_INSTANCE_BYTES)
            .max_core_instance_size(POOL_INSTANCE_BYTES)
            .max_memories_per_module(MAX_MEMORIES as u32)
            .max_tables_per_module(POOL_TABLES_PER_INSTANCE)
            .table_elements(POOL_TABLE_ELEMENTS)
            .table_keep_resident(self.keep_tables)
            .max_unused_warm_slots(self.warm_slots);
        InstanceAllocationStrategy::Pooling(pool)
    }
}

/// wasmtime refuses the configuration.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a wasm engine")]
pub struct EngineError {
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl EngineError {
    pub(crate) fn new(error: wasmtime::Error) -> Self {
        Self { source: error.into() }
    }
}

/// Makes the engine of a runtime process. Where the system has no room for the
/// pool (it needs about 4 GiB of address space a memory slot), instances get
/// their memory on demand, with a warning.
///
/// # Errors
/// Fails when wasmtime refuses the configuration, as on a machine that it does
/// not support.
pub fn new_engine(settings: &RuntimeSettings) -> Result<Engine, EngineError> {
    let mut config = config()?;
    if let Some(pool) = settings.pool {
        config.allocation_strategy(pool.allocation());
        match Engine::new(&config) {
            Ok(engine) => return Ok(engine),
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "no room for an instance pool; memory is allocated on demand"
            ),
        }
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    }
    Engine::new(&config).map_err(EngineError::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_can_be_made_with_and_without_a_pool() {
        new_engine(&RuntimeSettings::default()).unwrap();
        new_engine(&RuntimeSettings { pool: None }).unwrap();
    }

    #[test]
    fn a_pool_that_does_not_fit_the_address_space_is_replaced_by_allocation_on_demand() {
        let pool = Pool { instances: 1_000_000, ..Pool::default() };
        let engine = new_engine(&RuntimeSettings { pool: Some(pool) }).unwrap();
        assert!(engine.pooling_allocator_metrics().is_none());
    }
}
