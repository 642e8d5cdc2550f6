//! The text of a runtime configuration, byte for byte as the spin-operator writes
//! it: a checksum of it is in the pod template, so that any other byte would be a
//! roll-out of every app when one controller takes over from the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Keys and values, in the order of the keys.
pub(super) type Table = BTreeMap<String, String>;

/// Variables come from the container's environment.
const VARIABLES: &str = "[[config_provider]]\ntype = 'env'\nprefix = 'SPIN_VARIABLE_'\n";

/// The whole text.
pub(super) fn of(
    stores: &BTreeMap<String, Table>,
    databases: &BTreeMap<String, Table>,
    compute: Option<&Table>,
) -> String {
    let mut text = VARIABLES.to_owned();
    tables(&mut text, "key_value_store", stores);
    tables(&mut text, "sqlite_database", databases);
    if let Some(compute) = compute {
        table(&mut text, "\n[llm_compute]", compute);
    }
    text
}

/// A table of tables. A blank line stands before it and between those in it.
fn tables(text: &mut String, name: &str, tables: &BTreeMap<String, Table>) {
    if tables.is_empty() {
        return;
    }
    let _ = write!(text, "\n[{name}]");
    for (key, values) in tables {
        table(text, &format!("\n[{name}.{}]", quoted_key(key)), values);
    }
}

fn table(text: &mut String, head: &str, values: &Table) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{head}");
    for (key, value) in values {
        let _ = writeln!(text, "{} = {}", quoted_key(key), quoted(value));
    }
}

fn quoted_key(key: &str) -> String {
    let is_bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !key.is_empty() && key.chars().all(is_bare) { key.to_owned() } else { quoted(key) }
}

/// A literal string where the text can be one, else a basic string.
fn quoted(text: &str) -> String {
    let is_special = |letter: char| letter == '\'' || (letter.is_control() && letter != '\t');
    if !text.contains(is_special) {
        return format!("'{text}'");
    }
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '\\' => quoted.push_str(r"\\"),
            '"' => quoted.push_str("\\\""),
            '\u{8}' => quoted.push_str(r"\b"),
            '\t' => quoted.push_str(r"\t"),
            '\n' => quoted.push_str(r"\n"),
            '\u{c}' => quoted.push_str(r"\f"),
            '\r' => quoted.push_str(r"\r"),
            _ if letter.is_ascii_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, &str)]) -> Table {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// What version 0.4.0 of the spin-operator writes for the same tables.
    const WRITTEN: &str = "[[config_provider]]
type = 'env'
prefix = 'SPIN_VARIABLE_'

[key_value_store]
[key_value_store.'a.b']
type = 'spin'

[key_value_store.default]
'b c' = \"it's\"
bs = 'a\\b'
n = \"a\\nb\"
t = 'tab\there'
type = 'redis'
u = 'ü\"q\"'
url = 'redis://h:1'

[sqlite_database]
[sqlite_database.db]
type = 'libsql'
url = ''

[llm_compute]
type = 'remote_http'
";

    #[test]
    fn the_text_is_that_of_the_spin_operator() {
        let store = table(&[
            ("type", "redis"),
            ("url", "redis://h:1"),
            ("b c", "it's"),
            ("n", "a\nb"),
            ("t", "tab\there"),
            ("u", "ü\"q\""),
            ("bs", "a\\b"),
        ]);
        let stores =
            [("default".to_owned(), store), ("a.b".to_owned(), table(&[("type", "spin")]))];
        let databases = [("db".to_owned(), table(&[("type", "libsql"), ("url", "")]))];
        let compute = table(&[("type", "remote_http")]);
        assert_eq!(of(&stores.into(), &databases.into(), Some(&compute)), WRITTEN);
    }

    #[test]
    fn every_value_comes_back() {
        let odd: String = (1..0x100).filter_map(char::from_u32).collect();
        let text = of(&BTreeMap::new(), &BTreeMap::new(), Some(&table(&[("\n'", &odd)])));
        let read: toml::Table = text.parse().unwrap();
        assert_eq!(read["llm_compute"]["\n'"].as_str(), Some(odd.as_str()));
    }
}
