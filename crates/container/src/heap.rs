//! The memory that a process keeps for itself.

use crate::syscalls;

/// Gives the heap's unused pages back to the system, wherever they lie: by itself
/// the allocator returns only those at the heap's end, and after many requests at
/// once almost none are there. Takes some microseconds for each megabyte.
pub fn trim() {
    syscalls::trim_heap();
}
