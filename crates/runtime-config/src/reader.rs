//! Reads a table key by key and remembers everything that is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use app::Problems;
use toml::{Table, Value};
use url::Url;

use crate::{Folder, Secret};

/// A table of which each key is taken once; what nobody took is unknown.
///
/// No method fails: what is wrong goes to the problems, and the value counts as
/// absent.
pub(crate) struct Reader<'p> {
    /// Where the table stands, such as `[key_value_store.cache]`; empty for the
    /// whole document.
    place: String,
    table: Table,
    folder: &'p Path,
    problems: &'p mut Problems,
    known: Vec<String>,
}

impl<'p> Reader<'p> {
    pub(crate) fn new(
        place: String,
        table: Table,
        folder: &'p Path,
        problems: &'p mut Problems,
    ) -> Self {
        Self { place, table, folder, problems, known: Vec::new() }
    }

    /// Reports every key that was not taken.
    pub(crate) fn finish(self) {
        let known = self.known.join(", ");
        for key in self.table.keys() {
            let problem = format!("unknown key {key:?}; these are known: {known}");
            self.problems.push(placed(&self.place, &problem));
        }
    }

    pub(crate) fn refuse(&mut self, problem: &str) {
        self.problems.push(placed(&self.place, problem));
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.known.push(key.to_owned());
        self.table.remove(key)
    }

