//! What is measured, one file per kind of figure.

mod burst;
mod churn;
mod counted;
mod loaded;
mod replicas;
mod settled;
mod starts;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::{Arguments, ScenarioName};
use crate::contender::Contender;
use crate::interrupt;
use crate::random::Random;
use crate::results::Results;
use crate::start::Stage;

/// How often progress is said where no bar can be drawn.
const TOLD_EVERY: Duration = Duration::from_secs(15);

/// Everything a scenario works with.
pub(crate) struct Context<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) contenders: &'a [Contender],
    pub(crate) arguments: &'a Arguments,
    pub(crate) random: Random,
    pub(crate) results: Results,
    pub(crate) progress: ProgressBar,
    interrupted: &'static AtomicBool,
    number: usize,
    told: Instant,
}

impl<'a> Context<'a> {
    /// A run that has measured nothing yet.
    pub(crate) fn new(
        stage: &'a Stage,
        contenders: &'a [Contender],
        arguments: &'a Arguments,
        results: Results,
    ) -> Self {
        let progress = ProgressBar::no_length();
        let template =
            "{spinner} {prefix} {wide_bar} {pos}/{len}  {msg}  {elapsed}, about {eta} more";
        if let Ok(style) = ProgressStyle::with_template(template) {
            progress.set_style(style);
        }
        let random = Random::new(arguments.seed);
        let interrupted = interrupt::flag();
        let (number, told) = (0, Instant::now());
        Self { stage, contenders, arguments, random, results, progress, interrupted, number, told }
    }

    /// Runs a scenario.
    pub(crate) fn run(&mut self, scenario: ScenarioName) -> Result<()> {
        self.progress.set_prefix(scenario.text());
        match scenario {
            ScenarioName::First | ScenarioName::Cold | ScenarioName::Warm => {
                starts::run(self, scenario)
            }
            ScenarioName::Replicas => replicas::run(self),
            ScenarioName::Burst => burst::run(self),
            ScenarioName::Settled => settled::run(self),
            ScenarioName::Load => loaded::run(self),
            ScenarioName::Churn => churn::run(self),
            ScenarioName::Counters => counted::run(self),
        }
    }

    /// Begins a part of so many steps.
    fn steps(&self, count: usize) {
        self.progress.reset();
        self.progress.set_length(count as u64);
    }

    /// Ends a step.
    ///
    /// # Errors
    /// Fails when the run shall end: what was started is then removed on the way
    /// out.
    fn step(&mut self, message: &str) -> Result<()> {
        self.progress.inc(1);
        self.progress.set_message(message.to_owned());
        if self.progress.is_hidden() && self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            let bar = &self.progress;
            let (done, all) = (bar.position(), bar.length().unwrap_or_default());
            let (prefix, left) = (bar.prefix(), bar.eta().as_secs());
            let line = format!("{prefix} {done} of {all}, about {left} s more: {message}\n");
            // Who does not read it misses nothing of the results.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }

    /// A container id that was not used before in this run.
    fn next_id(&mut self) -> String {
        self.number += 1;
        format!("bench-{}", self.number)
    }

    fn note(&mut self, text: String) {
        if !self.results.notes.contains(&text) {
            self.results.notes.push(text);
        }
    }
}
