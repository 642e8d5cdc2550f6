//! Reading TOML into the types of a manifest, with everything that is wrong.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use super::Place;
use crate::Problems;

/// Reads TOML. What is wrong is noted with its line and left out, so that the rest can
/// be read.
///
/// None if anything but fields that nobody knows is wrong: what is left then says less
/// than its author wrote.
pub(super) fn read<T: DeserializeOwned>(text: &str, problems: &mut Problems) -> Option<T> {
    read_telling(text, problems, |place, message| match place {
        Some(place) => format!("{place}: {message}"),
        None => message,
    })
}

/// The same for a table of which no line is known any more; `what` names it.
pub(super) fn read_table<T: DeserializeOwned>(
    what: &str,
    table: &toml::Table,
    problems: &mut Problems,
) -> Option<T> {
    read_telling(&table.to_string(), problems, |place, message| match place {
        // The others name the field themselves.
        Some(Place { about, .. }) if message.starts_with("invalid") => {
            format!("{what}: `{about}`: {message}")
        }
        _ => format!("{what}: {message}"),
    })
}

fn read_telling<T: DeserializeOwned>(
    text: &str,
    problems: &mut Problems,
    tell: impl Fn(Option<Place>, String) -> String,
) -> Option<T> {
    let told = |error: &Error| {
        let message = error.message().trim().replace('\n', ", ");
        tell(error.span().and_then(|span| Place::of(text, span.start)), message)
    };
    let (mut root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        problems.extend(errors.iter().map(told));
        return None;
    }
    let mut left_out = BTreeSet::new();
    loop {
        let error = match T::deserialize(Deserializer::from(root.clone())) {
            Ok(value) => return left_out.is_empty().then_some(value),
            Err(error) => error,
        };
        let lacks = error.message().strip_prefix("missing field `");
        let lacks = lacks.and_then(|rest| rest.split('`').next());
        // What was left out is missing now, and its author knows why already.
        if lacks.is_none_or(|name| !left_out.contains(name)) {
            problems.push(told(&error));
        }
        let name = error.span().and_then(|span| leave_out(root.get_mut(), &span))?;
        if !error.message().starts_with("unknown field") {
            left_out.insert(name);
        }
    }
}

/// Removes what is at `span`: a key, its value, or the key of an array with the value;
/// tells the name of the key.
fn leave_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let found = table
        .iter()
        .find(|(key, value)| key.span() == *span || value.span() == *span)
        .map(|(key, _)| key.get_ref().to_string());
    if let Some(name) = found {
        table.remove(name.as_str());
        return Some(name);
    }
    for (key, value) in table.iter_mut() {
        let name = match value.get_mut() {
            DeValue::Table(inner) => leave_out(inner, span),
            DeValue::Array(items) => leave_out_of(items, key.get_ref(), span),
            _ => None,
        };
        if name.is_some() {
            return name;
        }
    }
    None
}

/// The same in the array of `key`.
fn leave_out_of(items: &mut DeArray<'_>, key: &str, span: &Range<usize>) -> Option<String> {
    if items.iter().any(|item| item.span() == *span) {
        let kept: Vec<Spanned<DeValue<'_>>> =
            items.iter().filter(|item| item.span() != *span).cloned().collect();
        *items = kept.into_iter().collect();
        return Some(key.to_owned());
    }
    items.iter_mut().find_map(|item| match item.get_mut() {
        DeValue::Table(inner) => leave_out(inner, span),
        DeValue::Array(inner) => leave_out_of(inner, key, span),
        _ => None,
    })
}
