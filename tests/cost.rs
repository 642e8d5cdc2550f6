//! What a node pays for a Spin app, in figures that do not depend on how busy the
//! machine is: system calls, page faults, memory. Never in seconds.
//!
//! The bounds are those of the distributable programs with some room; the
//! development build has others.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::{Containerd, Version};
use integration_tests::http;
use integration_tests::process::{Seen, output_of};
use integration_tests::registry::Registry;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::{guest, programs, system_program};

const MIB: u64 = 1 << 20;

/// Whether the programs are those that are installed on nodes.
fn distributable() -> Result<bool> {
    Ok(programs()?.ends_with("dist-bin"))
}

/// A bound for the distributable programs, and one for the development build.
fn bound(dist: u64, dev: u64) -> Result<u64> {
    Ok(if distributable()? { dist } else { dev })
}

#[test]
fn describing_the_shim_takes_few_system_calls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let table = folder.path().join("calls");
    let mut command = Command::new(system_program("strace")?);
    command.args(["-f", "-c", "-o"]).arg(&table);
    command.arg(programs()?.join("containerd-shim-spin-v2")).arg("-info").stdin(Stdio::null());
    output_of(&mut command, Duration::from_secs(20))?;
    let text = fs::read_to_string(&table)?;
    let total = text.lines().rev().find(|line| line.ends_with(" total")).context("no total")?;
    // `% time, seconds, usecs/call, calls, errors`; the last is empty without errors.
    let calls: u64 = total.split_whitespace().nth(3).context("no calls")?.parse()?;
    let most = bound(60, 120)?;
    ensure!(calls > 0 && calls <= most, "{calls} system calls, {most} are allowed\n{text}");
    Ok(())
}

#[test]
fn describing_the_shim_touches_little_memory() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let told = folder.path().join("faults");
    let mut command = Command::new(system_program("time")?);
    command.args(["--format", "%R", "--output"]).arg(&told);
    command.arg(programs()?.join("containerd-shim-spin-v2")).arg("-info").stdin(Stdio::null());
    output_of(&mut command, Duration::from_secs(20))?;
    let faults: u64 = fs::read_to_string(&told)?.trim().parse()?;
    let most = bound(130, 900)?;
    ensure!(faults > 0 && faults <= most, "{faults} page faults, {most} are allowed");
    Ok(())
}

/// Two tasks of one app on one containerd, each after one request: what the second
/// has to itself is what a further replica costs.
#[test]
fn a_replica_keeps_little_memory_to_itself() -> Result<()> {
    let containerd = Containerd::start(Version::V2)?;
    let registry = Registry::start()?;
    let image = registry.reference("cost");
    Spinlet::new()?.run(&["push", &guest("hello-rust")?.display().to_string(), &image])?;
    containerd.pull(&image)?;
    for id in ["one", "two"] {
        let address = containerd.run(&image, id, &[])?;
        ensure!(http::get(address, "/")?.status == 200, "{id} does not serve");
    }
    let shims = containerd.processes("containerd-shim-spin-v2");
    let runtimes = containerd.processes("spinlet-runtime");
    ensure!((shims.len(), runtimes.len()) == (2, 2), "{shims:?} {runtimes:?}");
    let (shim, runtime) = (largest(&shims)?, largest(&runtimes)?);
    // One number for both would hide a shim that grows.
    let allowed = (bound(2 * MIB, 4 * MIB)?, bound(3 * MIB, 16 * MIB)?);
    ensure!(shim <= allowed.0, "a shim has {shim} bytes to itself, {} are allowed", allowed.0);
    ensure!(runtime <= allowed.1, "a runtime has {runtime} bytes, {} are allowed", allowed.1);
    for id in ["one", "two"] {
        containerd.stop(id, "SIGTERM")?;
    }
    Ok(())
}

fn largest(processes: &[Seen]) -> Result<u64> {
    let sizes = processes.iter().map(|process| private_memory(process.pid));
    Ok(sizes.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or_default())
}

/// What would be free without this process, in bytes.
fn private_memory(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))?;
    let kibibytes = |name: &str| -> Result<u64> {
        let line =
            rollup.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        Ok(line.split_whitespace().next().context("no number")?.parse()?)
    };
    Ok((kibibytes("Private_Clean:")? + kibibytes("Private_Dirty:")?) * 1024)
}
