//! The grammar of ids.

/// Checks that `id` consists of words of letters and digits separated by single
/// `separator`s, each starting with a letter and written in one case.
pub(super) fn check(id: &str, separator: char) -> Result<(), String> {
    let style = if separator == '-' { "kebab-case" } else { "snake_case" };
    let word_is_fine = |word: &str| {
        let one_case = !word.bytes().any(|byte| byte.is_ascii_uppercase())
            || !word.bytes().any(|byte| byte.is_ascii_lowercase());
        word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && one_case
    };
    if id.split(separator).all(word_is_fine) {
        Ok(())
    } else {
        Err(format!(
            "{id:?} is not {style}: use words of letters and digits, each starting with a letter, \
             separated by single `{separator}`"
        ))
    }
}

/// Checks that `label` is kebab-case or snake_case.
pub(super) fn check_label(label: &str) -> Result<(), String> {
    check(label, '-').or_else(|error| check(label, '_').map_err(|_| error))
}

/// A kebab-case id made from any text.
pub(super) fn kebab_from(text: &str) -> String {
    let words = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(|word| word.trim_start_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>();
    if words.is_empty() { "component".to_owned() } else { words.join("-") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_their_grammar() {
        for id in ["a", "hello-world", "a1-b2", "HTTP-api"] {
            assert!(check(id, '-').is_ok(), "{id}");
        }
        for id in ["", "-a", "a-", "a--b", "1a", "a-1", "aB", "a_b", "a/b", "ä"] {
            assert!(check(id, '-').is_err(), "{id}");
        }
        assert!(check_label("snake_case").is_ok());
        assert!(check_label("b@d").is_err());
        assert!(check_label("mixed_up-label").is_err());
    }

    #[test]
    fn any_text_gives_an_id() {
        assert_eq!(kebab_from("Hello World_2go"), "hello-world-go");
        assert_eq!(kebab_from("123"), "component");
        for text in ["x.y", "ÄÖ", "", "a--b", "9lives"] {
            assert!(check(&kebab_from(text), '-').is_ok(), "{text}");
        }
    }
}
