//! The raw samples of a run, as they are written to `results.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::parity::Parity;

/// Everything that one run has measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) contenders: Vec<ContenderInfo>,
    pub(crate) starts: Vec<StartSample>,
    pub(crate) memory: Vec<MemorySample>,
    pub(crate) counters: Vec<CounterSample>,
    pub(crate) bursts: Vec<BurstSample>,
    #[serde(default)]
    pub(crate) settled: Vec<SettledSample>,
    pub(crate) loads: Vec<LoadSample>,
    pub(crate) churn: Vec<ChurnSample>,
    /// What could not be measured, and why.
    pub(crate) notes: Vec<String>,
}

/// A contender as results name it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContenderInfo {
    pub(crate) name: String,
    pub(crate) peer: String,
    /// The app; none for a native server or nothing at all.
    pub(crate) app: Option<String>,
    pub(crate) serves: bool,
    pub(crate) parity: Option<Parity>,
    /// SHA-256 of the answer's body.
    pub(crate) answer: Option<String>,
}

/// One start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StartSample {
    pub(crate) scenario: String,
    pub(crate) contender: String,
    /// How many starts of this run came before.
    pub(crate) order: usize,
    /// From the execution of `ctr` to its end; none for a bare process.
    pub(crate) returned_ms: Option<f64>,
    /// From the execution of `ctr` to the first answer; none where nothing answers.
    pub(crate) served_ms: Option<f64>,
    /// Processor time of everything that the start has moved.
    pub(crate) cpu_ms: f64,
    /// From the request to remove it until `ctr` returned.
    pub(crate) removed_ms: Option<f64>,
    /// The steps that the shim has recorded itself.
    pub(crate) phases: Vec<(String, f64)>,
    /// Why it failed.
    pub(crate) failure: Option<String>,
}

impl StartSample {
    /// The figure a start is judged by: to the first answer, or where nothing
    /// answers to the return of `ctr`.
    pub(crate) fn headline_ms(&self) -> Option<f64> {
        if self.failure.is_some() { None } else { self.served_ms.or(self.returned_ms) }
    }
}

/// Memory of some replicas together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemorySample {
    pub(crate) contender: String,
    pub(crate) replicas: usize,
    pub(crate) processes: usize,
    pub(crate) threads: usize,
    pub(crate) pss_bytes: u64,
    pub(crate) private_bytes: u64,
    /// Kernel memory charged since before the first; none where the kernel does
    /// not tell.
    pub(crate) kernel_bytes: Option<i64>,
    /// What the machine's available memory has become less by.
    pub(crate) available_bytes: i64,
    /// How many of them answer.
    pub(crate) answering: usize,
    /// Context switches of all their processes in a second, once they have been without
    /// requests for a while; counted at the largest number of replicas only.
    pub(crate) idle_switches: Option<f64>,
}

/// What one start has used, with containerd's and without `ctr`'s share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CounterSample {
    pub(crate) contender: String,
    /// By the names of `perf stat`; what this machine cannot count is absent.
    pub(crate) counts: BTreeMap<String, u64>,
}

/// Starts at the same moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BurstSample {
    pub(crate) contender: String,
    pub(crate) asked: usize,
    /// First answers, from the execution of the first `ctr`.
    pub(crate) served_ms: Vec<f64>,
    pub(crate) failures: Vec<String>,
    /// Compilations that ran.
    pub(crate) cpu_ms: f64,
}

/// Private memory of one replica around a burst of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SettledSample {
    pub(crate) contender: String,
    /// Requests in flight at the same time.
    pub(crate) concurrent: u64,
    pub(crate) served: u64,
    pub(crate) errors: u64,
    /// After the first request.
    pub(crate) before_bytes: u64,
    /// Just after the burst.
    pub(crate) burst_bytes: u64,
    /// How long no request came then, and the memory after that.
    pub(crate) idle_seconds: u64,
    pub(crate) idle_bytes: u64,
}

/// A step of load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoadSample {
    pub(crate) contender: String,
    /// Part of the capacity that was offered; none where as much as possible was.
    pub(crate) share: Option<f64>,
    pub(crate) offered_per_second: Option<f64>,
    pub(crate) served_per_second: f64,
    pub(crate) errors: u64,
    /// Quantile and latency in milliseconds.
    pub(crate) latency_ms: Vec<(f64, f64)>,
    /// Processor time of the generator, as part of one core.
    pub(crate) generator_busy: f64,
}

impl LoadSample {
    /// The latency that this part of the requests kept to.
    pub(crate) fn latency(&self, part: f64) -> Option<f64> {
        let near = |(quantile, _): &&(f64, f64)| (quantile - part).abs() < 1e-6;
        self.latency_ms.iter().find(near).map(|(_, latency)| *latency)
    }
}

/// What many starts and stops have left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChurnSample {
    pub(crate) contender: String,
    pub(crate) cycles: usize,
    pub(crate) failures: usize,
    /// Processes in the benchmark's control group, before and after.
    pub(crate) processes: (usize, usize),
    /// Mounts of the machine below the benchmark's folder, before and after.
    pub(crate) mounts: (usize, usize),
    /// Open descriptors of containerd, before and after.
    pub(crate) descriptors: (usize, usize),
}
