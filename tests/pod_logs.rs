//! The log files of containers in pods, as the kubelet and `kubectl logs` find them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use integration_tests::containerd::Version;
use integration_tests::cri::{Cri, RUNC, SPIN};
use integration_tests::http;
use integration_tests::linux_image::BUSYBOX;
use integration_tests::process::wait_until;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A line of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    stream: String,
    /// `F`, or `P` when the line goes on in the next entry of the stream.
    tag: String,
    content: Vec<u8>,
}

/// The log file of a container, by the names of its pod and of itself.
fn log_of(cri: &Cri, pod: &str, name: &str) -> PathBuf {
    cri.containerd().folder().join("logs").join(pod).join(format!("{name}.log"))
}

fn entries(log: &Path) -> Result<Vec<Entry>> {
    let bytes = fs::read(log)?;
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines
        .map(|line| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let shown = || format!("not a line of CRI: {}", String::from_utf8_lossy(line));
            let mut fields = line.splitn(4, |&byte| byte == b' ');
            let mut field = || fields.next().with_context(shown);
            let (time, stream, tag, content) = (field()?, field()?, field()?, field()?);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let entry = Entry { stream: text(stream), tag: text(tag), content: content.to_owned() };
            ensure!(time.contains(&b'T'), shown());
            ensure!(matches!(entry.stream.as_str(), "stdout" | "stderr"), shown());
            ensure!(matches!(entry.tag.as_str(), "F" | "P"), shown());
            Ok(entry)
        })
        .collect()
}

/// The whole lines of standard output, put together from their parts.
fn output(log: &Path) -> Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    for entry in entries(log)?.iter().filter(|entry| entry.stream == "stdout") {
        line.extend_from_slice(&entry.content);
        if entry.tag == "F" {
            lines.push(std::mem::take(&mut line));
        }
    }
    Ok(lines)
}

/// Waits until standard output has this line, and returns all of it.
fn output_until(log: &Path, last: &[u8]) -> Result<Vec<Vec<u8>>> {
    wait_until(Duration::from_secs(20), || {
        let lines = output(log)?;
        Ok(lines.iter().any(|line| line == last).then_some(lines))
    })
    .with_context(|| format!("{} is not in the log", String::from_utf8_lossy(last)))
}

fn write(address: SocketAddr, bytes: &[u8]) -> Result<()> {
    let response = http::request(address, "POST", "/b/write", &[], bytes)?;
    ensure!(response.text() == "written\n", "{}", response.text());
    Ok(())
}

#[test]
fn logs_are_whole_in_the_format_of_cri() -> Result<()> {
    for version in Version::ALL {
        let mut cri = Cri::start(version)?;
        let image = cri.app("behaviours")?;
        let pod = cri.pod("logs", SPIN, Value::Null)?;
        let app = pod.start("app", &image, json!({ "command": ["/"] }))?;
        let (address, id) = (pod.address(80)?, app.id().to_owned());
        let log = log_of(&cri, "logs", "app");
        http::get(address, "/b/log?lines=1000")?;
        // What was written before a trap is not lost with the instance.
        let _ = http::get(address, "/b/last-words");
        let text = output_until(&log, b"last words without a newline")?;
        let lines =
            |lines: &[Vec<u8>]| lines.iter().filter(|line| line.starts_with(b"line ")).count();
        assert_eq!(lines(&text), 1000, "{version:?}");
        let said = Entry {
            stream: "stderr".to_owned(),
            tag: "F".to_owned(),
            content: b"to standard error".to_vec(),
        };
        assert!(entries(&log)?.contains(&said));

        // The reader goes away, and another comes.
        drop(app);
        drop(pod);
        cri.restart(Signal::KILL)?;
        http::get(address, "/b/log?lines=1000")?;
        wait_until(Duration::from_secs(10), || Ok((lines(&output(&log)?) == 2000).then_some(())))
            .context("lines are lost over a restart of containerd")?;
        cri.crictl(&["stop", &id])?;
    }
    Ok(())
}

#[test]
fn lines_of_any_length_and_bytes_of_any_value_are_in_the_log() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        let image = cri.app("behaviours")?;
        let pod = cri.pod("bytes", SPIN, Value::Null)?;
        pod.start("app", &image, json!({ "command": ["/"] }))?;
        let address = pod.address(80)?;
        // CRI breaks lines at 16 KiB; the runtime, which keeps those of many instances
        // apart, at 64 KiB.
        let long = |length: usize| [vec![b'x'; length], b"\n".to_vec()].concat();
        for written in
            [&long(40_000), &long(100_000), b"\0\xff\xfe\x01\n".as_slice(), b"\n", b"no end"]
        {
            write(address, written)?;
        }
        let file = log_of(&cri, "bytes", "app");
        let lines = output_until(&file, b"no end")?;
        let expected = [
            vec![b'x'; 40_000],
            vec![b'x'; 65_536],
            vec![b'x'; 100_000 - 65_536],
            b"\0\xff\xfe\x01".to_vec(),
            Vec::new(),
            b"no end".to_vec(),
        ];
        let shown = |lines: &[Vec<u8>]| lines.iter().map(Vec::len).collect::<Vec<_>>();
        // Behind what the runtime says of its routes.
        ensure!(lines.ends_with(&expected), "{version:?}: {:?}", shown(&lines));
        ensure!(entries(&file)?.iter().any(|entry| entry.tag == "P"), "no line is in parts");
        pod.remove()?;
    }
    Ok(())
}

