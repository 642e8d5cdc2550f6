//! JSON values as YAML that is pleasant to read: block style, text quoted only
//! where it would mean something else.

use std::collections::BTreeMap;

use serde_json::Value;

/// Words that YAML takes for something other than text.
const WORDS: &[&str] = &["", "null", "~", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// One document, ending with a line break.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            // In the order of names, whatever keeps the map.
            for (name, value) in fields.iter().collect::<BTreeMap<_, _>>() {
                indent(depth, text);
                text.push_str(&scalar(name));
                text.push(':');
                nested(value, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                item_of(item, depth, text);
            }
        }
        other => {
            indent(depth, text);
            text.push_str(&inline(other));
            text.push('\n');
        }
    }
}

/// What follows a colon.
fn nested(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            block(value, depth + 1, text);
        }
        // Lists stand at the depth of their key.
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, depth, text);
        }
        other => {
            text.push(' ');
            text.push_str(&inline(other));
            text.push('\n');
        }
    }
}

fn item_of(item: &Value, depth: usize, text: &mut String) {
    let mut inner = String::new();
    block(item, depth + 1, &mut inner);
    indent(depth, text);
    text.push_str("- ");
    text.push_str(inner.trim_start());
}

fn indent(depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        // Empty collections, numbers, booleans and null look as in JSON.
        other => other.to_string(),
    }
}

fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { Value::from(text).to_string() }
}

fn is_plain(text: &str) -> bool {
    let begins = |letter: char| letter.is_ascii_alphabetic() || letter == '/' || letter == '$';
    let harmless = |letter: char| !letter.is_control() && !"{}[]&*!|>'\"%@`,#".contains(letter);
    text.chars().next().is_some_and(begins)
        && text.chars().all(harmless)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !WORDS.contains(&text.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_and_lists_are_blocks() {
        let value = json!({"a": {"b": [{"c": 1, "d": [true]}, "e"]}, "f": {}, "g": []});
        assert_eq!(
            document(&value),
            "a:\n  b:\n  - c: 1\n    d:\n    - true\n  - e\nf: {}\ng: []\n"
        );
    }

    #[test]
    fn text_that_means_something_else_is_quoted() {
        for text in ["true", "1", "", "- a", "a: b", "a #b", "*", "no", "{{ .Values.x }}", "1.5Gi"]
        {
            assert_eq!(scalar(text), Value::from(text).to_string(), "{text}");
        }
        for text in ["a", "core.spinkube.dev/v1alpha1", "/run/x", "a b", "x:80"] {
            assert_eq!(scalar(text), text);
        }
    }
}