    /// The value of `key` as `read` sees it; `expected` completes the sentence
    /// "must be …".
    fn with<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let kind = value.type_str();
        let read = read(value);
        if read.is_none() {
            self.refuse(&format!("{key} must be {expected}, which the given {kind} is not"));
        }
        read
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        self.with(key, "a string", into_text)
    }

    fn filled(&mut self, key: &str) -> Option<String> {
        let read = |value| into_text(value).filter(|text| !text.is_empty());
        self.with(key, "a string that is not empty", read)
    }

    /// A string that must be there and not be empty.
    pub(crate) fn required_text(&mut self, key: &str) -> Option<String> {
        self.require(&[key], |reader| reader.filled(key))
    }

    /// Takes what `read` takes; reports that it is missing when none of `keys` is
    /// in the table.
    fn require<T>(
        &mut self,
        keys: &[&str],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if !keys.iter().any(|key| self.table.contains_key(*key)) {
            self.known.extend(keys.iter().map(|key| (*key).to_owned()));
            self.refuse(&format!("{} is missing", keys.join(" or ")));
            return None;
        }
        read(self)
    }

    pub(crate) fn switch(&mut self, key: &str) -> Option<bool> {
        self.with(key, "true or false", |value| match value {
            Value::Boolean(value) => Some(value),
            Value::String(text) => text.parse().ok(),
            _ => None,
        })
    }

    pub(crate) fn number(&mut self, key: &str) -> Option<u64> {
        self.with(key, "a whole number that is not negative", into_number)
    }

    pub(crate) fn positive(&mut self, key: &str) -> Option<u64> {
        let read = |value| into_number(value).filter(|number| *number > 0);
        self.with(key, "a whole number greater than zero", read)
    }

    pub(crate) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        self.with(key, "a list of strings", |value| match value {
            Value::Array(values) => values.into_iter().map(into_text).collect(),
            _ => None,
        })
    }

    /// A list of strings that must be there and not be empty.
    pub(crate) fn required_texts(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = self.require(&[key], |reader| reader.texts(key))?;
        if texts.is_empty() {
            self.refuse(&format!("{key} must not be empty"));
        }
        Some(texts)
    }

    /// Names and their values.
    pub(crate) fn text_map(&mut self, key: &str) -> Option<BTreeMap<String, String>> {
        self.with(key, "a table of strings", |value| match value {
            Value::Table(table) => {
                table.into_iter().map(|(name, value)| Some((name, into_text(value)?))).collect()
            }
            _ => None,
        })
    }

    pub(crate) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.filled(key)?;
        Some(self.folder.join(path))
    }

    /// A path that is left as it is written.
    pub(crate) fn plain_path(&mut self, key: &str) -> Option<PathBuf> {
        self.filled(key).map(PathBuf::from)
    }

    pub(crate) fn folder(&mut self, key: &str) -> Option<Folder> {
        let path = self.text(key)?;
        Some(if path.is_empty() { Folder::Nowhere } else { Folder::At(self.folder.join(path)) })
    }

    /// A URL with one of these schemes, and a host.
    pub(crate) fn required_url(&mut self, key: &str, schemes: &[&str]) -> Option<String> {
        let text = self.required_text(key)?;
        self.check_url(key, &text, schemes).then_some(text)
    }

    pub(crate) fn check_url(&mut self, key: &str, text: &str, schemes: &[&str]) -> bool {
        let good =
            Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host());
        if !good {
            let examples: Vec<String> =
                schemes.iter().map(|scheme| format!("{scheme}://")).collect();
            // Not the text: a URL may hold a password.
            self.refuse(&format!("{key} must be a URL that begins with {}", examples.join(" or ")));
        }
        good
    }

    /// The secret at `key`, or in the file that `key_file` names.
    pub(crate) fn secret(&mut self, key: &str) -> Option<Secret> {
        let file_key = format!("{key}_file");
        let (inline, file) = (self.filled(key), self.path(&file_key));
        match (inline, file) {
            (Some(_), Some(_)) => {
                self.refuse(&format!("{key} and {file_key} exclude each other"));
                None
            }
            (Some(text), None) => Some(Secret::Inline(text)),
            (None, file) => file.map(Secret::File),
        }
    }

    pub(crate) fn required_secret(&mut self, key: &str) -> Option<Secret> {
        let file = format!("{key}_file");
        self.require(&[key, &file], |reader| reader.secret(key))
    }

    /// The table at `key`, if there is one.
    pub(crate) fn table<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> Option<T> {
        let table = self.with(key, "a table", into_table)?;
        Some(self.inner(format!("[{key}]"), table, read))
    }

    /// The tables of the array at `key`.
    pub(crate) fn tables<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Reader<'_>) -> Option<T>,
    ) -> Vec<T> {
        let tables = self.with(key, "an array of tables", |value| match value {
            Value::Array(values) => values.into_iter().map(into_table).collect(),
            _ => None,
        });
        let tables: Vec<Table> = tables.unwrap_or_default();
        let each = tables.into_iter().enumerate();
        each.filter_map(|(index, table)| {
            self.inner(format!("[[{key}]] number {}", index + 1), table, &mut read)
        })
        .collect()
    }

    /// The tables in the table at `key`, by their names.
    pub(crate) fn labelled<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Reader<'_>) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let tables = self.with(key, "a table of tables", |value| {
            let named = into_table(value)?.into_iter();
            named.map(|(label, value)| Some((label, into_table(value)?))).collect()
        });
        let tables: Vec<(String, Table)> = tables.unwrap_or_default();
        tables
            .into_iter()
            .filter_map(|(label, table)| {
                let read = self.inner(format!("[{key}.{label}]"), table, &mut read)?;
                Some((label, read))
            })
            .collect()
    }

    fn inner<T>(
        &mut self,
        place: String,
        table: Table,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> T {
        let mut reader = Reader::new(place, table, self.folder, self.problems);
        let value = read(&mut reader);
        reader.finish();
        value
    }

    /// Takes every key: a `type` that is not known has none of its own.
    pub(crate) fn ignore_the_rest(&mut self) {
        self.table.clear();
    }

    /// The `type` of a table, to be matched; an unknown one is reported with
    /// those that exist.
    pub(crate) fn kind(&mut self, kinds: &[&str]) -> Option<String> {
        let kind = self.required_text("type");
        let known = kind.as_deref().is_some_and(|kind| kinds.contains(&kind));
        if known {
            return kind;
        }
        if let Some(kind) = kind {
            self.refuse(&format!("there is no type {kind:?}; these exist: {}", kinds.join(", ")));
        }
        self.ignore_the_rest();
        None
    }
}

fn placed(place: &str, problem: &str) -> String {
    if place.is_empty() { problem.to_owned() } else { format!("{place}: {problem}") }
}

fn into_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn into_table(value: Value) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

fn into_number(value: Value) -> Option<u64> {
    match value {
        Value::Integer(number) => number.try_into().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
