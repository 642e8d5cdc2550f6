//! A run from its arguments to its report.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::arguments::{Arguments, ScenarioName};
use crate::containerd::{Containerd, node_settings};
use crate::contender::{Contender, Programs, field};
use crate::group::Group;
use crate::interrupt;
use crate::machine::Machine;
use crate::process::{find, output_of};
use crate::promises::Promises;
use crate::report;
use crate::results::Results;
use crate::scenario::Context;
use crate::start::Stage;

/// Measures or reads, reports, and tells whether the promises are kept, if that
/// was asked for.
///
/// # Errors
/// Fails when a run cannot begin or a replica cannot be removed. A start that fails
/// is a result.
pub fn run(mut arguments: Arguments) -> Result<bool> {
    let promises = promises(&arguments)?;
    if arguments.quick {
        hurry(&mut arguments);
    }
    let results = match &arguments.from {
        Some(file) => read(file)?,
        None => measure(&arguments)?,
    };
    write(&results, &arguments.output)?;
    for table in results.tables() {
        say(&report::text(&table))?;
    }
    for note in &results.notes {
        say(&format!("note: {note}\n"))?;
    }
    let shown = |name: &str| arguments.output.join(name).display().to_string();
    say(&format!(
        "\nraw samples in {}, plots in {}\n",
        shown("results.json"),
        shown("report.html")
    ))?;
    let Some(promises) = promises else { return Ok(true) };
    let (table, kept) = promises.check(&results);
    say(&report::text(&table))?;
    Ok(kept)
}

/// Read before anything is measured: a mistake shows at once.
fn promises(arguments: &Arguments) -> Result<Option<Promises>> {
    match arguments.check.as_deref() {
        None => Ok(None),
        Some("") => Promises::read(None).map(Some),
        Some(file) => Promises::read(Some(Path::new(file))).map(Some),
    }
}

/// The short form of a run.
fn hurry(arguments: &mut Arguments) {
    arguments.runs = arguments.runs.min(8);
    arguments.replicas = vec![1, 3, 6];
    arguments.burst = arguments.burst.min(8);
    arguments.seconds = arguments.seconds.min(2);
}

fn measure(arguments: &Arguments) -> Result<Results> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "containerd needs root: run this as root, for example with sudo"
    );
    ensure!(arguments.runs > 0, "at least one start of each contender is needed (--runs)");
    let programs = programs(arguments)?;
    interrupt::listen()?;
    let folder = tempfile::Builder::new().prefix("spinlet-bench-").tempdir()?;
    let field = field(arguments, &programs, folder.path())?;
    let group = Group::create()?;
    let settings = node_settings(folder.path(), arguments.first_tier);
    let programs_of_containerd = arguments.containerd.as_deref();
    let containerd = Containerd::start(programs_of_containerd, folder.path(), &group, &settings)?;
    for image in &field.images {
        containerd.import(image)?;
    }
    let version = output_of(&programs.shim, &["-v"]).unwrap_or_default().trim().to_owned();
    let machine = Machine::observe(containerd.version.clone(), version);
    say(&format!("{}\n", machine.line()))?;
    let results = Results {
        machine,
        contenders: field.contenders.iter().map(Contender::info).collect(),
        notes: field.notes,
        ..Results::default()
    };
    let folder_of_run = folder.path().to_owned();
    let stage = Stage { containerd, group, folder: folder_of_run, settings };
    let mut context = Context::new(&stage, &field.contenders, arguments, results);
    for app in &arguments.apps {
        context.progress.set_message(format!("compiling {}", app.name));
        stage.compile(&programs.spinlet, &app.path)?;
    }
    let mut done: Vec<ScenarioName> = Vec::new();
    for scenario in &arguments.scenario {
        if !done.contains(scenario) {
            context.run(*scenario)?;
            done.push(*scenario);
        }
    }
    context.progress.finish_and_clear();
    Ok(context.results)
}

/// The programs that are compared with, beside this one or carried by `spinlet`.
fn programs(arguments: &Arguments) -> Result<Programs> {
    let own = std::env::current_exe()?;
    let program = |told: &Option<PathBuf>, name: &str| -> Result<PathBuf> {
        let file = told.clone().unwrap_or_else(|| own.with_file_name(name));
        ensure!(file.is_file(), "{} is missing; build it with scripts/build", file.display());
        Ok(std::path::absolute(file)?)
    };
    let spinlet = program(&arguments.spinlet, "spinlet")?;
    let name = "containerd-shim-spin-v2";
    let shim = match &arguments.shim {
        Some(file) => file.clone(),
        None => spinlet
            .parent()
            .map(|folder| folder.join(name))
            .filter(|file| file.is_file())
            .or_else(|| find(name))
            .with_context(|| {
                format!("{name} is neither beside spinlet nor in PATH; name it with --shim")
            })?,
    };
    ensure!(shim.is_file(), "the shim {} does not exist", shim.display());
    Ok(Programs {
        spinlet,
        shim: std::path::absolute(shim)?,
        native_server: program(&arguments.native_server, "native-server")?,
        noop_shim: program(&arguments.noop_shim, "containerd-shim-noop-v1")?,
    })
}

fn read(file: &Path) -> Result<Results> {
    serde_json::from_slice(&fs_err::read(file)?)
        .with_context(|| format!("{} holds no results of a run", file.display()))
}

fn write(results: &Results, folder: &Path) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    fs_err::write(folder.join("results.json"), serde_json::to_vec_pretty(results)?)?;
    fs_err::write(folder.join("report.html"), report::page(results)?)?;
    Ok(())
}

fn say(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).context("cannot write the report")
}
