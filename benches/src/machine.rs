//! What the figures were taken on.

use serde::{Deserialize, Serialize};

/// The machine at the beginning of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) memory_bytes: u64,
    /// Load average of the last minute.
    pub(crate) load: f64,
    /// `v1`, `v2` or `hybrid`.
    pub(crate) control_groups: String,
    pub(crate) containerd: String,
    pub(crate) spinlet: String,
    /// Mitigations that cost something, as the kernel names them.
    pub(crate) mitigations: Vec<String>,
    /// The arguments of the run.
    pub(crate) command: Vec<String>,
}

impl Machine {
    /// This machine now.
    pub(crate) fn observe(containerd: String, spinlet: String) -> Self {
        let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            processor: model.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            memory_bytes: meminfo("MemTotal"),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|l| l.parse().ok())
                .unwrap_or(0.),
            control_groups: control_groups(&read("/proc/self/mountinfo")).to_owned(),
            containerd,
            spinlet,
            mitigations: mitigations(),
            command: std::env::args().collect(),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} × {}, {:.0} GiB, kernel {}, control groups {}, {}, load {:.1}",
            self.processors,
            self.processor,
            self.memory_bytes as f64 / 1024.0_f64.powi(3),
            self.kernel,
            self.control_groups,
            self.containerd,
            self.load,
        )
    }
}

/// A line of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(name: &str) -> u64 {
    let text = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

fn control_groups(mountinfo: &str) -> &'static str {
    match (mountinfo.contains(" - cgroup "), mountinfo.contains(" - cgroup2 ")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        _ => "v2",
    }
}

fn mitigations() -> Vec<String> {
    let Ok(entries) = fs_err::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let text = fs_err::read_to_string(entry.path()).ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            text.starts_with("Mitigation").then(|| format!("{name}: {}", text.trim()))
        })
        .collect();
    found.sort();
    found
}
