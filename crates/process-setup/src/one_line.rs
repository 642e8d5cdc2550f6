//! One line per event, whatever is in it.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A format whose line breaks within an event are written as `\n`: a stack of a
/// guest stays one line, and no text of a guest looks like a line of its own.
pub(crate) struct OneLine<F>(pub(crate) F);

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        write_line(&mut writer, &text)
    }
}

fn write_line(writer: &mut impl fmt::Write, text: &str) -> fmt::Result {
    let mut separator = "";
    for line in text.trim_end_matches('\n').split('\n') {
        writer.write_str(separator)?;
        writer.write_str(line.trim_end_matches('\r'))?;
        separator = "\\n";
    }
    writer.write_str("\n")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn line_breaks_within_an_event_are_escaped() {
        for (text, expected) in [
            ("a line\n", "a line\n"),
            ("", "\n"),
            ("a stack:\n  0: f\r\n  1: g\n", "a stack:\\n  0: f\\n  1: g\n"),
        ] {
            let mut line = String::new();
            write_line(&mut line, text).unwrap();
            assert_eq!(line, expected);
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_guest_says_does_not_look_like_a_line_of_its_own() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .map_event_format(OneLine);
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let said = "failed\n2026-01-01T00:00:00Z ERROR runtime: forged";
            tracing::error!(component = "c", "the guest answered: {said}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(text.contains("failed\\n2026") && text.contains("component=\"c\""), "{text}");
    }
}
