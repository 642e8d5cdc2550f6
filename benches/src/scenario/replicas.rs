//! Memory and start time of replica after replica.

use std::time::Duration;

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
/// How long the wake-ups of idle replicas are counted.
const IDLE: Duration = Duration::from_secs(1);

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
            let sample = sample_of(context, contender, replicas, &before)?;
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
    let ids: Vec<String> = replicas.iter().map(|replica| replica.id.clone()).collect();
    let first: Usage = usage(context, &ids)?;
    std::thread::sleep(IDLE);
    let Usage { processes, threads, pss, private, switches } = usage(context, &ids)?;
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
        idle_switches: switches.saturating_sub(first.switches),
    })
}
