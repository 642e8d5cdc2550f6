//! One line for an error and all its causes.

use std::error::Error;

/// The text of `error` and of its sources, outermost first, as one line:
/// `cannot load app: blob sha256:… is missing: no such file`.
///
/// A source whose text its parent already ends with is not repeated, and line
/// breaks inside a text become single spaces.
pub fn chain(error: &dyn Error) -> String {
    let mut line = one_line(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let text = one_line(&cause.to_string());
        if !text.is_empty() && !ends_with_text(&line, &text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

fn ends_with_text(line: &str, text: &str) -> bool {
    line.strip_suffix(text).is_some_and(|before| {
        before.is_empty() || before.ends_with(|last: char| !last.is_alphanumeric())
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        cause: Option<Box<dyn Error + 'static>>,
    }

    fn layer(text: &'static str, cause: impl Error + 'static) -> Layer {
        Layer { text, cause: Some(Box::new(cause)) }
    }

    #[test]
    fn causes_are_joined_outermost_first() {
        let error = layer("a", layer("b", io::Error::other("c")));
        assert_eq!(chain(&error), "a: b: c");
    }

    #[test]
    fn a_cause_that_its_parent_already_ends_with_is_printed_once() {
        let error = layer("cannot load: gone", layer("gone", io::Error::other("gone")));
        assert_eq!(chain(&error), "cannot load: gone");
    }

    #[test]
    fn a_cause_that_only_looks_like_the_end_of_a_word_is_kept() {
        let error = layer("cannot read snapp", io::Error::other("app"));
        assert_eq!(chain(&error), "cannot read snapp: app");
    }

    #[test]
    fn a_text_of_several_lines_becomes_one() {
        let error = layer("first\n    second", io::Error::other("third\n"));
        assert_eq!(chain(&error), "first second: third");
    }
}
