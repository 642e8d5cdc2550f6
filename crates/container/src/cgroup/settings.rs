//! From `linux.resources` to lines in control files.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::CgroupError;

/// One value for one control file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: String,
    pub(super) file: String,
    pub(super) value: String,
    /// Whether a kernel that lacks the file already behaves as wished.
    pub(super) optional: bool,
}

impl Setting {
    fn new(controller: &str, file: impl Into<String>, value: impl ToString) -> Self {
        let (controller, file) = (controller.to_owned(), file.into());
        Self { controller, file, value: value.to_string(), optional: false }
    }
}

/// The settings for version 1, in the order in which the kernel accepts them.
/// `current_limit` is the memory limit in force: memory alone may never be
/// allowed more than memory and swap together.
pub(super) fn v1(
    resources: &LinuxResources,
    current_limit: u64,
) -> Result<Vec<Setting>, CgroupError> {
    refuse(resources, true)?;
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        v1_memory(memory, current_limit, &mut settings);
    }
    if let Some(cpu) = resources.cpu() {
        v1_cpu(cpu, &mut settings);
        cpuset(cpu, &mut settings);
    }
    pids(resources, &mut settings);
    for huge in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", huge.page_size());
        settings.push(Setting::new("hugetlb", file, huge.limit()));
    }
    if let Some(io) = resources.block_io() {
        v1_block_io(io, &mut settings);
    }
    Ok(settings)
}

/// The settings for version 2.
pub(super) fn v2(resources: &LinuxResources) -> Result<Vec<Setting>, CgroupError> {
    refuse(resources, false)?;
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        v2_memory(memory, &mut settings)?;
    }
    if let Some(cpu) = resources.cpu() {
        v2_cpu(cpu, &mut settings);
        cpuset(cpu, &mut settings);
    }
    pids(resources, &mut settings);
    for huge in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.max", huge.page_size());
        settings.push(Setting::new("hugetlb", file, max_or(huge.limit())));
    }
    if let Some(io) = resources.block_io() {
        v2_block_io(io, &mut settings);
    }
    for (file, value) in resources.unified().iter().flatten() {
        let controller = file.split('.').next().unwrap_or_default();
        if controller.is_empty() || file.contains('/') {
            return Err(CgroupError::Unsupported(format!("the unified setting {file:?}")));
        }
        settings.push(Setting::new(controller, file, value));
    }
    Ok(settings)
}

fn refuse(resources: &LinuxResources, v1: bool) -> Result<(), CgroupError> {
    let unsupported = |what: &str| Err(CgroupError::Unsupported(what.to_owned()));
    let network = resources.network().as_ref();
    if network.is_some_and(|network| {
        network.class_id().is_some()
            || network.priorities().as_ref().is_some_and(|priorities| !priorities.is_empty())
    }) {
        return unsupported("linux.resources.network");
    }
    if resources.rdma().as_ref().is_some_and(|rdma| !rdma.is_empty()) {
        return unsupported("linux.resources.rdma");
    }
    if v1 && resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        return unsupported("linux.resources.unified on cgroup version 1");
    }
    Ok(())
}