#[test]
fn a_linux_container_has_the_log_that_it_has_under_runc() -> Result<()> {
    for version in Version::ALL {
        let cri = Cri::start(version)?;
        cri.pull(BUSYBOX)?;
        let script = "head -c 40000 /dev/zero | tr '\\000' x; printf '\\na\\000\\377\\n\\n'; \
                      printf 'no end'";
        let mut logs = Vec::new();
        for handler in [RUNC, SPIN] {
            let pod = cri.pod(handler, handler, Value::Null)?;
            let container =
                pod.start("writes", BUSYBOX, json!({ "command": ["sh", "-c", script] }))?;
            assert_eq!(container.ended()?.code, 0);
            let log = log_of(&cri, handler, "writes");
            let last = |entry: &Entry| entry.content == b"no end";
            let whole = wait_until(Duration::from_secs(20), || {
                Ok(Some(entries(&log)?).filter(|entries| entries.iter().any(last)))
            });
            logs.push(whole.with_context(|| format!("{handler}: the end is missing"))?);
            pod.remove()?;
        }
        ensure!(logs.first() == logs.last(), "{version:?}");
        ensure!(logs.first().is_some_and(|log| log.len() > 4), "{version:?}: hardly a line");
    }
    Ok(())
}

/// A line with its number.
fn numbered(number: usize) -> String {
    format!("this is line number {number}")
}

/// The numbers of the lines of a log; a line that containerd was killed in the middle
/// of has none.
fn numbers(log: &Path) -> Result<Vec<usize>> {
    let lines = output(log)?;
    let number = |line: &Vec<u8>| {
        let line = std::str::from_utf8(line).ok()?;
        line.strip_prefix("this is line number ")?.parse().ok()
    };
    Ok(lines.iter().filter_map(number).collect())
}

/// Checks that each line is there once and in order, but for what containerd had read
/// and not written when it was ended: its buffer of 4 KiB, and a line on each side.
fn nothing_is_lost_but_by_containerd(numbers: &[usize], what: &str) -> Result<()> {
    let most = 4096 / numbered(0).len() + 2;
    let mut last = None;
    for &number in numbers {
        let missing = number.checked_sub(last.map_or(0, |last: usize| last + 1));
        let missing = missing.with_context(|| format!("{what}: {number} after {last:?}"))?;
        ensure!(missing <= most, "{what}: {missing} lines are missing before {number}");
        last = Some(number);
    }
    Ok(())
}

#[test]
fn lines_written_during_a_restart_of_containerd_are_in_the_log() -> Result<()> {
    for version in Version::ALL {
        for signal in [Signal::TERM, Signal::KILL] {
            let mut cri = Cri::start(version)?;
            let image = cri.app("behaviours")?;
            cri.pull(BUSYBOX)?;
            let pod = cri.pod("restart", SPIN, Value::Null)?;
            let script = "n=0; while [ ! -e /end ]; do echo this is line number $n; n=$((n+1)); \
                          sleep 0.01; done; echo the end; exec sleep 1000";
            let linux = pod.start("linux", BUSYBOX, json!({ "command": ["sh", "-c", script] }))?;
            let app = pod.start("app", &image, json!({ "command": ["/"] }))?;
            let (address, pid) = (pod.address(80)?, linux.pid()?);
            drop((linux, app, pod));

            let done = AtomicBool::new(false);
            let written = thread::scope(|scope| {
                let writer = scope.spawn(|| -> Result<usize> {
                    let mut number = 0;
                    while !done.load(Ordering::Relaxed) {
                        write(address, format!("{}\n", numbered(number)).as_bytes())?;
                        number += 1;
                    }
                    Ok(number)
                });
                thread::sleep(Duration::from_millis(300));
                let restarted = cri.restart(signal);
                thread::sleep(Duration::from_millis(500));
                done.store(true, Ordering::Relaxed);
                let written = writer.join().map_err(|_| anyhow::anyhow!("the writer panics"))?;
                restarted.and(written)
            })?;
            write(address, b"the end\n")?;
            fs::write(format!("/proc/{pid}/root/end"), "")?;
            for name in ["app", "linux"] {
                let what = format!("{version:?}, {signal:?}, {name}");
                let log = log_of(&cri, "restart", name);
                output_until(&log, b"the end").with_context(|| what.clone())?;
                let numbers = numbers(&log)?;
                nothing_is_lost_but_by_containerd(&numbers, &what)?;
                let enough = if name == "app" { written.saturating_sub(200) } else { 50 };
                ensure!(numbers.len() >= enough, "{what}: {} lines", numbers.len());
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_written_while_containerd_is_away_is_in_the_log_when_it_is_back() -> Result<()> {
    // More than a pipe holds, less than waits in the runtime.
    const LINES: usize = 20_000;
    for version in Version::ALL {
        let mut cri = Cri::start(version)?;
        let image = cri.app("behaviours")?;
        let pod = cri.pod("away", SPIN, Value::Null)?;
        pod.start("app", &image, json!({ "command": ["/"] }))?;
        let address = pod.address(80)?;
        drop(pod);
        cri.away(Signal::TERM, || {
            for first in (0..LINES).step_by(1000) {
                let lines: String =
                    (first..first + 1000).map(|number| numbered(number) + "\n").collect();
                write(address, lines.as_bytes())?;
            }
            Ok(())
        })?;
        let log = log_of(&cri, "away", "app");
        output_until(&log, numbered(LINES - 1).as_bytes())?;
        let expected: Vec<usize> = (0..LINES).collect();
        ensure!(numbers(&log)? == expected, "{version:?}: {} lines", numbers(&log)?.len());
    }
    Ok(())
}
