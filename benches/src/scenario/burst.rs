//! Many starts of one image at the same moment.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Context;
use crate::contender::Contender;
use crate::probe::first_answers;
use crate::results::BurstSample;
use crate::start::{Begun, milliseconds};

/// How long all of them together may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// One burst for each contained contender that serves.
pub(super) fn run(context: &mut Context<'_>) -> Result<()> {
    let contenders: Vec<&Contender> = context
        .contenders
        .iter()
        .filter(|contender| contender.serves() && contender.is_contained())
        .collect();
    context.steps(contenders.len());
    for contender in contenders {
        let sample = burst(context, contender)?;
        context.step(&format!("{}: {} serve", contender.name, sample.served_ms.len()))?;
        context.results.bursts.push(sample);
    }
    Ok(())
}

fn burst(context: &mut Context<'_>, contender: &Contender) -> Result<BurstSample> {
    let asked = context.arguments.burst;
    let used = context.stage.group.cpu();
    let mut begun = Vec::with_capacity(asked);
    for _ in 0..asked {
        let id = context.next_id();
        begun.push(context.stage.begin(contender, &id)?);
    }
    let first = begun.first().map_or_else(Instant::now, Begun::at);
    let addresses: Vec<SocketAddr> = begun.iter().map(|start| start.replica.address).collect();
    let give_up = AtomicBool::new(false);
    let (answers, failures) = std::thread::scope(|scope| {
        let probe = scope.spawn(|| first_answers(&addresses, &give_up, first + PATIENCE));
        let failures: Vec<String> = begun
            .iter_mut()
            .filter_map(|start| start.returned().err().map(|error| format!("{error:#}")))
            .collect();
        if !failures.is_empty() {
            // Those that failed would be asked until the end.
            std::thread::sleep(Duration::from_secs(5));
            give_up.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        (probe.join().unwrap_or_default(), failures)
    });
    let cpu_ms = milliseconds(context.stage.group.cpu().saturating_sub(used));
    for start in begun {
        // A start that failed has nothing to remove.
        let _ = context.stage.remove(start.replica);
    }
    let served = answers.into_iter().flatten();
    let served_ms = served.map(|answer| milliseconds(answer.at.duration_since(first))).collect();
    Ok(BurstSample { contender: contender.name.clone(), asked, served_ms, failures, cpu_ms })
}
