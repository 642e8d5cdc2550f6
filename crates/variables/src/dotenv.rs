//! Files of lines `NAME=value`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A file of lines `NAME=value` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DotenvError {
    /// It cannot be read; the reason names it.
    #[error("cannot read variables")]
    Read(#[source] io::Error),
    /// A line is not understood. Its text is not repeated: it may be secret.
    #[error("line {line} of {} is not of the form NAME=value", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}

/// The names and values in the file at `path`.
///
/// # Errors
///
/// The file cannot be read, or a line is not of the form `NAME=value`.
pub fn read_dotenv(path: &Path) -> Result<BTreeMap<String, String>, DotenvError> {
    let text = fs_err::read_to_string(path).map_err(DotenvError::Read)?;
    let mut values = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = entry(line)
            .ok_or_else(|| DotenvError::Line { path: path.to_owned(), line: index + 1 })?;
        values.insert(name, value);
    }
    Ok(values)
}

/// `NAME=value`, `export NAME=value`; the value plain, in `'` as it stands, or in
/// `"` with `\n`, `\"` and `\\`. After a space, `#` begins a comment.
fn entry(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(valid) {
        return None;
    }
    Some((name.to_owned(), value_of(value.trim())?))
}

fn value_of(text: &str) -> Option<String> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let (value, rest) = quoted.split_once('\'')?;
        return is_comment(rest).then(|| value.to_owned());
    }
    let Some(quoted) = text.strip_prefix('"') else {
        let plain = text.split_once(" #").map_or(text, |(value, _)| value);
        return Some(plain.trim_end().to_owned());
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return is_comment(letters.as_str()).then_some(value),
            '\\' => value.push(match letters.next()? {
                'n' => '\n',
                other => other,
            }),
            letter => value.push(letter),
        }
    }
}

fn is_comment(rest: &str) -> bool {
    let rest = rest.trim();
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BTreeMap<String, String>, DotenvError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        fs_err::write(&path, text).unwrap();
        read_dotenv(&path)
    }

    #[test]
    fn every_form_of_a_value_is_read() {
        let values = parse(
            "# comment\n\nA=plain value # comment\nexport B='as $it stands' # c\n\
             C=\"two\\nlines \\\"quoted\\\"\"\nD=\n E = e=f \n",
        )
        .unwrap();
        let expected = [
            ("A", "plain value"),
            ("B", "as $it stands"),
            ("C", "two\nlines \"quoted\""),
            ("D", ""),
            ("E", "e=f"),
        ];
        let found: Vec<_> = values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_line_that_is_not_understood_is_numbered_and_not_repeated() {
        for line in ["hunter2", "A B=hunter2", "A='hunter2", "A=\"hunter2\" x"] {
            let error = parse(&format!("A=1\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 2 of ") && !error.contains("hunter2"), "{error}");
        }
    }
}
