//! Memory and start time of replica after replica.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Context;
use super::starts::usage;
use crate::contender::Contender;
use crate::machine::meminfo;
use crate::memory::Usage;
use crate::probe;
use crate::results::MemorySample;
use crate::start::Replica;

/// What a replica has done before it is counted: it has answered once and had
/// this long to settle.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the largest number of replicas has had no request before its wake-ups are
/// counted: threads that wait for more to do end after ten seconds, and reading the
/// memory of so many has taken its time.
const QUIET: Duration = Duration::from_secs(15);
/// How long they are counted.
const IDLE: Duration = Duration::from_secs(5);

/// For each contender that serves: starts up to the largest number of replicas and
/// takes a sample at each of the numbers.
pub(super) fn run(context: &mut Context<'_>) -> Result<()> {
    let largest = context.arguments.replicas.iter().copied().max().unwrap_or_default();
    let contenders: Vec<&Contender> =
        context.contenders.iter().filter(|contender| contender.serves()).collect();
    context.steps(contenders.len() * largest);
    for contender in contenders {
        let mut replicas = Vec::new();
        let grown = grow(context, contender, largest, &mut replicas);
        for replica in replicas {
            context.stage.remove(replica)?;
        }
        grown?;
    }
    Ok(())
}

fn grow(
    context: &mut Context<'_>,
    contender: &Contender,
    largest: usize,
    replicas: &mut Vec<Replica>,
) -> Result<()> {
    let before =
        Before { kernel: context.stage.group.kernel_memory(), available: meminfo("MemAvailable") };
    for number in 1..=largest {
        let id = context.next_id();
        let (mut sample, replica, _) = context.stage.start("replicas", contender, &id)?;
        replicas.push(replica);
        sample.order = number;
        context.step(&format!("{} × {number}", contender.name))?;
        let failed = sample.failure.clone();
        context.results.starts.push(sample);
        if let Some(failure) = failed {
            context.note(format!("{} ends at replica {number}: {failure}", contender.name));
            return Ok(());
        }
        if context.arguments.replicas.contains(&number) {
            let mut sample = sample_of(context, contender, replicas, &before)?;
            if number == largest {
                sample.idle_switches = Some(idle_switches(context, replicas)?);
            }
            context.results.memory.push(sample);
        }
    }
    Ok(())
}

/// The machine before the first replica.
struct Before {
    kernel: Option<u64>,
    available: u64,
}

fn sample_of(
    context: &Context<'_>,
    contender: &Contender,
    replicas: &[Replica],
    before: &Before,
) -> Result<MemorySample> {
    let answering = replicas.iter().filter(|r| probe::ask(r.address).is_some()).count();
    std::thread::sleep(SETTLE);
    let Usage { processes, threads, pss, private, .. } = usage(context, &ids(replicas))?;
    let kernel = context.stage.group.kernel_memory().zip(before.kernel);
    let difference = |now: u64, before: u64| now as i64 - before as i64;
    Ok(MemorySample {
        contender: contender.name.clone(),
        replicas: replicas.len(),
        processes,
        threads,
        pss_bytes: pss,
        private_bytes: private,
        kernel_bytes: kernel.map(|(now, before)| difference(now, before)),
        available_bytes: difference(before.available, meminfo("MemAvailable")),
        answering,
        idle_switches: None,
    })
}

/// The context switches of all replicas in a second without a request.
fn idle_switches(context: &Context<'_>, replicas: &[Replica]) -> Result<f64> {
    let ids = ids(replicas);
    std::thread::sleep(QUIET);
    let (before, begun) = (usage(context, &ids)?.switches, Instant::now());
    std::thread::sleep(IDLE);
    let switches = usage(context, &ids)?.switches.saturating_sub(before);
    Ok(switches as f64 / begun.elapsed().as_secs_f64())
}

fn ids(replicas: &[Replica]) -> Vec<String> {
    replicas.iter().map(|replica| replica.id.clone()).collect()
}
