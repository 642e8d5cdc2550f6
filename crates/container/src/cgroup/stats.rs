//! What a container has used, read from its cgroup.

use std::collections::BTreeMap;
use std::path::Path;

/// The version of the hierarchy that numbers come from: they differ in meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// What a container has used and may use.
///
/// A file that the kernel does not offer counts as zero: which ones exist
/// depends on its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Where the numbers come from.
    pub version: Version,
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// Used in all.
    pub usage: u64,
    /// Used in user mode.
    pub user: u64,
    /// Used in the kernel.
    pub system: u64,
    /// Enforcement periods that have passed.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time waited for quota.
    pub throttled: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Charged now, page cache included.
    pub usage: u64,
    /// The most ever charged.
    pub max_usage: u64,
    /// The limit; `u64::MAX` for none.
    pub limit: u64,
    /// Version 1: how often the limit was hit.
    pub failures: u64,
    /// Version 2: swap used. Version 1: memory and swap used together.
    pub swap_usage: u64,
    /// The limit of that; `u64::MAX` for none.
    pub swap_limit: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// The lines of `memory.stat`, which are documented by the kernel.
    pub detail: BTreeMap<String, u64>,
    /// Version 2: the lines of `memory.events`.
    pub events: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 for any number.
    pub limit: u64,
}

/// Where the files of each controller are; the same folder for all in version 2.
pub(super) struct Folders<'a> {
    pub(super) cpu: Option<&'a Path>,
    pub(super) cpuacct: Option<&'a Path>,
    pub(super) memory: Option<&'a Path>,
    pub(super) pids: Option<&'a Path>,
}

const NANOSECONDS_PER_TICK: u64 = 10_000_000; // USER_HZ is 100 on every architecture.

impl Stats {
    pub(super) fn read_v1(folders: &Folders<'_>) -> Self {
        let acct = pairs(folders.cpuacct, "cpuacct.stat");
        let sched = pairs(folders.cpu, "cpu.stat");
        let memory = folders.memory;
        Self {
            version: Version::V1,
            cpu: CpuStats {
                usage: number(folders.cpuacct, "cpuacct.usage"),
                user: value(&acct, "user").saturating_mul(NANOSECONDS_PER_TICK),
                system: value(&acct, "system").saturating_mul(NANOSECONDS_PER_TICK),
                periods: value(&sched, "nr_periods"),
                throttled_periods: value(&sched, "nr_throttled"),
                throttled: value(&sched, "throttled_time"),
            },
            memory: MemoryStats {
                usage: number(memory, "memory.usage_in_bytes"),
                max_usage: number(memory, "memory.max_usage_in_bytes"),
                limit: number(memory, "memory.limit_in_bytes"),
                failures: number(memory, "memory.failcnt"),
                swap_usage: number(memory, "memory.memsw.usage_in_bytes"),
                swap_limit: number(memory, "memory.memsw.limit_in_bytes"),
                oom_kills: value(&pairs(memory, "memory.oom_control"), "oom_kill"),
                detail: pairs(memory, "memory.stat"),
                events: BTreeMap::new(),
            },
            pids: pids(folders.pids),
        }
    }

    pub(super) fn read_v2(folder: &Path) -> Self {
        let folder = Some(folder);
        let cpu = pairs(folder, "cpu.stat");
        let events = pairs(folder, "memory.events");
        let nanoseconds = |key| value(&cpu, key).saturating_mul(1000);
        Self {
            version: Version::V2,
            cpu: CpuStats {
                usage: nanoseconds("usage_usec"),
                user: nanoseconds("user_usec"),
                system: nanoseconds("system_usec"),
                periods: value(&cpu, "nr_periods"),
                throttled_periods: value(&cpu, "nr_throttled"),
                throttled: nanoseconds("throttled_usec"),
            },
            memory: MemoryStats {
                usage: number(folder, "memory.current"),
                max_usage: number(folder, "memory.peak"),
                limit: number(folder, "memory.max"),
                failures: value(&events, "max"),
                swap_usage: number(folder, "memory.swap.current"),
                swap_limit: number(folder, "memory.swap.max"),
                oom_kills: value(&events, "oom_kill"),
                detail: pairs(folder, "memory.stat"),
                events,
            },
            pids: pids(folder),
        }
    }
}

fn pids(folder: Option<&Path>) -> PidsStats {
    let limit = number(folder, "pids.max");
    PidsStats {
        current: number(folder, "pids.current"),
        limit: if limit == u64::MAX { 0 } else { limit },
    }
}

fn text(folder: Option<&Path>, file: &str) -> String {
    folder.and_then(|folder| fs_err::read_to_string(folder.join(file)).ok()).unwrap_or_default()
}

/// A file of one number; `max` is the largest there is.
fn number(folder: Option<&Path>, file: &str) -> u64 {
    match text(folder, file).trim() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(0),
    }
}

/// A file of `key number` lines.
pub(super) fn pairs(folder: Option<&Path>, file: &str) -> BTreeMap<String, u64> {
    text(folder, file)
        .lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

fn value(pairs: &BTreeMap<String, u64>, key: &str) -> u64 {
    pairs.get(key).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn version_2_numbers_are_read_in_nanoseconds_and_bytes() {
        let folder = folder(&[
            ("cpu.stat", "usage_usec 12\nuser_usec 8\nsystem_usec 4\nnr_throttled 2\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nmax 3\noom_kill 1\n"),
            ("memory.stat", "anon 100\ninactive_file 50\n"),
            ("pids.current", "5\n"),
            ("pids.max", "max\n"),
        ]);
        let stats = Stats::read_v2(folder.path());
        assert_eq!((stats.cpu.usage, stats.cpu.user, stats.cpu.system), (12_000, 8_000, 4_000));
        assert_eq!((stats.memory.usage, stats.memory.limit), (4096, u64::MAX));
        assert_eq!((stats.memory.oom_kills, stats.memory.failures), (1, 3));
        assert_eq!(stats.memory.detail["inactive_file"], 50);
        assert_eq!(stats.pids, PidsStats { current: 5, limit: 0 });
    }

    #[test]
    fn version_1_numbers_come_from_the_folder_of_their_controller() {
        let cpu = folder(&[
            ("cpuacct.usage", "77\n"),
            ("cpuacct.stat", "user 3\nsystem 1\n"),
            ("cpu.stat", "nr_periods 9\nnr_throttled 2\nthrottled_time 5\n"),
        ]);
        let memory = folder(&[
            ("memory.usage_in_bytes", "10\n"),
            ("memory.limit_in_bytes", "20\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
        ]);
        let stats = Stats::read_v1(&Folders {
            cpu: Some(cpu.path()),
            cpuacct: Some(cpu.path()),
            memory: Some(memory.path()),
            pids: None,
        });
        assert_eq!((stats.cpu.usage, stats.cpu.user, stats.cpu.throttled), (77, 30_000_000, 5));
        assert_eq!((stats.memory.usage, stats.memory.limit, stats.memory.oom_kills), (10, 20, 4));
        assert_eq!(stats.pids, PidsStats::default());
    }
}
