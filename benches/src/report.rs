//! What the samples say, as tables and plots.

mod html;
mod plots;
mod table;
mod terminal;

use std::collections::BTreeMap;

use crate::results::{LoadSample, MemorySample, Results, StartSample};
use crate::statistics::{Line, Summary, quantile};

pub(crate) use html::page;
pub(crate) use table::Table;
pub(crate) use terminal::text;

/// The peers that others are compared with.
const NATIVE: &str = "runc";
const NOTHING: &str = "no-op";

/// Bytes in the unit of the tables.
const MEGABYTE: f64 = 1e6;

impl Results {
    /// The starts of a contender in a scenario.
    pub(crate) fn starts_of<'a>(
        &'a self,
        scenario: &'a str,
        contender: &'a str,
    ) -> impl Iterator<Item = &'a StartSample> {
        self.starts
            .iter()
            .filter(move |start| start.scenario == scenario && start.contender == contender)
    }

    /// The figure that a contender's starts are judged by.
    pub(crate) fn start_summary(&self, scenario: &str, contender: &str) -> Option<Summary> {
        Summary::of(self.starts_of(scenario, contender).filter_map(StartSample::headline_ms))
    }

    /// Median processor time of a contender's starts.
    pub(crate) fn cpu_ms(&self, scenario: &str, contender: &str) -> Option<f64> {
        let good = self.starts_of(scenario, contender).filter(|start| start.failure.is_none());
        Summary::of(good.map(|start| start.cpu_ms)).map(|summary| summary.median)
    }

    /// What each further replica of a contender costs, in megabytes. The first one is
    /// left out if there are enough others: what it alone has mapped counts as its
    /// own, and is shared as soon as there is a second.
    pub(crate) fn memory_line(
        &self,
        contender: &str,
        value: impl Fn(&MemorySample) -> f64,
    ) -> Option<Line> {
        let mut points: Vec<(f64, f64)> = self
            .memory
            .iter()
            .filter(|sample| sample.contender == contender)
            .map(|sample| (sample.replicas as f64, value(sample) / MEGABYTE))
            .collect();
        if points.iter().filter(|point| point.0 > 1.5).count() > 1 {
            points.retain(|point| point.0 > 1.5);
        }
        Line::through(&points)
    }

    /// Median of a count over a contender's counted starts.
    pub(crate) fn count(&self, contender: &str, event: &str) -> Option<f64> {
        let samples = self.counters.iter().filter(|sample| sample.contender == contender);
        let values = samples.filter_map(|sample| sample.counts.get(event));
        Summary::of(values.map(|value| *value as f64)).map(|summary| summary.median)
    }

    /// The step of load of a contender at a share of its capacity; none for the
    /// capacity itself.
    pub(crate) fn load(&self, contender: &str, share: Option<f64>) -> Option<&LoadSample> {
        self.loads.iter().find(|load| load.contender == contender && load.share == share)
    }

    fn parity(&self, contender: &str) -> String {
        let info = self.contenders.iter().find(|info| info.name == contender);
        match info.and_then(|info| info.parity.as_ref()) {
            Some(parity) => parity.text(),
            None => "starts nothing".to_owned(),
        }
    }

    /// Every table that these results fill.
    pub(crate) fn tables(&self) -> Vec<Table> {
        let mut tables = vec![
            self.start_table(),
            self.phase_table(),
            self.memory_table(),
            self.counter_table(),
            self.burst_table(),
            self.settled_table(),
            self.load_table(),
            self.churn_table(),
        ];
        tables.retain(|table| !table.rows.is_empty());
        tables
    }

    /// Scenarios and contenders that have starts, in the order of the run.
    fn cells(&self) -> Vec<(String, String)> {
        let mut cells = Vec::new();
        for start in &self.starts {
            let cell = (start.scenario.clone(), start.contender.clone());
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        cells.sort_by_key(|(scenario, contender)| {
            let of = |info: &crate::results::ContenderInfo| info.name == *contender;
            (scenario.clone(), self.contenders.iter().position(of))
        });
        cells
    }

    fn start_table(&self) -> Table {
        let mut table = Table::new(
            "Start, ms from the execution of ctr to the first answer",
            &[
                "scenario",
                "contender",
                "n",
                "failed",
                "median",
                "95% interval",
                "p90",
                "min",
                "of runc",
                "over no-op",
                "ctr",
                "CPU",
                "removal",
                "what it has",
            ],
        );
        for (scenario, contender) in self.cells() {
            let starts: Vec<&StartSample> = self.starts_of(&scenario, &contender).collect();
            let failed = starts.iter().filter(|start| start.failure.is_some()).count();
            let summary = self.start_summary(&scenario, &contender);
            let median = summary.map(|summary| summary.median);
            let against = |peer: &str| {
                self.start_summary(&scenario, peer).filter(|_| contender != peer).map(|s| s.median)
            };
            let middle = |value: fn(&StartSample) -> Option<f64>| {
                Summary::of(starts.iter().filter_map(|start| value(start))).map(|s| s.median)
            };
            table.rows.push(vec![
                scenario.clone(),
                contender.clone(),
                starts.len().to_string(),
                failed.to_string(),
                one_digit(median),
                interval(summary),
                one_digit(summary.map(|summary| summary.p90)),
                one_digit(summary.map(|summary| summary.min)),
                ratio(median, against(NATIVE)),
                difference(median, against(NOTHING)),
                one_digit(middle(|start| start.returned_ms)),
                one_digit(self.cpu_ms(&scenario, &contender)),
                one_digit(middle(|start| start.removed_ms)),
                self.parity(&contender),
            ]);
        }
        table
    }

    fn phase_table(&self) -> Table {
        let phases = self.phases();
        let names: Vec<String> = phases.values().flatten().fold(Vec::new(), |mut names, phase| {
            if !names.contains(&phase.0) {
                names.push(phase.0.clone());
            }
            names
        });
        let columns: Vec<&str> =
            std::iter::once("contender").chain(names.iter().map(String::as_str)).collect();
        let mut table = Table::new(
            "Steps of a warm start as the shim records them, ms (create and start contain others)",
            &columns,
        );
        for (contender, steps) in &phases {
            let value =
                |name: &String| steps.iter().find(|step| step.0 == *name).map(|step| step.1);
            let values = names.iter().map(|name| two_digits(value(name)));
            table.rows.push(std::iter::once(contender.clone()).chain(values).collect());
        }
        table
    }

    /// Medians of the steps of warm starts, by contender.
    pub(crate) fn phases(&self) -> BTreeMap<String, Vec<(String, f64)>> {
        let mut all: BTreeMap<String, Vec<(String, Vec<f64>)>> = BTreeMap::new();
        for start in self.starts.iter().filter(|start| start.scenario == "warm") {
            for (name, time) in &start.phases {
                let steps = all.entry(start.contender.clone()).or_default();
                match steps.iter_mut().find(|step| step.0 == *name) {
                    Some(step) => step.1.push(*time),
                    None => steps.push((name.clone(), vec![*time])),
                }
            }
        }
        let median = |times: Vec<f64>| Summary::of(times).map_or(0.0, |summary| summary.median);
        all.into_iter()
            .map(|(contender, steps)| {
                let steps = steps.into_iter().map(|(name, times)| (name, median(times)));
                (contender, steps.collect())
            })
            .collect()
    }

    fn memory_table(&self) -> Table {
        let mut table = Table::new(
            "Memory, MB (10^6 bytes) for each further replica, and fixed",
            &[
                "contender",
                "replicas",
                "answer",
                "processes",
                "threads",
                "PSS",
                "private",
                "kernel",
                "available",
                "PSS fixed",
                "switches/s idle",
                "what it has",
            ],
        );
        for info in &self.contenders {
            let own = self.memory.iter().filter(|sample| sample.contender == info.name);
            let Some(last) = own.max_by_key(|sample| sample.replicas) else { continue };
            let line = |value: fn(&MemorySample) -> f64| self.memory_line(&info.name, value);
            let slope = |line: Option<Line>| two_digits(line.map(|line| line.slope));
            let pss = line(|sample| sample.pss_bytes as f64);
            table.rows.push(vec![
                info.name.clone(),
                last.replicas.to_string(),
                last.answering.to_string(),
                last.processes.to_string(),
                last.threads.to_string(),
                slope(pss),
                slope(line(|sample| sample.private_bytes as f64)),
                match last.kernel_bytes {
                    Some(_) => slope(line(|sample| sample.kernel_bytes.unwrap_or(0) as f64)),
                    None => "not told".to_owned(),
                },
                slope(line(|sample| sample.available_bytes as f64)),
                two_digits(pss.map(|line| line.fixed)),
                two_digits(last.idle_switches),
                self.parity(&info.name),
            ]);
        }
        table
    }

    fn counter_table(&self) -> Table {
        let mut events: Vec<&String> = self.counters.iter().flat_map(|s| s.counts.keys()).collect();
        events.sort();
        events.dedup();
        let columns: Vec<&str> =
            std::iter::once("contender").chain(events.iter().map(|name| name.as_str())).collect();
        let mut table = Table::new(
            "Counted by the kernel during one start, containerd included, ctr not; what is not \
             listed this machine cannot count",
            &columns,
        );
        for info in self.contenders.iter().filter(|_| !events.is_empty()) {
            if !self.counters.iter().any(|sample| sample.contender == info.name) {
                continue;
            }
            let values = events.iter().map(|event| no_digits(self.count(&info.name, event)));
            table.rows.push(std::iter::once(info.name.clone()).chain(values).collect());
        }
        table
    }

    fn burst_table(&self) -> Table {
        let mut table = Table::new(
            "Starts at the same moment, ms",
            &["contender", "asked", "serve", "failed", "p50", "p99", "all", "CPU each"],
        );
        for burst in &self.bursts {
            let mut served = burst.served_ms.clone();
            served.sort_by(f64::total_cmp);
            let at = |at| no_digits((!served.is_empty()).then(|| quantile(&served, at)));
            table.rows.push(vec![
                burst.contender.clone(),
                burst.asked.to_string(),
                served.len().to_string(),
                burst.failures.len().to_string(),
                at(0.5),
                at(0.99),
                at(1.0),
                one_digit(Some(burst.cpu_ms / burst.asked.max(1) as f64)),
            ]);
        }
        table
    }

    fn settled_table(&self) -> Table {
        let mut table = Table::new(
            "Private memory of one replica around a burst of requests, MB",
            &["contender", "at once", "served", "errors", "before", "in it", "idle", "idle for, s"],
        );
        let megabytes = |bytes: u64| two_digits(Some(bytes as f64 / MEGABYTE));
        for settled in &self.settled {
            table.rows.push(vec![
                settled.contender.clone(),
                settled.concurrent.to_string(),
                settled.served.to_string(),
                settled.errors.to_string(),
                megabytes(settled.before_bytes),
                megabytes(settled.burst_bytes),
                megabytes(settled.idle_bytes),
                settled.idle_seconds.to_string(),
            ]);
        }
        table
    }

    fn load_table(&self) -> Table {
        let mut table = Table::new(
            "Load on one replica on one processor; latency in ms from when a request was due",
            &[
                "contender",
                "of capacity",
                "offered/s",
                "served/s",
                "errors",
                "p50",
                "p90",
                "p99",
                "p99.9",
                "generator busy",
            ],
        );
        for load in &self.loads {
            let latency = |at: f64| two_digits(load.latency(at));
            table.rows.push(vec![
                load.contender.clone(),
                load.share.map_or("as much as it can".to_owned(), |s| format!("{:.0}%", s * 100.0)),
                no_digits(load.offered_per_second),
                no_digits(Some(load.served_per_second)),
                load.errors.to_string(),
                latency(0.5),
                latency(0.9),
                latency(0.99),
                latency(0.999),
                format!("{:.0}%", load.generator_busy * 100.0),
            ]);
        }
        table
    }

    fn churn_table(&self) -> Table {
        let mut table = Table::new(
            "Starts and stops in a row: what is left, before and after",
            &["contender", "cycles", "failed", "processes", "mounts", "containerd's descriptors"],
        );
        let change = |(before, after): (usize, usize)| format!("{before} → {after}");
        for churn in &self.churn {
            table.rows.push(vec![
                churn.contender.clone(),
                churn.cycles.to_string(),
                churn.failures.to_string(),
                change(churn.processes),
                change(churn.mounts),
                change(churn.descriptors),
            ]);
        }
        table
    }
}

fn digits(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn no_digits(value: Option<f64>) -> String {
    digits(value, 0)
}

fn one_digit(value: Option<f64>) -> String {
    digits(value, 1)
}

fn two_digits(value: Option<f64>) -> String {
    digits(value, 2)
}

fn interval(summary: Option<Summary>) -> String {
    summary.map_or_else(
        || "-".to_owned(),
        |summary| format!("{:.0}–{:.0}", summary.interval.0, summary.interval.1),
    )
}

fn ratio(value: Option<f64>, against: Option<f64>) -> String {
    two_digits(value.zip(against).map(|(value, against)| value / against))
}

fn difference(value: Option<f64>, against: Option<f64>) -> String {
    let difference = value.zip(against).map(|(value, against)| value - against);
    difference.map_or_else(|| "-".to_owned(), |difference| format!("{difference:+.1}"))
}
