//! What the kernel counts during a start: figures that hold on a busy machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::find;

/// What is counted, by the names of `perf list`.
const EVENTS: [&str; 5] = [
    "instructions:u",
    "instructions:k",
    "raw_syscalls:sys_enter",
    "page-faults",
    "context-switches",
];

/// `perf stat` on a process and whatever it starts from now on.
#[derive(Debug)]
pub(crate) struct Counting {
    perf: Child,
    output: tempfile::NamedTempFile,
}

impl Counting {
    /// Begins to count for a process and its future children.
    pub(crate) fn begin(pid: i32, folder: &Path) -> Result<Self> {
        let perf = find("perf").context("perf is not installed: there are no counters")?;
        let output = tempfile::NamedTempFile::new_in(folder)?;
        let child = Command::new(perf)
            .args(["stat", "-x", ",", "-e", &EVENTS.join(","), "-p", &pid.to_string(), "-o"])
            .arg(output.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut counting = Self { perf: child, output };
        counting.wait_until_attached()?;
        Ok(counting)
    }

    /// It has opened its counters when it waits for them.
    fn wait_until_attached(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        let descriptors = format!("/proc/{}/fd", self.perf.id());
        loop {
            ensure!(self.perf.try_wait()?.is_none(), "perf cannot count on this machine");
            let links = fs_err::read_dir(&descriptors).into_iter().flatten().flatten();
            let counters = links
                .filter_map(|entry| fs_err::read_link(entry.path()).ok())
                .filter(|target| target.to_string_lossy().contains("perf_event"))
                .count();
            if counters > 0 {
                // One for each thread and event: the rest follows at once.
                std::thread::sleep(Duration::from_millis(50));
                return Ok(());
            }
            ensure!(Instant::now() < end, "perf does not begin to count");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends counting; what this machine cannot count is left out.
    pub(crate) fn end(mut self) -> Result<BTreeMap<String, u64>> {
        let pid = i32::try_from(self.perf.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("perf has no number")?, Signal::INT)?;
        self.perf.wait()?;
        Ok(parse(&fs_err::read_to_string(self.output.path())?))
    }
}

/// Lines of `value,unit,event,…`; a value that is not a number was not counted.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let mut fields = line.split(',');
        let value = fields.next()?.parse().ok()?;
        Some((fields.nth(1)?.to_owned(), value))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_absent() {
        let text = "# started on Mon\n\n<not supported>,,instructions:u,0,100.00,,\n\
                    1234,,page-faults,501,100.00,,\n";
        assert_eq!(parse(text), BTreeMap::from([("page-faults".to_owned(), 1234)]));
    }
}
