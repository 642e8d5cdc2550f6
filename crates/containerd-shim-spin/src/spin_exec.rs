//! What a Spin container answers to `exec`. It has no programs, so that only what
//! charts commonly ask of any container is answered, by the shim itself: `true`,
//! `false`, `exit N` and `sleep SECONDS`, also as `sh -c "…"`. Exec probes and the
//! usual `preStop` hooks then mean what their authors wanted.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use containerd_task::{Error, ExecProcess, ExecRequest, Exit, StdioHold};
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

const SIGKILL: u32 = 9;

/// A command that needs no program.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Exit(u32),
    Sleep(Duration),
}

/// A command that the shim carries out itself.
pub(crate) struct SpinExec {
    request: ExecRequest,
    answer: Answer,
    /// Of the container, whose end is that of all its processes.
    pid: u32,
    container: watch::Receiver<Option<Exit>>,
    /// A signal that has ended it.
    signal: watch::Sender<Option<u32>>,
    ends: Mutex<Option<Instant>>,
    streams: OnceLock<StdioHold>,
}

impl SpinExec {
    /// The answer to a command, or the sentence that says why there is none.
    pub(crate) fn prepare(
        container_id: &str,
        request: ExecRequest,
        pid: u32,
        container: watch::Receiver<Option<Exit>>,
    ) -> Result<Arc<dyn ExecProcess>, Error> {
        #[derive(Deserialize)]
        struct Process {
            #[serde(default)]
            args: Vec<String>,
        }
        let process: Process = serde_json::from_slice(&request.process).map_err(|error| {
            Error::InvalidArgument(format!("the process to execute cannot be read: {error}"))
        })?;
        let answer = answer(&process.args).ok_or_else(|| {
            Error::Unimplemented(format!(
                "executing {:?} is not implemented for container {container_id}: a Spin \
                 application has neither a shell nor other programs; use an httpGet probe, \
                 and for a shell beside it kubectl debug",
                process.args.join(" ")
            ))
        })?;
        Ok(Arc::new(Self {
            request,
            answer,
            pid,
            container,
            signal: watch::Sender::new(None),
            ends: Mutex::new(None),
            streams: OnceLock::new(),
        }))
    }
}

/// What a command comes to, if it needs no program.
fn answer(arguments: &[String]) -> Option<Answer> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (program, rest) = words.split_first()?;
    match (program.rsplit('/').next()?, rest) {
        ("true" | ":", _) | ("exit", []) => Some(Answer::Exit(0)),
        ("false", _) => Some(Answer::Exit(1)),
        ("exit", [code]) => code.parse::<u8>().ok().map(|code| Answer::Exit(code.into())),
        ("sleep", [time]) => seconds(time).map(Answer::Sleep),
        ("sh" | "ash" | "bash" | "dash", ["-c", command]) => simple_command(command),
        _ => None,
    }
}

/// A command line of plain words; a shell would not change them.
fn simple_command(command: &str) -> Option<Answer> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._: ".contains(letter);
    let words: Vec<String> = command.split_ascii_whitespace().map(str::to_owned).collect();
    let is_shell = words.first()?.ends_with("sh");
    (command.chars().all(plain) && !is_shell).then(|| answer(&words))?
}

/// A time as `sleep` takes it, at most a day.
fn seconds(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60.0),
        Some(number) if text.ends_with('h') => (number, 3600.0),
        Some(number) => (number, 1.0),
        None => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= Duration::from_hours(24))
}

#[async_trait]
impl ExecProcess for SpinExec {
    async fn start(&self) -> Result<u32, Error> {
        // It says nothing, but whoever reads its output waits for the end of that.
        let (_, hold) = self.request.stdio.open().await?;
        self.streams.get_or_init(|| hold).end_outputs();
        let time = match self.answer {
            Answer::Exit(_) => Duration::ZERO,
            Answer::Sleep(time) => time,
        };
        *self.ends.lock().await = Some(Instant::now() + time);
        Ok(self.pid)
    }

