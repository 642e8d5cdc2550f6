//! System calls, page faults and instructions of a start.

use anyhow::Result;

use super::Context;
use crate::contender::Contender;
use crate::counters::Counting;
use crate::results::CounterSample;

/// Counts are steady: a few starts tell.
const STARTS: usize = 5;

/// A few warm starts of each contained contender, counted. containerd's own share
/// is in the counts of all alike, `ctr`'s is not.
pub(super) fn run(context: &mut Context<'_>) -> Result<()> {
    let contenders: Vec<&Contender> =
        context.contenders.iter().filter(|contender| contender.is_contained()).collect();
    context.steps(contenders.len() * (STARTS + 1));
    for contender in contenders {
        for round in 0..=STARTS {
            let id = context.next_id();
            let counting = Counting::begin(context.stage.containerd.pid(), &context.stage.folder);
            let started = context.stage.start("counters", contender, &id);
            let counts = counting.and_then(Counting::end);
            let (_, replica, _) = started?;
            context.stage.remove(replica)?;
            context.step(&contender.name)?;
            match counts {
                // The first start fills caches.
                Ok(_) if round == 0 => {}
                Ok(counts) => {
                    let contender = contender.name.clone();
                    context.results.counters.push(CounterSample { contender, counts });
                }
                Err(error) => {
                    context.note(format!("nothing is counted: {error:#}"));
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
