//! One start, measured, and its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::containerd::Containerd;
use crate::contender::Contender;
use crate::group::Group;
use crate::probe::{Answer, first_answers, free_address};
use crate::process::Process;
use crate::results::StartSample;

/// How long a start may take until its first answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where the largest guests may have to be compiled on a busy machine.
const PATIENCE_WITH_COMPILER: Duration = Duration::from_mins(3);

/// Where everything of a run is.
#[derive(Debug)]
pub(crate) struct Stage {
    // In this order: containerd ends before its group and its folder go.
    pub(crate) containerd: Containerd,
    pub(crate) group: Group,
    pub(crate) folder: PathBuf,
    /// Spinlet's settings of this node.
    pub(crate) settings: Vec<(String, String)>,
}

/// Something that was started and has to be removed.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    process: Option<Process>,
}

/// A start that is under way: `ctr` or the process runs.
pub(crate) struct Begun {
    pub(crate) replica: Replica,
    ctr: Option<Process>,
    at: Instant,
}

impl Stage {
    /// Has an app compiled as a node would have it before a warm start. However long
    /// that takes: it is no part of any figure.
    pub(crate) fn compile(&self, spinlet: &Path, app: &Path) -> Result<()> {
        let arguments = [
            "--quiet".to_owned(),
            "compile".to_owned(),
            std::path::absolute(app)?.display().to_string(),
        ];
        let log = self.folder.join("compile.log");
        Process::start(spinlet, &arguments, &self.settings, self.group.services(), &log)?
            .succeed(Duration::from_mins(30))
            .with_context(|| format!("cannot compile {}", app.display()))
    }

    /// Begins a start.
    pub(crate) fn begin(&self, contender: &Contender, id: &str) -> Result<Begun> {
        let address = free_address()?;
        let fifos = self.folder.join("fifos");
        let arguments = contender.ctr_arguments(id, &self.group.path_of(id), address, &fifos);
        if let Some(arguments) = arguments {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let at = Instant::now();
            let ctr = Some(self.containerd.start_ctr(&arguments, &self.group)?);
            let replica = Replica { id: id.to_owned(), address, process: None };
            return Ok(Begun { replica, ctr, at });
        }
        let (program, arguments) = contender.command(address).context("nothing to start")?;
        let group = self.group.replica(id)?;
        group.create(None)?;
        let log = self.folder.join("process.log");
        let _ = fs_err::remove_file(&log);
        let at = Instant::now();
        let process = Process::start(&program, &arguments, &self.settings, &group, &log)?;
        let replica = Replica { id: id.to_owned(), address, process: Some(process) };
        Ok(Begun { replica, ctr: None, at })
    }

    /// Starts a contender and waits for its first answer.
    pub(crate) fn start(
        &self,
        scenario: &str,
        contender: &Contender,
        id: &str,
    ) -> Result<(StartSample, Replica, Option<Answer>)> {
        let used = self.group.cpu();
        let mut begun = self.begin(contender, id)?;
        let give_up = AtomicBool::new(!contender.serves());
        let patience = if scenario == "first" { PATIENCE_WITH_COMPILER } else { PATIENCE };
        let deadline = begun.at + patience;
        let address = begun.replica.address;
        let mut sample = StartSample {
            scenario: scenario.to_owned(),
            contender: contender.name.clone(),
            ..StartSample::default()
        };
        let (returned, answer) = std::thread::scope(|scope| {
            let probe = scope.spawn(|| first_answers(&[address], &give_up, deadline));
            let returned = begun.returned();
            give_up.store(returned.is_err() || !contender.serves(), Ordering::Relaxed);
            let answer = probe.join().unwrap_or_default().pop().flatten();
            (returned, answer)
        });
        sample.cpu_ms = milliseconds(self.group.cpu().saturating_sub(used));
        sample.served_ms = answer.as_ref().map(|answer| milliseconds(answer.at - begun.at));
        match returned {
            Ok(returned) => sample.returned_ms = returned.map(milliseconds),
            Err(error) => sample.failure = Some(format!("{error:#}")),
        }
        if sample.failure.is_none() && contender.serves() && answer.is_none() {
            sample.failure = Some(format!("no answer within {patience:?}"));
        }
        sample.phases = self.phases(id);
        Ok((sample, begun.replica, answer))
    }

    /// The steps that the shim has left in the bundle.
    fn phases(&self, id: &str) -> Vec<(String, f64)> {
        #[derive(Deserialize)]
        struct Document {
            phases: Vec<Phase>,
        }
        #[derive(Deserialize)]
        struct Phase {
            name: String,
            micros: u64,
        }
        let file = self.containerd.bundle(id).join("phases.json");
        let text = fs_err::read(file).unwrap_or_default();
        let document = serde_json::from_slice::<Document>(&text);
        let phases = document.map(|document| document.phases).unwrap_or_default();
        phases.into_iter().map(|phase| (phase.name, phase.micros as f64 / 1000.0)).collect()
    }

    /// Removes a replica; how long that took.
    pub(crate) fn remove(&self, replica: Replica) -> Result<Duration> {
        let begun = Instant::now();
        let Replica { id, process, .. } = replica;
        match process {
            None => self.containerd.remove(&id, &self.group)?,
            Some(mut process) => {
                process.signal(15)?;
                process.wait(Duration::from_secs(40))?;
                let group = self.group.replica(&id)?;
                group.kill_all()?;
                group.remove()?;
            }
        }
        Ok(begun.elapsed())
    }
}

impl Drop for Stage {
    /// A run that breaks off leaves replicas behind.
    fn drop(&mut self) {
        for id in self.containerd.ctr(&["container", "list", "--quiet"]).unwrap_or_default().lines()
        {
            let _ = self.containerd.remove(id, &self.group);
        }
    }
}

impl Begun {
    /// When it was executed.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Waits until `ctr` has returned, and tells how long after its execution; a
    /// bare process must only be alive.
    pub(crate) fn returned(&mut self) -> Result<Option<Duration>> {
        if let Some(ctr) = &mut self.ctr {
            ctr.succeed(PATIENCE_WITH_COMPILER)?;
            return Ok(Some(self.at.elapsed()));
        }
        if let Some(process) = &mut self.replica.process {
            // One that fails does so at once; a later end shows as a missing answer.
            std::thread::sleep(Duration::from_millis(5));
            ensure!(process.ended()?.is_none(), "it ended: {}", process.output());
        }
        Ok(None)
    }
}

/// A duration in the unit of the results.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
