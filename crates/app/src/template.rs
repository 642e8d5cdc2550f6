//! Strings with `{{ variable }}` in them, and the grammar of variable names.

/// A parsed template: literal text and names of application variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// One piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Literal(String),
    /// The name of an application variable.
    Variable(String),
}

/// A template that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("template {template:?} has a `{{{{` without `}}}}`")]
    Unclosed {
        /// The template.
        template: String,
    },
    /// What stands between the braces is no variable name.
    #[error("template {template:?}: {reason}")]
    Name {
        /// The template.
        template: String,
        /// What is wrong with the name.
        reason: VariableNameError,
    },
}

/// A text that is not a variable name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not a variable name: use lower-case letters, digits and single `_` between them, \
     starting with a letter"
)]
pub struct VariableNameError {
    name: String,
}

/// Checks that `name` is a variable name: lower-case ASCII letters, digits and
/// `_`, starting with a letter, without a trailing or doubled `_`.
///
/// # Errors
///
/// When it is not.
pub fn check_variable_name(name: &str) -> Result<(), VariableNameError> {
    let letters =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if letters && starts && !name.ends_with('_') && !name.contains("__") {
        Ok(())
    } else {
        Err(VariableNameError { name: name.chars().take(100).collect() })
    }
}

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] for an unclosed `{{` or a malformed name.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let (name, after) = after
                .split_once("}}")
                .ok_or_else(|| TemplateError::Unclosed { template: text.to_owned() })?;
            let name = name.trim();
            check_variable_name(name)
                .map_err(|reason| TemplateError::Name { template: text.to_owned(), reason })?;
            parts.push(Part::Variable(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The variables it names, in order, with repetitions.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// Whether it names no variable.
    pub fn is_literal(&self) -> bool {
        self.variables().next().is_none()
    }

    /// The text with every variable replaced by what `lookup` says.
    ///
    /// # Errors
    ///
    /// The first error of `lookup`.
    pub fn resolve<V: AsRef<str>, E>(
        &self,
        mut lookup: impl FnMut(&str) -> Result<V, E>,
    ) -> Result<String, E> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => text.push_str(lookup(name)?.as_ref()),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> String {
        Template::parse(text)
            .unwrap()
            .resolve(|name| Ok::<_, std::convert::Infallible>(format!("<{name}>")))
            .unwrap()
    }

    #[test]
    fn variables_are_replaced_and_spaces_trimmed() {
        assert_eq!(resolve("a {{ b }}{{c}} }} d"), "a <b><c> }} d");
        assert_eq!(resolve(""), "");
        assert_eq!(resolve("{ {x} }"), "{ {x} }");
    }

    #[test]
    fn an_unclosed_brace_is_an_error() {
        let error = Template::parse("a {{ b").unwrap_err();
        assert_eq!(error.to_string(), "template \"a {{ b\" has a `{{` without `}}`");
    }

    #[test]
    fn names_follow_the_grammar() {
        for name in ["a", "a1", "a_1", "ab_cd_ef"] {
            assert!(check_variable_name(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "_a", "a_", "a__b", "A", "a-b", "a b", "ä"] {
            assert!(check_variable_name(name).is_err(), "{name}");
        }
        assert!(Template::parse("{{ }}").is_err());
        assert!(Template::parse("{{ A }}").is_err());
        assert!(Template::parse("{{ a {{ b }} }}").is_err());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics_and_literals_come_back(text in "\\PC*") {
            if let Ok(template) = Template::parse(&text)
                && template.is_literal()
            {
                let back = template.resolve(|_| Err::<&str, _>(())).unwrap();
                proptest::prop_assert_eq!(back, text);
            }
        }
    }
}