    async fn wait(&self) -> Exit {
        let ends = self.ends.lock().await.unwrap_or_else(Instant::now);
        let (mut container, mut signal) = (self.container.clone(), self.signal.subscribe());
        let status = tokio::select! {
            () = tokio::time::sleep_until(ends) => match self.answer {
                Answer::Exit(status) => status,
                Answer::Sleep(_) => 0,
            },
            _ = container.wait_for(Option::is_some) => 128 + SIGKILL,
            _ = signal.wait_for(Option::is_some) => 128 + self.signal.borrow().unwrap_or(SIGKILL),
        };
        Exit { status, at: SystemTime::now(), out_of_memory: false }
    }

    async fn kill(&self, signal: u32) -> Result<(), Error> {
        if signal != 0 {
            self.signal.send_replace(Some(signal));
        }
        Ok(())
    }

    fn close_stdin(&self) {}

    async fn delete(&self) {
        if let Some(streams) = self.streams.get() {
            streams.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use containerd_task::StdioPaths;

    use super::*;

    fn of(words: &[&str]) -> Option<Answer> {
        answer(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_probes_and_hooks_commonly_ask_is_answered() {
        assert_eq!(of(&["/bin/true"]), Some(Answer::Exit(0)));
        assert_eq!(of(&["true"]), Some(Answer::Exit(0)));
        assert_eq!(of(&["false"]), Some(Answer::Exit(1)));
        assert_eq!(of(&["sh", "-c", "exit 3"]), Some(Answer::Exit(3)));
        assert_eq!(of(&["sleep", "5"]), Some(Answer::Sleep(Duration::from_secs(5))));
        assert_eq!(
            of(&["/bin/sh", "-c", "sleep 0.5"]),
            Some(Answer::Sleep(Duration::from_millis(500)))
        );
        assert_eq!(of(&["sleep", "2m"]), Some(Answer::Sleep(Duration::from_mins(2))));
    }

    #[test]
    fn anything_else_is_not() {
        let commands: [&[&str]; 9] = [
            &[],
            &["sh"],
            &["sh", "-c", "sleep 1; rm -rf /"],
            &["sh", "-c", "sh -c true"],
            &["sh", "-c", "exit $X"],
            &["exit", "300"],
            &["sleep", "-1"],
            &["sleep", "25h"],
            &["cat", "/etc/passwd"],
        ];
        for command in commands {
            assert_eq!(of(command), None, "{command:?}");
        }
    }

    /// The end of the container that a process is in.
    type End = watch::Sender<Option<Exit>>;

    fn prepare(arguments: &[&str]) -> Result<(Arc<dyn ExecProcess>, End), Error> {
        let (container, exit) = watch::channel(None);
        let process = serde_json::json!({ "args": arguments }).to_string().into_bytes();
        let request = ExecRequest {
            id: "e".to_owned(),
            terminal: false,
            stdio: StdioPaths::default(),
            process,
        };
        Ok((SpinExec::prepare("c1", request, 7, exit)?, container))
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_use_instead() {
        let error = prepare(&["/bin/bash"]).err().unwrap();
        let Error::Unimplemented(text) = error else { panic!("{error:?}") };
        assert!(text.contains("kubectl debug") && text.contains("httpGet"), "{text}");
    }

    #[tokio::test]
    async fn an_answer_comes_at_once_and_a_sleep_ends_with_a_signal_or_the_container() {
        let (exec, _container) = prepare(&["sh", "-c", "exit 3"]).unwrap();
        assert_eq!(exec.start().await.unwrap(), 7);
        assert_eq!(exec.wait().await.status, 3);

        let (exec, _container) = prepare(&["sleep", "1h"]).unwrap();
        exec.start().await.unwrap();
        exec.kill(15).await.unwrap();
        assert_eq!(exec.wait().await.status, 143);

        let (exec, container) = prepare(&["sleep", "1h"]).unwrap();
        exec.start().await.unwrap();
        let exit = Exit { status: 0, at: SystemTime::now(), out_of_memory: false };
        container.send_replace(Some(exit));
        assert_eq!(exec.wait().await.status, 137);
    }
}
