//! What a person sees: results on standard output, everything else on standard
//! error, movement only on terminals.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use app::Digest;
use indicatif::{
    HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle,
};
use registry::Event;

use crate::environment::Environment;

/// Standard error, as far as it is for people.
#[derive(Debug)]
pub(crate) struct Console {
    quiet: bool,
    color: bool,
    bars: MultiProgress,
}

impl Console {
    pub(crate) fn new(quiet: bool, environment: &Environment) -> Self {
        let terminal = io::stderr().is_terminal();
        let bars = if terminal && !quiet {
            MultiProgress::new()
        } else {
            MultiProgress::with_draw_target(ProgressDrawTarget::hidden())
        };
        let color = io::stdout().is_terminal() && !environment.no_color;
        Self { quiet, color, bars }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Text for standard output that stands out on a terminal.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.color { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// One line on standard error, above whatever moves there.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.bars.suspend(|| to_stderr(text));
        }
    }

    /// Something that takes a while: a spinner on a terminal, and one line when
    /// it is done.
    pub(crate) fn step(&self, doing: impl Into<String>) -> Step<'_> {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {msg} {elapsed}"));
        bar.set_message(doing.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { console: self, bar, started: Instant::now() }
    }

    /// A transfer of blobs: one bar of bytes for all of them.
    pub(crate) fn transfer(&self, doing: impl Into<String>) -> Transfer<'_> {
        let bar = self.bars.add(ProgressBar::no_length());
        bar.set_style(style(
            "{spinner} {msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec}",
        ));
        let doing = doing.into();
        bar.set_message(doing.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        let positions = Mutex::default();
        Transfer { console: self, doing, bar, positions, started: Instant::now() }
    }
}

/// A template that indicatif cannot read falls back to its plain bar.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A step in progress; dropping it makes it disappear.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    console: &'a Console,
    bar: ProgressBar,
    started: Instant,
}

impl Step<'_> {
    /// Ends the step with a line that says what was done and how long it took.
    pub(crate) fn done(self, what: &str) {
        let took = duration(self.started.elapsed());
        self.bar.finish_and_clear();
        self.console.note(&format!("{what} in {took}"));
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A transfer in progress; dropping it makes it disappear.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    console: &'a Console,
    doing: String,
    bar: ProgressBar,
    positions: Mutex<BTreeMap<Digest, u64>>,
    started: Instant,
}

impl Transfer<'_> {
    /// Shows one event.
    pub(crate) fn observe(&self, event: Event<'_>) {
        match event {
            Event::Planned { bytes, .. } => self.bar.set_length(bytes),
            Event::Present { digest, size } => self.advance(digest, size),
            Event::Moved { digest, position, .. } => self.advance(digest, position),
            // The last failure is told in full if it comes to that.
            Event::Retrying { wait, .. } => {
                let again = format!("{}, again in {}", self.doing, duration(wait));
                self.bar.set_message(again);
            }
            Event::MirrorFailed { error } => {
                self.console.note(&format!("mirror left out: {}", process_setup::chain(error)));
            }
        }
    }

    fn advance(&self, digest: Digest, position: u64) {
        // A poisoned lock only means that another thread has panicked while
        // counting; the count itself is still one.
        let mut positions =
            self.positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        positions.insert(digest, position);
        self.bar.set_message(self.doing.clone());
        self.bar.set_position(positions.values().sum());
    }

    /// Ends the transfer with a line.
    pub(crate) fn done(self, what: &str, transferred: u64) {
        let took = duration(self.started.elapsed());
        self.bar.finish_and_clear();
        let what = if transferred == 0 {
            format!("{what}: nothing to transfer")
        } else {
            format!("{what}: {} in {took}", bytes(transferred))
        };
        self.console.note(&what);
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A size as people write it.
pub(crate) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// A duration as people write it.
pub(crate) fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else if time < Duration::from_mins(1) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        HumanDuration(time).to_string()
    }
}

/// Lines on standard output. A reader that has gone away, like `head`, is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { output.write_all(b"\n") })
        .and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The line that ends a command that failed.
pub(crate) fn error(text: &str) {
    to_stderr(&format!("Error: {text}"));
}

/// Nobody can be told when even standard error fails.
fn to_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A console that shows nothing.
    pub(crate) fn silent() -> Console {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        Console { quiet: true, color: false, bars }
    }

    #[test]
    fn durations_read_naturally() {
        assert_eq!(duration(Duration::from_millis(12)), "12 ms");
        assert_eq!(duration(Duration::from_millis(8230)), "8.2 s");
        assert_eq!(duration(Duration::from_mins(2)), "2 minutes");
    }

    #[test]
    fn a_transfer_counts_every_blob_and_may_go_back() {
        let console = silent();
        let transfer = console.transfer("pulling");
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        transfer.observe(Event::Planned { blobs: 2, bytes: 100 });
        transfer.observe(Event::Present { digest: one, size: 40 });
        transfer.observe(Event::Moved { digest: two, position: 50, size: 60 });
        assert_eq!(transfer.bar.position(), 90);
        transfer.observe(Event::Moved { digest: two, position: 10, size: 60 });
        assert_eq!(transfer.bar.position(), 50);
    }
}
