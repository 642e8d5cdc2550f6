//! What containers write, and what of it arrives, whoever reads when.
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on ends where it is")]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::{Containerd, RUNTIME, Version};
use integration_tests::http;
use integration_tests::leak_check::Traces;
use integration_tests::linux_image::push_busybox;
use integration_tests::on_every_containerd;
use integration_tests::process::{send_signal, wait_until};
use integration_tests::registry::Registry;
use integration_tests::spinlet::Spinlet;
use integration_tests::workspace::guest;
use rustix::process::Signal;

on_every_containerd!(
    a_removal_waits_for_no_reader,
    a_reader_that_comes_after_the_end_gets_everything,
    a_reader_that_goes_away_and_comes_back_misses_nothing,
    output_that_nobody_reads_is_bounded_and_what_is_dropped_is_counted,
    what_a_program_writes_arrives_byte_for_byte,
);

/// What a pipe holds.
const PIPE: usize = 64 * 1024;
/// What waits in the runtime for a reader, beside some room for the rest of it.
const MOST_MEMORY_KIB: u64 = 32 * 1024;
/// The time after its start during which a removal might wait for a reader.
const WAITING: Duration = Duration::from_secs(2);

/// An app and busybox, pulled by a containerd.
struct Pulled {
    containerd: Containerd,
    app: String,
    linux: String,
    _registry: Registry,
}

impl Pulled {
    fn new(version: Version, name: &str) -> Result<Self> {
        let containerd = Containerd::start(version)?;
        let registry = Registry::start()?;
        let app = registry.reference(name);
        Spinlet::new()?.run(&["push", &guest(name)?.display().to_string(), &app])?;
        let linux = push_busybox(&registry)?;
        containerd.pull(&app)?;
        containerd.pull(&linux)?;
        Ok(Self { containerd, app, linux, _registry: registry })
    }

    /// Starts a script in busybox; whoever has read its output is gone when this returns.
    fn script(&self, id: &str, script: &str) -> Result<()> {
        let fifos = self.containerd.folder().join("fifos").display().to_string();
        let run = ["run", "-d", "--fifo-dir", &fifos, "--runtime", RUNTIME];
        let program = [self.linux.as_str(), id, "sh", "-c", script];
        self.containerd.ctr(&[run.as_slice(), program.as_slice()].concat()).map(drop)
    }
}

/// Reads a fifo to its end, which must come.
fn read_to_end(containerd: &Containerd, id: &str, stream: &str) -> Result<Vec<u8>> {
    let fifo = containerd.fifo(id, stream)?;
    let reader = std::thread::spawn(move || fs::read(fifo));
    wait_until(Duration::from_secs(10), || Ok(reader.is_finished().then_some(())))
        .with_context(|| format!("{stream} of {id} has no end"))?;
    Ok(reader.join().map_err(|_| anyhow::anyhow!("the reader panics"))??)
}

fn a_removal_waits_for_no_reader(version: Version) -> Result<()> {
    let setup = Pulled::new(version, "behaviours")?;
    let containerd = &setup.containerd;
    let before = Traces::now(containerd)?;
    let app = || -> Result<()> {
        let address = containerd.run(&setup.app, "app", &[])?;
        ensure!(http::get(address, "/b/log?lines=3")?.status == 200, "it does not serve");
        Ok(())
    };
    let linux = || setup.script("linux", "echo out; echo err >&2; exec sleep 60");
    let starts: [(&str, &dyn Fn() -> Result<()>); 2] = [("app", &app), ("linux", &linux)];
    for (id, start) in starts {
        // The machine may be busy: one life of five must be shorter than the waiting.
        let mut shortest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            start()?;
            send_signal(containerd.task(id)?.context("no task")?.pid, Signal::KILL)?;
            containerd.wait_for_stop(id)?;
            assert_eq!(containerd.delete(id)?, 137);
            shortest = shortest.min(begun.elapsed());
        }
        assert!(shortest < WAITING, "{id}: {shortest:?} from its start to its removal");
    }
    before.nothing_new(containerd)
}

