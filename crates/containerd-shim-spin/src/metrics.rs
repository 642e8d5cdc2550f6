//! A cgroup's numbers as the messages that containerd accepts.

use container::cgroup::{MemoryStats, Stats, Version};
use containerd_task::protobuf::{Message, MessageField};
use containerd_task::{Any, Error, cgroups, cgroups_v2};

/// Resource usage in the message of the cgroup's version.
pub(crate) fn metrics(stats: &Stats) -> Result<Any, Error> {
    let (kind, value) = match stats.version {
        Version::V1 => ("io.containerd.cgroups.v1.Metrics", v1(stats).write_to_bytes()),
        Version::V2 => ("io.containerd.cgroups.v2.Metrics", v2(stats).write_to_bytes()),
    };
    let value = value.map_err(|error| Error::failed("cannot encode resource usage", &error))?;
    Ok(Any { type_url: kind.to_owned(), value, ..Any::default() })
}

fn detail(memory: &MemoryStats, name: &str) -> u64 {
    memory.detail.get(name).copied().unwrap_or(0)
}

fn v1(stats: &Stats) -> cgroups::metrics::Metrics {
    use cgroups::metrics::{CPUStat, CPUUsage, MemoryOomControl, Metrics, PidsStat, Throttle};
    let usage = CPUUsage {
        total: stats.cpu.usage,
        kernel: stats.cpu.system,
        user: stats.cpu.user,
        ..CPUUsage::default()
    };
    let throttling = Throttle {
        periods: stats.cpu.periods,
        throttled_periods: stats.cpu.throttled_periods,
        throttled_time: stats.cpu.throttled,
        ..Throttle::default()
    };
    let pids =
        PidsStat { current: stats.pids.current, limit: stats.pids.limit, ..PidsStat::default() };
    let out_of_memory =
        MemoryOomControl { oom_kill: stats.memory.oom_kills, ..MemoryOomControl::default() };
    Metrics {
        pids: MessageField::some(pids),
        cpu: MessageField::some(CPUStat {
            usage: MessageField::some(usage),
            throttling: MessageField::some(throttling),
            ..CPUStat::default()
        }),
        memory: MessageField::some(v1_memory(&stats.memory)),
        memory_oom_control: MessageField::some(out_of_memory),
        ..Metrics::default()
    }
}

fn v1_memory(memory: &MemoryStats) -> cgroups::metrics::MemoryStat {
    use cgroups::metrics::{MemoryEntry, MemoryStat};
    let usage = MemoryEntry {
        limit: memory.limit,
        usage: memory.usage,
        max: memory.max_usage,
        failcnt: memory.failures,
        ..MemoryEntry::default()
    };
    let swap = MemoryEntry {
        limit: memory.swap_limit,
        usage: memory.swap_usage,
        ..MemoryEntry::default()
    };
    let of = |name| detail(memory, name);
    MemoryStat {
        cache: of("cache"),
        rss: of("rss"),
        mapped_file: of("mapped_file"),
        pg_fault: of("pgfault"),
        pg_maj_fault: of("pgmajfault"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        hierarchical_memory_limit: of("hierarchical_memory_limit"),
        hierarchical_swap_limit: of("hierarchical_memsw_limit"),
        total_cache: of("total_cache"),
        total_rss: of("total_rss"),
        total_mapped_file: of("total_mapped_file"),
        total_pg_fault: of("total_pgfault"),
        total_pg_maj_fault: of("total_pgmajfault"),
        total_inactive_anon: of("total_inactive_anon"),
        total_active_anon: of("total_active_anon"),
        total_inactive_file: of("total_inactive_file"),
        total_active_file: of("total_active_file"),
        total_unevictable: of("total_unevictable"),
        usage: MessageField::some(usage),
        swap: MessageField::some(swap),
        ..MemoryStat::default()
    }
}

fn v2(stats: &Stats) -> cgroups_v2::metrics::Metrics {
    use cgroups_v2::metrics::{CPUStat, MemoryEvents, Metrics, PidsStat};
    let event = |name: &str| stats.memory.events.get(name).copied().unwrap_or(0);
    let cpu = CPUStat {
        usage_usec: stats.cpu.usage / 1000,
        user_usec: stats.cpu.user / 1000,
        system_usec: stats.cpu.system / 1000,
        nr_periods: stats.cpu.periods,
        nr_throttled: stats.cpu.throttled_periods,
        throttled_usec: stats.cpu.throttled / 1000,
        ..CPUStat::default()
    };
    let events = MemoryEvents {
        low: event("low"),
        high: event("high"),
        max: event("max"),
        oom: event("oom"),
        oom_kill: stats.memory.oom_kills,
        oom_group_kill: event("oom_group_kill"),
        ..MemoryEvents::default()
    };
    let pids =
        PidsStat { current: stats.pids.current, limit: stats.pids.limit, ..PidsStat::default() };
    Metrics {
        pids: MessageField::some(pids),
        cpu: MessageField::some(cpu),
        memory: MessageField::some(v2_memory(&stats.memory)),
        memory_events: MessageField::some(events),
        ..Metrics::default()
    }
}

fn v2_memory(memory: &MemoryStats) -> cgroups_v2::metrics::MemoryStat {
    let of = |name| detail(memory, name);
    cgroups_v2::metrics::MemoryStat {
        anon: of("anon"),
        file: of("file"),
        kernel_stack: of("kernel_stack"),
        slab: of("slab"),
        sock: of("sock"),
        shmem: of("shmem"),
        file_mapped: of("file_mapped"),
        file_dirty: of("file_dirty"),
        file_writeback: of("file_writeback"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        pgfault: of("pgfault"),
        pgmajfault: of("pgmajfault"),
        usage: memory.usage,
        usage_limit: memory.limit,
        swap_usage: memory.swap_usage,
        swap_limit: memory.swap_limit,
        max_usage: memory.max_usage,
        ..cgroups_v2::metrics::MemoryStat::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use container::cgroup::{CpuStats, PidsStats};

    use super::*;

    fn stats(version: Version) -> Stats {
        let named = |name: &str, value| BTreeMap::from([(name.to_owned(), value)]);
        Stats {
            version,
            cpu: CpuStats { usage: 5_000, ..CpuStats::default() },
            memory: MemoryStats {
                usage: 7,
                limit: 9,
                oom_kills: 2,
                detail: named(if version == Version::V1 { "total_rss" } else { "anon" }, 3),
                ..MemoryStats::default()
            },
            pids: PidsStats { current: 4, limit: 0 },
        }
    }

    #[test]
    fn the_fields_that_containerd_reads_are_filled_for_version_1() {
        let any = metrics(&stats(Version::V1)).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
        let message = cgroups::metrics::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!(message.cpu.usage.total, 5_000);
        assert_eq!((message.memory.usage.usage, message.memory.usage.limit), (7, 9));
        assert_eq!(message.memory.total_rss, 3);
        assert_eq!(message.memory_oom_control.oom_kill, 2);
        assert_eq!(message.pids.current, 4);
    }

    #[test]
    fn the_fields_that_containerd_reads_are_filled_for_version_2() {
        let any = metrics(&stats(Version::V2)).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
        let message = cgroups_v2::metrics::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!(message.cpu.usage_usec, 5);
        assert_eq!((message.memory.usage, message.memory.usage_limit), (7, 9));
        assert_eq!(message.memory.anon, 3);
        assert_eq!(message.memory_events.oom_kill, 2);
    }
}
