//! Memory of one replica before a burst of requests, in it, and when it has been
//! idle again for a while.

use std::time::Duration;

use anyhow::Result;

use super::Context;
use crate::contender::Contender;
use crate::load::Load;
use crate::memory::{self, Usage};
use crate::results::SettledSample;
use crate::start::Replica;

/// Requests that are in flight at the same time.
const CONCURRENT: u64 = 200;
/// How long a replica has before it is first looked at, having answered once.
const SETTLE: Duration = Duration::from_secs(1);

/// Each contender that serves, one after the other.
pub(super) fn run(context: &mut Context<'_>) -> Result<()> {
    let contenders: Vec<&Contender> =
        context.contenders.iter().filter(|contender| contender.serves()).collect();
    context.steps(contenders.len());
    for contender in contenders {
        // Beside another one that has had the same: what both have mapped is then not the
        // private memory of either.
        let (mut replicas, mut serve) = (Vec::new(), true);
        for _ in 0..2 {
            let id = context.next_id();
            let (sample, replica, _) = context.stage.start("settled", contender, &id)?;
            replicas.push(replica);
            if let Some(failure) = sample.failure {
                context.note(format!("{} has no burst: {failure}", contender.name));
                serve = false;
                break;
            }
        }
        let measured = match replicas.as_slice() {
            [neighbour, replica] if serve => Some(measure(context, contender, neighbour, replica)),
            _ => None,
        };
        for replica in replicas {
            context.stage.remove(replica)?;
        }
        let shown = match measured.transpose()? {
            Some(sample) => {
                let grown = sample.idle_bytes as f64 / sample.before_bytes.max(1) as f64;
                context.results.settled.push(sample);
                format!("{} {grown:.2}", contender.name)
            }
            None => contender.name.clone(),
        };
        context.step(&shown)?;
    }
    Ok(())
}

fn measure(
    context: &Context<'_>,
    contender: &Contender,
    neighbour: &Replica,
    replica: &Replica,
) -> Result<SettledSample> {
    let usage = || -> Result<Usage> {
        Ok(memory::of_processes(context.stage.group.replica(&replica.id)?.pids()?))
    };
    let time = Duration::from_secs(context.arguments.seconds);
    let load =
        |replica: &Replica| Load { rate: None, connections: CONCURRENT, time }.run(replica.address);
    load(neighbour)?;
    std::thread::sleep(SETTLE);
    let before = usage()?;
    let step = load(replica)?;
    let burst = usage()?;
    std::thread::sleep(Duration::from_secs(context.arguments.idle));
    Ok(SettledSample {
        contender: contender.name.clone(),
        concurrent: CONCURRENT,
        served: (step.served_per_second * time.as_secs_f64()) as u64,
        errors: step.errors,
        before_bytes: before.private,
        burst_bytes: burst.private,
        idle_seconds: context.arguments.idle,
        idle_bytes: usage()?.private,
    })
}