fn a_reader_that_comes_after_the_end_gets_everything(version: Version) -> Result<()> {
    let setup = Pulled::new(version, "behaviours")?;
    let containerd = &setup.containerd;
    let before = Traces::now(containerd)?;
    let lines = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        text.lines().filter(|line| line.starts_with("line ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let expected: Vec<String> = (0..1000).map(|number| format!("line {number}")).collect();

    let address = containerd.run(&setup.app, "app", &[])?;
    assert_eq!(http::get(address, "/b/log?lines=1000")?.status, 200);
    containerd.ctr(&["task", "kill", "-s", "SIGTERM", "app"])?;
    // It begins to write when it is told to, so that nobody has read before.
    setup.script(
        "linux",
        "trap 'for n in $(seq 0 999); do echo line $n; done; exit 0' TERM; \
         while :; do sleep 0.05; done",
    )?;
    containerd.ctr(&["task", "kill", "-s", "SIGTERM", "linux"])?;
    for id in ["app", "linux"] {
        containerd.wait_for_stop(id)?;
        // Long after its start as well.
        std::thread::sleep(WAITING);
        assert_eq!(lines(&read_to_end(containerd, id, "stdout")?), expected, "{id}");
        read_to_end(containerd, id, "stderr")?;
        assert_eq!(containerd.delete(id)?, 0, "{id}");
    }
    before.nothing_new(containerd)
}

fn a_reader_that_goes_away_and_comes_back_misses_nothing(version: Version) -> Result<()> {
    let setup = Pulled::new(version, "behaviours")?;
    let containerd = &setup.containerd;
    let address = containerd.run(&setup.app, "app", &[])?;
    setup.script(
        "linux",
        "trap 'for n in $(seq 0 999); do echo line $n; done' USR1; while :; do sleep 0.05; done",
    )?;
    let writes = |id: &str| -> Result<()> {
        if id == "linux" {
            return containerd.ctr(&["task", "kill", "-s", "SIGUSR1", id]).map(drop);
        }
        ensure!(http::get(address, "/b/log?lines=1000")?.status == 200, "it does not serve");
        Ok(())
    };
    for id in ["app", "linux"] {
        let fifo = containerd.fifo(id, "stdout")?;
        // The first reader goes away between two lines, the second sees what was
        // written while there was none.
        for round in 0..2 {
            writes(id)?;
            let mut reader = BufReader::with_capacity(1, fs::File::open(&fifo)?);
            for number in 0..1000 {
                let mut line = String::new();
                // What the runtime says of its routes may be before the first.
                while !line.starts_with("line ") {
                    line.clear();
                    ensure!(reader.read_line(&mut line)? > 0, "{id}, reader {round}: it ends");
                }
                assert_eq!(line, format!("line {number}\n"), "{id}, reader {round}");
            }
        }
        assert_eq!(containerd.stop(id, "SIGKILL")?, 137, "{id}");
    }
    Ok(())
}

fn output_that_nobody_reads_is_bounded_and_what_is_dropped_is_counted(
    version: Version,
) -> Result<()> {
    let setup = Pulled::new(version, "behaviours")?;
    let containerd = &setup.containerd;
    let address = containerd.run(&setup.app, "app", &[])?;
    let line = [vec![b'x'; 1023], vec![b'\n']].concat();
    let (piece, pieces) = (line.repeat(1024), 64);
    for _ in 0..pieces {
        let response = http::request(address, "POST", "/b/write", &[], &piece)?;
        assert_eq!(response.text(), "written\n");
    }
    let pid = containerd.task("app")?.context("no task")?.pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let anonymous =
        anonymous.and_then(|text| text.split_whitespace().next()).context("no RssAnon")?;
    let anonymous: u64 = anonymous.parse()?;
    assert!(anonymous < MOST_MEMORY_KIB, "{anonymous} KiB for {pieces} MiB that nobody read");

    // Whoever reads again gets what waited, then how much is missing, then what is new.
    let fifo = containerd.fifo("app", "stdout")?;
    let reader = std::thread::spawn(move || -> std::io::Result<(usize, usize)> {
        let (mut kept, mut dropped) = (0, 0);
        for line in BufReader::new(fs::File::open(fifo)?).lines() {
            let line = line?;
            if let Some((count, _)) = line.split_once(" bytes of output were dropped") {
                dropped += count.parse::<usize>().map_err(std::io::Error::other)?;
            } else if line == "the end" {
                break;
            } else if line.starts_with('x') {
                kept += line.len() + 1;
            }
        }
        Ok((kept, dropped))
    });
    let (end, mut ends) = (b"the end\n", 0);
    let end_is_seen = || {
        http::request(address, "POST", "/b/write", &[], end)?;
        ends += 1;
        Ok(reader.is_finished().then_some(()))
    };
    wait_until(Duration::from_secs(20), end_is_seen).context("the reader sees no end")?;
    let (kept, dropped) = reader.join().map_err(|_| anyhow::anyhow!("the reader panics"))??;
    // The first ends may have been dropped as well.
    let dropped_ends = (kept + dropped).checked_sub(pieces * piece.len());
    let dropped_ends = dropped_ends.with_context(|| format!("{kept} kept, {dropped} dropped"))?;
    let all_counted = dropped_ends % end.len() == 0 && dropped_ends / end.len() < ends;
    assert!(all_counted, "{kept} kept, {dropped} dropped, {ends} ends");
    assert!(kept > PIPE && dropped > pieces * piece.len() / 2, "{kept} kept, {dropped} dropped");
    assert_eq!(containerd.stop("app", "SIGTERM")?, 0);
    Ok(())
}

fn what_a_program_writes_arrives_byte_for_byte(version: Version) -> Result<()> {
    let setup = Pulled::new(version, "command")?;
    let containerd = &setup.containerd;
    // More than waits in the runtime, with NUL, what is no UTF-8, and no end of its last line.
    let count = 3 * 1024 * 1024;
    let of_app = [setup.app.as_str(), "app", "bytes", &count.to_string()].map(str::to_owned);
    let script =
        "n=0; while [ $n -lt 5000 ]; do printf 'line\\000\\377\\n'; n=$((n+1)); done; printf end";
    let of_linux = [setup.linux.as_str(), "linux", "sh", "-c", script].map(str::to_owned);
    let bytes: Vec<u8> = (0..count).map(|at: u32| at.to_le_bytes()[0]).collect();
    let lines = [b"line\0\xff\n".repeat(5000), b"end".to_vec()].concat();
    for (arguments, expected) in [(of_app.to_vec(), bytes), (of_linux.to_vec(), lines)] {
        let mut command = containerd.ctr_command(&["run", "--rm", "--runtime", RUNTIME]);
        let written = containerd.folder().join(format!("output-of-{}", arguments[1]));
        command.args(&arguments).stdin(Stdio::null()).stderr(Stdio::null());
        let mut ctr = command.stdout(fs::File::create(&written)?.into_parts().0).spawn()?;
        let ended = wait_until(Duration::from_mins(1), || Ok(ctr.try_wait()?));
        let status = ended.with_context(|| format!("{arguments:?} does not end"))?;
        ensure!(status.success(), "{arguments:?}: {status}");
        let written = fs::read(written)?;
        ensure!(
            written == expected,
            "{arguments:?}: {} bytes of {}",
            written.len(),
            expected.len()
        );
    }
    Ok(())
}
