//! The figures that Spinlet promises, and whether a run keeps them.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::report::Table;
use crate::results::{MemorySample, Results};
use crate::statistics::quantile;

/// The promises of this version.
const OWN: &str = include_str!("../promises.toml");

/// A file of promises.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promises {
    promise: Vec<Promise>,
}

/// One figure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promise {
    what: String,
    figure: Figure,
    /// Of figures of starts.
    #[serde(default = "warm")]
    scenario: String,
    contender: String,
    /// Divides the figure by that of this contender.
    of: Option<String>,
    /// Takes the figure of this contender off.
    over: Option<String>,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

fn warm() -> String {
    "warm".to_owned()
}

/// What is promised about.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Figure {
    /// Median of the start, ms.
    Start,
    /// Median processor time of a start, ms.
    Cpu,
    /// Proportional set size of each further replica, MB.
    Pss,
    /// Private memory of each further replica, MB.
    Private,
    /// System calls of a start.
    SystemCalls,
    /// Page faults of a start.
    PageFaults,
    /// Part of a burst that serves.
    BurstServed,
    /// Slowest hundredth of a burst over its median.
    BurstSpread,
    /// Private memory once idle after a burst of requests, over that before it.
    Settled,
    /// Requests per second at most.
    Capacity,
    /// p99 over p50 at half of capacity.
    LatencySpread,
}

impl Promises {
    /// The promises of a file, or of this version.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self> {
        let text = match file {
            Some(file) => fs_err::read_to_string(file)?,
            None => OWN.to_owned(),
        };
        toml::from_str(&text).context("the promises cannot be read")
    }

    /// Compares; the table, and whether everything that was measured is kept.
    pub(crate) fn check(&self, results: &Results) -> (Table, bool) {
        let mut table = Table::new("Promises", &["kept", "measured", "promised", "what"]);
        let mut all = true;
        for promise in &self.promise {
            let measured = promise.measured(results);
            let kept = measured.map(|value| promise.is_kept(value));
            all &= kept != Some(false);
            let verdict = match kept {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "not measured",
            };
            let value = measured.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
            table.rows.push(vec![verdict.into(), value, promise.bounds(), promise.what.clone()]);
        }
        (table, all)
    }
}

impl Promise {
    fn is_kept(&self, value: f64) -> bool {
        self.at_most.is_none_or(|most| value <= most)
            && self.at_least.is_none_or(|least| value >= least)
    }

    fn bounds(&self) -> String {
        let most = self.at_most.map(|most| format!("≤ {most}"));
        let least = self.at_least.map(|least| format!("≥ {least}"));
        most.into_iter().chain(least).collect::<Vec<_>>().join(", ")
    }

    fn measured(&self, results: &Results) -> Option<f64> {
        let value = self.figure(results, &self.contender)?;
        match (&self.of, &self.over) {
            (Some(of), _) => Some(value / self.figure(results, of)?),
            (None, Some(over)) => Some(value - self.figure(results, over)?),
            (None, None) => Some(value),
        }
    }

    fn figure(&self, results: &Results, contender: &str) -> Option<f64> {
        let slope = |value: fn(&MemorySample) -> f64| {
            results.memory_line(contender, value).map(|line| line.slope)
        };
        match self.figure {
            Figure::Start => {
                results.start_summary(&self.scenario, contender).map(|summary| summary.median)
            }
            Figure::Cpu => results.cpu_ms(&self.scenario, contender),
            Figure::Pss => slope(|sample| sample.pss_bytes as f64),
            Figure::Private => slope(|sample| sample.private_bytes as f64),
            Figure::SystemCalls => results.count(contender, "raw_syscalls:sys_enter"),
            Figure::PageFaults => results.count(contender, "page-faults"),
            Figure::BurstServed => {
                let burst = results.bursts.iter().find(|burst| burst.contender == contender)?;
                Some(burst.served_ms.len() as f64 / burst.asked as f64)
            }
            Figure::BurstSpread => {
                let burst = results.bursts.iter().find(|burst| burst.contender == contender)?;
                let mut served = burst.served_ms.clone();
                served.sort_by(f64::total_cmp);
                (!served.is_empty()).then(|| quantile(&served, 0.99) / quantile(&served, 0.5))
            }
            Figure::Settled => {
                let settled = results.settled.iter().find(|one| one.contender == contender)?;
                Some(settled.idle_bytes as f64 / settled.before_bytes as f64)
            }
            Figure::Capacity => results.load(contender, None).map(|load| load.served_per_second),
            Figure::LatencySpread => {
                let load = results.load(contender, Some(0.5))?;
                Some(load.latency(0.99)? / load.latency(0.5)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::StartSample;

    fn start(contender: &str, served_ms: f64) -> StartSample {
        StartSample {
            scenario: "warm".into(),
            contender: contender.into(),
            served_ms: Some(served_ms),
            ..StartSample::default()
        }
    }

    #[test]
    fn our_own_promises_can_be_read_and_an_empty_run_breaks_none() {
        let promises = Promises::read(None).unwrap();
        let (table, kept) = promises.check(&Results::default());
        assert!(kept && !table.rows.is_empty());
        assert!(table.rows.iter().all(|row| row[0] == "not measured"));
    }

    #[test]
    fn a_ratio_and_a_difference_are_of_medians() {
        let text = "[[promise]]\nwhat='r'\nfigure='start'\ncontender='a'\nof='b'\nat_most=0.5\n\
                    [[promise]]\nwhat='d'\nfigure='start'\ncontender='a'\nover='b'\nat_most=-61\n";
        let promises: Promises = toml::from_str(text).unwrap();
        let starts = vec![start("a", 50.0), start("b", 110.0)];
        let (table, kept) = promises.check(&Results { starts, ..Results::default() });
        assert_eq!([&table.rows[0][1], &table.rows[1][1]], ["0.45", "-60.00"]);
        assert!(!kept);
        assert_eq!([&table.rows[0][0], &table.rows[1][0]], ["yes", "NO"]);
    }
}
