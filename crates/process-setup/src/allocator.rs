//! How the programs that this one starts allocate memory.

/// An environment variable, name and value, for our own long-running programs.
/// glibc reads it before their first instruction; others ignore it.
///
/// - One arena for all threads: each further one has pages of its own, and a
///   replica's few threads hardly meet in one.
/// - Buffers from 128 KiB on are always mapped alone and unmapped when they are
///   freed. By itself glibc raises that limit with each one that is freed, until
///   buffers that were used once stay part of the heap.
pub const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072",
);
