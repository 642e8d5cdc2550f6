//! Starts of all contenders, interleaved.

use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::Advice;

use super::Context;
use crate::arguments::ScenarioName;
use crate::containerd::state_dir;
use crate::contender::{Contender, ImageKind, Vehicle};
use crate::memory;
use crate::parity::Parity;
use crate::probe::Answer;
use crate::start::{Replica, milliseconds};

/// Every contender so many times, in random order; before that, once unmeasured
/// where code and files shall be warm.
pub(super) fn run(context: &mut Context<'_>, scenario: ScenarioName) -> Result<()> {
    let contenders = context.contenders;
    let all: Vec<usize> = (0..contenders.len())
        .filter(|index| contenders.get(*index).is_some_and(|one| takes_part(one, scenario)))
        .collect();
    context.steps(all.len() * (context.arguments.runs + 1));
    for index in &all {
        one(context, scenario, *index, false)?;
    }
    for _ in 0..context.arguments.runs {
        let mut order = all.clone();
        context.random.shuffle(&mut order);
        for index in order {
            one(context, scenario, index, true)?;
        }
    }
    Ok(())
}

/// Only what compiles has a first start.
fn takes_part(contender: &Contender, scenario: ScenarioName) -> bool {
    scenario != ScenarioName::First || contender.app.is_some()
}

fn one(context: &mut Context<'_>, scenario: ScenarioName, index: usize, keep: bool) -> Result<()> {
    let contender = context.contenders.get(index).context("no such contender")?;
    let state = state_dir(&context.stage.folder);
    match scenario {
        ScenarioName::First => forget_compiled_code(&state)?,
        ScenarioName::Cold => evict(&context.stage.folder, contender)?,
        _ => {}
    }
    let id = context.next_id();
    let (mut sample, replica, answer) = context.stage.start(scenario.text(), contender, &id)?;
    if keep || sample.failure.is_some() {
        sample.order = context.results.starts.len();
    } else {
        observe(context, index, &replica, answer.as_ref())?;
    }
    match context.stage.remove(replica) {
        Ok(took) => sample.removed_ms = Some(milliseconds(took)),
        Err(error) if sample.failure.is_none() => sample.failure = Some(format!("{error:#}")),
        Err(_) => {}
    }
    let shown = sample.headline_ms().map(|time| format!("{time:.0} ms")).unwrap_or_default();
    context.step(&format!("{} {shown}", contender.name))?;
    if keep || sample.failure.is_some() {
        context.results.starts.push(sample);
    }
    Ok(())
}

/// Reads what a running replica really has, once for each contender.
fn observe(
    context: &mut Context<'_>,
    index: usize,
    replica: &Replica,
    answer: Option<&Answer>,
) -> Result<()> {
    let group = &context.stage.group;
    let own = group.replica(&replica.id)?.pids()?;
    let services = group.processes(&[])?.len().saturating_sub(1);
    let contained = context.contenders.get(index).is_some_and(Contender::is_contained);
    let processes = own.len() + if contained { services } else { 0 };
    let mut parity = match own.last() {
        Some(pid) => Some(Parity::of(*pid, &group.path_of(&replica.id), processes)?),
        None => None,
    };
    if let (Some(parity), true) = (&mut parity, contained) {
        parity.start_means_listening = Some(listens_at_once(context, index)?);
    }
    if let Some(info) = context.results.contenders.get_mut(index) {
        info.parity = parity.or(info.parity.take());
        info.answer = answer.map(Answer::hash);
    }
    Ok(())
}

/// Starts once more and asks at the moment at which `ctr` has returned, only.
fn listens_at_once(context: &mut Context<'_>, index: usize) -> Result<bool> {
    let id = context.next_id();
    let contender = context.contenders.get(index).context("no such contender")?;
    let mut begun = context.stage.begin(contender, &id)?;
    let answers =
        begun.returned().is_ok() && std::net::TcpStream::connect(begun.replica.address).is_ok();
    context.stage.remove(begun.replica)?;
    Ok(answers)
}

/// Leaves the programs, removes what was compiled.
fn forget_compiled_code(state: &Path) -> Result<()> {
    let cache = state.join("cache");
    if cache.exists() {
        fs_err::remove_dir_all(cache)?;
    }
    Ok(())
}

/// Takes the files of this contender out of the page cache, as far as nobody has
/// them mapped.
fn evict(folder: &Path, contender: &Contender) -> Result<()> {
    rustix::fs::sync();
    let mut files = Vec::new();
    files_below(folder, &mut files);
    match &contender.vehicle {
        Vehicle::Process { program, .. } => files.push(program.clone()),
        Vehicle::Runtime { runtime, kind, .. } => {
            let shim = Path::new(runtime);
            files.extend(shim.is_absolute().then(|| shim.to_owned()));
            let named = *kind == ImageKind::Native;
            let programs = ["containerd-shim-runc-v2", "runc"];
            files.extend(programs.iter().filter(|_| named).filter_map(crate::process::find));
        }
    }
    for file in files {
        if let Ok(file) = fs_err::File::open(file) {
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn files_below(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

/// Memory of everything that runs beside containerd itself.
pub(super) fn usage(context: &Context<'_>, ids: &[String]) -> Result<memory::Usage> {
    let mut pids = context.stage.group.processes(ids)?;
    pids.remove(&context.stage.containerd.pid());
    Ok(memory::of_processes(pids))
}