fn max_or(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

fn given(limit: Option<i64>) -> Option<i64> {
    limit.filter(|limit| *limit != 0)
}

fn v1_memory(memory: &LinuxMemory, current_limit: u64, settings: &mut Vec<Setting>) {
    let limit =
        given(memory.limit()).map(|limit| Setting::new("memory", "memory.limit_in_bytes", limit));
    let swap = given(memory.swap())
        .map(|swap| Setting::new("memory", "memory.memsw.limit_in_bytes", swap));
    // Raising: both together first. Lowering: memory alone first.
    let raises = memory.swap().is_some_and(|swap| swap < 0 || swap.unsigned_abs() > current_limit);
    if raises {
        settings.extend(swap.into_iter().chain(limit));
    } else {
        settings.extend(limit.into_iter().chain(swap));
    }
    if let Some(reservation) = given(memory.reservation()) {
        settings.push(Setting::new("memory", "memory.soft_limit_in_bytes", reservation));
    }
    if let Some(swappiness) = memory.swappiness() {
        settings.push(Setting::new("memory", "memory.swappiness", swappiness));
    }
    if memory.disable_oom_killer() == Some(true) {
        settings.push(Setting::new("memory", "memory.oom_control", 1));
    }
}

fn v2_memory(memory: &LinuxMemory, settings: &mut Vec<Setting>) -> Result<(), CgroupError> {
    let limit = given(memory.limit());
    if let Some(limit) = limit {
        settings.push(Setting::new("memory", "memory.max", max_or(limit)));
    }
    if let Some(swap) = given(memory.swap()) {
        // The spec counts memory and swap together, version 2 swap alone.
        let alone = match limit {
            _ if swap < 0 => -1,
            Some(limit) if limit > 0 && swap >= limit => swap - limit,
            _ => {
                let what = format!(
                    "a limit of {swap} bytes for memory and swap together without a smaller one for memory"
                );
                return Err(CgroupError::Unsupported(what));
            }
        };
        let setting = Setting::new("memory", "memory.swap.max", max_or(alone));
        settings.push(Setting { optional: alone == 0, ..setting });
    }
    if let Some(reservation) = given(memory.reservation()) {
        settings.push(Setting::new("memory", "memory.low", max_or(reservation)));
    }
    Ok(())
}

fn v1_cpu(cpu: &LinuxCpu, settings: &mut Vec<Setting>) {
    let mut push = |file: &str, value: Option<String>| {
        settings.extend(value.map(|value| Setting::new("cpu", file, value)));
    };
    push("cpu.shares", cpu.shares().filter(|shares| *shares > 0).map(|value| value.to_string()));
    push("cpu.cfs_period_us", cpu.period().filter(|p| *p > 0).map(|value| value.to_string()));
    push("cpu.cfs_quota_us", given(cpu.quota()).map(|value| value.to_string()));
    push("cpu.cfs_burst_us", cpu.burst().map(|value| value.to_string()));
    push("cpu.idle", cpu.idle().map(|value| value.to_string()));
    push("cpu.rt_period_us", cpu.realtime_period().filter(|p| *p > 0).map(|v| v.to_string()));
    push("cpu.rt_runtime_us", given(cpu.realtime_runtime()).map(|value| value.to_string()));
}

fn v2_cpu(cpu: &LinuxCpu, settings: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
        settings.push(Setting::new("cpu", "cpu.weight", weight_of(shares)));
    }
    let (quota, period) = (given(cpu.quota()), cpu.period().filter(|period| *period > 0));
    if quota.is_some() || period.is_some() {
        let quota = max_or(quota.unwrap_or(-1));
        let value = match period {
            Some(period) => format!("{quota} {period}"),
            None => quota,
        };
        settings.push(Setting::new("cpu", "cpu.max", value));
    }
    if let Some(burst) = cpu.burst() {
        settings.push(Setting::new("cpu", "cpu.max.burst", burst));
    }
    if let Some(idle) = cpu.idle() {
        settings.push(Setting::new("cpu", "cpu.idle", idle));
    }
}

/// Version 1 shares (2 to 262144, 1024 by default) as a version 2 weight (1 to
/// 10000, 100 by default), on the curve that maps both ends and the defaults to
/// each other, as current OCI runtimes do.
fn weight_of(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    let log = (shares.min(262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10_f64.powf(exponent).ceil().clamp(1.0, 10_000.0) as u64
}

fn cpuset(cpu: &LinuxCpu, settings: &mut Vec<Setting>) {
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            settings.push(Setting::new("cpuset", file, value));
        }
    }
}

fn pids(resources: &LinuxResources, settings: &mut Vec<Setting>) {
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit)
        && limit != 0
    {
        settings.push(Setting::new("pids", "pids.max", max_or(limit)));
    }
}

/// The four throttling lists with their names in both versions.
type Throttle<'a> = (&'a str, &'a str, &'a Option<Vec<LinuxThrottleDevice>>);

fn throttles(io: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        ("blkio.throttle.read_bps_device", "rbps", io.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", "wbps", io.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", "riops", io.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", "wiops", io.throttle_write_iops_device()),
    ]
}

fn v1_block_io(io: &LinuxBlockIo, settings: &mut Vec<Setting>) {
    if let Some(weight) = io.weight().filter(|weight| *weight > 0) {
        settings.push(Setting::new("blkio", "blkio.weight", weight));
    }
    for (file, _, devices) in throttles(io) {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            settings.push(Setting::new("blkio", file, value));
        }
    }
}

