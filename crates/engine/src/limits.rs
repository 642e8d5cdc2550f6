//! What one instance may take.

use std::fmt;

use wasmtime::{ResourceLimiter, Result};

/// Most elements of all tables of an instance together: 16 MB of host memory.
pub const MAX_TABLE_ELEMENTS: usize = 1_000_000;
/// Most tables of an instance.
pub const MAX_TABLES: usize = 1_000;
/// Most linear memories of an instance.
pub const MAX_MEMORIES: usize = 100;
/// Most core instances that a component instance consists of.
pub const MAX_CORE_INSTANCES: usize = 10_000;

/// Limits one instance (one wasmtime store) and remembers what it took.
///
/// Memory is the sum over all linear memories, garbage-collected values
/// included, in bytes of wasm pages: what the guest asked for, not what it has
/// touched. A `memory.grow` over the limit returns -1 to the guest, which
/// usually aborts; an instantiation over it fails.
///
/// A growth that was granted and that the system then could not carry out stays
/// counted: wasmtime reports such failures also for growths that it never asked
/// about, and a guest could use the difference to grow past its limit.
pub struct InstanceLimiter {
    max_memory: u64,
    memory: u64,
    refused_memory: Option<u64>,
    table_elements: usize,
    on_growth: Option<OnGrowth>,
}

/// Is told how many bytes an instance was granted.
pub type OnGrowth = Box<dyn Fn(u64) + Send + Sync>;

impl InstanceLimiter {
    /// Limits the memory to `max_memory` bytes; none leaves it to the
    /// container's own limit.
    pub fn new(max_memory: Option<u64>) -> Self {
        Self {
            max_memory: max_memory.unwrap_or(u64::MAX),
            memory: 0,
            refused_memory: None,
            table_elements: 0,
            on_growth: None,
        }
    }

    /// Tells each growth of memory to `on_growth`.
    #[must_use]
    pub fn observed_by(mut self, on_growth: Option<OnGrowth>) -> Self {
        self.on_growth = on_growth;
        self
    }

    /// Bytes of memory that the instance has been granted so far. Linear memory
    /// never shrinks, so this is also its peak.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// How many bytes in all the first refused growth would have led to; for
    /// saying why a guest failed. None when nothing was refused.
    pub fn refused_memory(&self) -> Option<u64> {
        self.refused_memory
    }
}

impl fmt::Debug for InstanceLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_memory, memory, refused_memory, table_elements, on_growth: _ } = self;
        f.debug_struct("InstanceLimiter")
            .field("max_memory", max_memory)
            .field("memory", memory)
            .field("refused_memory", refused_memory)
            .field("table_elements", table_elements)
            .finish_non_exhaustive()
    }
}

impl ResourceLimiter for InstanceLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        // Over the memory's own maximum is the guest's affair, not our limit's.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current) as u64;
        let total = self.memory.saturating_add(growth);
        if total > self.max_memory {
            self.refused_memory.get_or_insert(total);
            return Ok(false);
        }
        self.memory = total;
        if let Some(on_growth) = &self.on_growth {
            on_growth(growth);
        }
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current);
        let total = self.table_elements.saturating_add(growth);
        if total > MAX_TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// A memory limit that is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "SPIN_MAX_INSTANCE_MEMORY is {value:?}, expected a number of bytes greater than zero, for \
     example 134217728"
)]
pub struct MaxMemoryError {
    /// The value as given.
    pub value: String,
}

/// Reads the value of `SPIN_MAX_INSTANCE_MEMORY`: the most bytes an instance may
/// use, digits only, as the Spin operator writes it.
///
/// # Errors
/// Fails on anything else: an unreadable limit is never taken for none.
pub fn parse_max_instance_memory(value: &str) -> Result<u64, MaxMemoryError> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = if digits { value.parse().ok() } else { None };
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| MaxMemoryError { value: value.chars().take(100).collect() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const PAGE: usize = 65536;

    #[test]
    fn the_limit_is_the_sum_over_all_memories() {
        let mut limiter = InstanceLimiter::new(Some(3 * PAGE as u64));
        assert!(limiter.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(limiter.memory_growing(0, PAGE, None).unwrap());
        assert!(!limiter.memory_growing(PAGE, 2 * PAGE, None).unwrap());
        assert_eq!(limiter.memory(), 3 * PAGE as u64);
        assert_eq!(limiter.refused_memory(), Some(4 * PAGE as u64));
    }

    #[test]
    fn every_growth_that_is_granted_is_told() {
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&told);
        let observer: OnGrowth = Box::new(move |growth| {
            count.fetch_add(growth, Ordering::Relaxed);
        });
        let mut limiter = InstanceLimiter::new(Some(3 * PAGE as u64)).observed_by(Some(observer));
        assert!(limiter.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(!limiter.memory_growing(2 * PAGE, 4 * PAGE, None).unwrap());
        assert!(limiter.memory_growing(2 * PAGE, 3 * PAGE, None).unwrap());
        assert_eq!(told.load(Ordering::Relaxed), limiter.memory());
    }

    #[test]
    fn a_reported_failure_gives_no_room_back() {
        let mut limiter = InstanceLimiter::new(Some(3 * PAGE as u64));
        assert!(limiter.memory_growing(0, 3 * PAGE, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("over the type's limits")).unwrap();
        assert!(!limiter.memory_growing(3 * PAGE, 4 * PAGE, None).unwrap());
    }

    #[test]
    fn the_memorys_own_maximum_is_not_reported_as_our_limit() {
        let mut limiter = InstanceLimiter::new(Some(10 * PAGE as u64));
        assert!(!limiter.memory_growing(PAGE, 2 * PAGE, Some(PAGE)).unwrap());
        assert_eq!(limiter.refused_memory(), None);
    }

    #[test]
    fn tables_are_limited_together() {
        let mut limiter = InstanceLimiter::new(None);
        assert!(limiter.table_growing(0, MAX_TABLE_ELEMENTS, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn a_memory_limit_is_a_positive_number_of_bytes() {
        assert_eq!(parse_max_instance_memory("134217728"), Ok(134_217_728));
        for value in ["", "0", "-1", "+5", "128Mi", " 1", "99999999999999999999", "1e6"] {
            let error = parse_max_instance_memory(value).unwrap_err();
            assert_eq!(error.value, value);
        }
    }
}
