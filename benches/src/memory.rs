//! Memory of processes, as the kernel accounts for it.

use std::path::PathBuf;

/// Sums over processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) processes: usize,
    pub(crate) threads: usize,
    /// Proportional: a page of N processes counts 1/N for each.
    pub(crate) pss: u64,
    /// What would be free without them.
    pub(crate) private: u64,
    /// Context switches since their start.
    pub(crate) switches: u64,
}

/// Adds up what these processes use; one that has ended uses nothing.
pub(crate) fn of_processes(pids: impl IntoIterator<Item = i32>) -> Usage {
    let mut sum = Usage::default();
    for pid in pids {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let Ok(rollup) = fs_err::read_to_string(proc.join("smaps_rollup")) else { continue };
        sum.processes += 1;
        sum.pss += kibibytes(&rollup, "Pss:");
        sum.private += kibibytes(&rollup, "Private_Clean:") + kibibytes(&rollup, "Private_Dirty:");
        for thread in fs_err::read_dir(proc.join("task")).into_iter().flatten().flatten() {
            sum.threads += 1;
            let status = fs_err::read_to_string(thread.path().join("status")).unwrap_or_default();
            sum.switches += number(&status, "voluntary_ctxt_switches:");
            sum.switches += number(&status, "nonvoluntary_ctxt_switches:");
        }
    }
    sum
}

fn kibibytes(text: &str, name: &str) -> u64 {
    number(text, name) * 1024
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something_and_one_that_is_not_there_nothing() {
        let own = of_processes([i32::try_from(std::process::id()).unwrap()]);
        assert_eq!(own.processes, 1);
        assert!(own.pss >= own.private && own.private > 0 && own.threads > 0);
        assert_eq!(of_processes([i32::MAX]), Usage::default());
    }
}