fn v2_block_io(io: &LinuxBlockIo, settings: &mut Vec<Setting>) {
    if let Some(weight) = io.weight().filter(|weight| *weight >= 10) {
        // From 10…1000 to 1…10000.
        let weight = 1 + (u64::from(weight) - 10) * 9999 / 990;
        settings.push(Setting::new("io", "io.weight", format!("default {weight}")));
    }
    for (_, key, devices) in throttles(io) {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {key}={}", device.major(), device.minor(), device.rate());
            settings.push(Setting::new("io", "io.max", value));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resources(value: Value) -> LinuxResources {
        serde_json::from_value(value).unwrap()
    }

    fn lines(settings: Vec<Setting>) -> Vec<String> {
        settings.into_iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn version_1_files_get_the_values_of_the_spec() {
        let resources = resources(json!({
            "memory": {"limit": 1000, "reservation": 500, "swappiness": 10},
            "cpu": {"shares": 512, "quota": 5000, "period": 10000, "cpus": "0-1"},
            "pids": {"limit": 64},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        }));
        assert_eq!(
            lines(v1(&resources, u64::MAX).unwrap()),
            [
                "memory.limit_in_bytes=1000",
                "memory.soft_limit_in_bytes=500",
                "memory.swappiness=10",
                "cpu.shares=512",
                "cpu.cfs_period_us=10000",
                "cpu.cfs_quota_us=5000",
                "cpuset.cpus=0-1",
                "pids.max=64",
                "hugetlb.2MB.limit_in_bytes=0",
            ]
        );
    }

    #[test]
    fn memory_and_swap_are_raised_and_lowered_in_the_order_the_kernel_accepts() {
        let resources = resources(json!({"memory": {"limit": 2000, "swap": 3000}}));
        let lowering = lines(v1(&resources, u64::MAX).unwrap());
        assert_eq!(lowering, ["memory.limit_in_bytes=2000", "memory.memsw.limit_in_bytes=3000"]);
        let raising = lines(v1(&resources, 1000).unwrap());
        assert_eq!(raising, ["memory.memsw.limit_in_bytes=3000", "memory.limit_in_bytes=2000"]);
    }

    #[test]
    fn version_2_files_get_the_values_of_the_spec() {
        let resources = resources(json!({
            "memory": {"limit": 1000, "swap": 1500, "reservation": 500},
            "cpu": {"shares": 1024, "quota": -1, "period": 10000, "mems": "0"},
            "pids": {"limit": -1},
            "unified": {"memory.high": "900"},
            "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}]},
        }));
        assert_eq!(
            lines(v2(&resources).unwrap()),
            [
                "memory.max=1000",
                "memory.swap.max=500",
                "memory.low=500",
                "cpu.weight=100",
                "cpu.max=max 10000",
                "cpuset.mems=0",
                "pids.max=max",
                "io.max=8:0 rbps=7",
                "memory.high=900",
            ]
        );
    }

    #[test]
    fn without_swap_a_kernel_without_swap_accounting_will_do() {
        let settings = v2(&resources(json!({"memory": {"limit": 1000, "swap": 1000}}))).unwrap();
        assert_eq!(settings[1].value, "0");
        assert!(settings[1].optional);
    }

    #[test]
    fn a_swap_limit_that_cannot_be_told_is_refused() {
        for memory in [json!({"swap": 5}), json!({"limit": 10, "swap": 5})] {
            let resources = resources(json!({ "memory": memory }));
            assert!(matches!(v2(&resources), Err(CgroupError::Unsupported(_))));
        }
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        let rdma = resources(json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}));
        assert!(v1(&rdma, 0).is_err() && v2(&rdma).is_err());
        let unified = resources(json!({"unified": {"memory.high": "1"}}));
        assert!(v1(&unified, 0).is_err());
        let climbing = resources(json!({"unified": {"../memory.high": "1"}}));
        assert!(v2(&climbing).is_err());
    }

    #[test]
    fn shares_become_weights_that_keep_the_ends_and_the_default() {
        assert_eq!([2, 1024, 262_144].map(weight_of), [1, 100, 10_000]);
        assert!(weight_of(512) < weight_of(1024));
    }
}
