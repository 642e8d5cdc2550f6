//! Requests per second and latency of one replica.

use std::time::Duration;

use anyhow::Result;

use super::Context;
use crate::contender::Contender;
use crate::load::{Load, Step, pin, pin_self};
use crate::results::LoadSample;

/// Parts of the capacity at which latency is measured.
const SHARES: [f64; 3] = [0.1, 0.5, 0.8];
/// Connections for a fixed rate: more than a server that keeps up will use.
const CONNECTIONS_AT_A_RATE: u64 = 100;
/// Connections when as much as possible is asked for.
const CONNECTIONS_AT_CAPACITY: u64 = 16;
/// The server's processor and the generator's.
const SERVER: usize = 0;
const GENERATOR: usize = 1;

/// Each contender that serves, one after the other: first as much as possible,
/// then parts of that at a fixed rate.
pub(super) fn run(context: &mut Context<'_>) -> Result<()> {
    let contenders: Vec<&Contender> =
        context.contenders.iter().filter(|contender| contender.serves()).collect();
    context.steps(contenders.len() * (SHARES.len() + 1));
    if context.results.machine.processors < 2 {
        context.note("load: generator and server share the only processor".to_owned());
    }
    for contender in contenders {
        let id = context.next_id();
        let (sample, replica, _) = context.stage.start("load", contender, &id)?;
        if let Some(failure) = sample.failure {
            context.note(format!("{} takes no load: {failure}", contender.name));
            context.stage.remove(replica)?;
            continue;
        }
        let measured = measure(context, contender, &id, replica.address);
        context.stage.remove(replica)?;
        measured?;
    }
    Ok(())
}

fn measure(
    context: &mut Context<'_>,
    contender: &Contender,
    id: &str,
    address: std::net::SocketAddr,
) -> Result<()> {
    for pid in context.stage.group.replica(id)?.pids()? {
        pin(pid, SERVER);
    }
    let seconds = Duration::from_secs(context.arguments.seconds);
    let run = |load: Load| -> Result<Step> {
        std::thread::spawn(move || {
            pin_self(GENERATOR);
            load.run(address)
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the load generator has failed"))?
    };
    // Warm-up: pools, allocators and branch predictors.
    let (connections, time) = (CONNECTIONS_AT_CAPACITY, seconds.min(Duration::from_secs(2)));
    run(Load { rate: None, connections, time })?;
    let mut capacity = None;
    for share in [None].into_iter().chain(SHARES.map(Some)) {
        let rate = share.zip(capacity).map(|(share, capacity): (f64, f64)| share * capacity);
        let connections =
            if rate.is_some() { CONNECTIONS_AT_A_RATE } else { CONNECTIONS_AT_CAPACITY };
        let step = run(Load { rate, connections, time: seconds })?;
        capacity = capacity.or(Some(step.served_per_second));
        context.step(&format!("{} {:.0}/s", contender.name, step.served_per_second))?;
        context.results.loads.push(LoadSample {
            contender: contender.name.clone(),
            share,
            offered_per_second: rate,
            served_per_second: step.served_per_second,
            errors: step.errors,
            latency_ms: step.latency_ms,
            generator_busy: step.busy,
        });
    }
    Ok(())
}
