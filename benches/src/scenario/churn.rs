//! Many starts and stops: what is left.

use anyhow::Result;

use super::Context;
use crate::containerd::mounts_below;
use crate::contender::Contender;
use crate::results::ChurnSample;

/// Every contained contender so many times in a row.
pub(super) fn run(context: &mut Context<'_>) -> Result<()> {
    let contenders: Vec<&Contender> =
        context.contenders.iter().filter(|contender| contender.is_contained()).collect();
    let cycles = context.arguments.runs;
    context.steps(contenders.len() * cycles);
    for contender in contenders {
        // containerd itself grows with its first tasks.
        cycle(context, contender)?;
        let before = left(context)?;
        let mut failures = 0;
        for _ in 0..cycles {
            failures += usize::from(!cycle(context, contender)?);
            context.step(&contender.name)?;
        }
        let after = left(context)?;
        context.results.churn.push(ChurnSample {
            contender: contender.name.clone(),
            cycles,
            failures,
            processes: (before.processes, after.processes),
            mounts: (before.mounts, after.mounts),
            descriptors: (before.descriptors, after.descriptors),
        });
    }
    Ok(())
}

/// Starts and removes once; whether that went well.
fn cycle(context: &mut Context<'_>, contender: &Contender) -> Result<bool> {
    let id = context.next_id();
    let (sample, replica, _) = context.stage.start("churn", contender, &id)?;
    Ok(context.stage.remove(replica).is_ok() && sample.failure.is_none())
}

struct Left {
    processes: usize,
    mounts: usize,
    descriptors: usize,
}

fn left(context: &Context<'_>) -> Result<Left> {
    // Shims end a moment after their answer.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let descriptors = format!("/proc/{}/fd", context.stage.containerd.pid());
    Ok(Left {
        processes: context.stage.group.processes(&[])?.len(),
        mounts: mounts_below(&context.stage.folder).len(),
        descriptors: fs_err::read_dir(descriptors)?.count(),
    })
}
