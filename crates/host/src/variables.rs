//! Values of application variables, and what a component sees of them.
//!
//! A value comes from the environment that configures the app (the container's,
//! or the command line's), otherwise from the variable's default. In that
//! environment the variable `name` is called, first match wins:
//!
//! 1. `NAME`, its upper-case name, which is how a container sets declared
//!    variables;
//! 2. `SPIN_VARIABLE_NAME`.
//!
//! The environment is fixed when an app starts, so values are resolved once.

use std::collections::BTreeMap;
use std::fmt;

use app::template::TemplateError;
use app::{LockedApp, LockedComponent, Template};

/// Prefix of the environment variables that carry values.
const PREFIX: &str = "SPIN_VARIABLE_";

/// The values of all variables of an app.
///
/// Its `Debug` form shows names only: values may be secret.
#[derive(Clone, Default)]
pub struct Variables {
    values: BTreeMap<String, String>,
}

/// The variables one component may read: its own names.
#[derive(Clone, Default)]
pub struct ComponentVariables {
    values: BTreeMap<String, String>,
}

/// Why variables could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// Required variables nobody gave a value.
    #[error(
        "no value for the required variable{} {}: set {}",
        if names.len() == 1 { "" } else { "s" },
        names.join(", "),
        names.iter().map(|name| format!("{PREFIX}{}", name.to_ascii_uppercase())).collect::<Vec<_>>().join(", ")
    )]
    Required {
        /// Their names.
        names: Vec<String>,
    },
    /// A template names a variable that the app does not declare.
    #[error("{place} uses the variable {name:?}, which the app does not declare")]
    Unknown {
        /// Where the template stands.
        place: String,
        /// The name.
        name: String,
    },
    /// A template cannot be parsed.
    #[error("{place} is not a valid template")]
    Template {
        /// Where the template stands.
        place: String,
        /// What is wrong with it.
        #[source]
        source: TemplateError,
    },
}

impl Variables {
    /// Resolves every variable of `app` from `environment` and the defaults.
    ///
    /// # Errors
    ///
    /// [`VariableError::Required`] with the names of all variables without a value.
    pub fn resolve(
        app: &LockedApp,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, VariableError> {
        let mut values = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, variable) in &app.variables {
            let upper = name.to_ascii_uppercase();
            let value = environment
                .get(&upper)
                .or_else(|| environment.get(&format!("{PREFIX}{upper}")))
                .or(variable.default.as_ref());
            match value {
                Some(value) => {
                    values.insert(name.clone(), value.clone());
                }
                None => missing.push(name.clone()),
            }
        }
        if missing.is_empty() {
            Ok(Self { values })
        } else {
            Err(VariableError::Required { names: missing })
        }
    }

    /// `text` with its variables replaced; `place` says in errors where it stands.
    ///
    /// # Errors
    ///
    /// [`VariableError::Template`] or [`VariableError::Unknown`].
    pub fn expand(&self, text: &str, place: &str) -> Result<String, VariableError> {
        Template::parse(text)
            .map_err(|source| VariableError::Template { place: place.to_owned(), source })?
            .resolve(|name| {
                self.values.get(name).ok_or_else(|| VariableError::Unknown {
                    place: place.to_owned(),
                    name: name.to_owned(),
                })
            })
    }

    /// What `component` may read.
    ///
    /// # Errors
    ///
    /// Every one of its templates that cannot be resolved.
    pub fn of_component(
        &self,
        component: &LockedComponent,
    ) -> Result<ComponentVariables, Vec<VariableError>> {
        let mut values = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, template) in &component.config {
            let place = format!("variable {name:?} of component {:?}", component.id);
            match self.expand(template, &place) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(ComponentVariables { values }) } else { Err(errors) }
    }
}

impl ComponentVariables {
    /// The value of `name`, if the component has such a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl fmt::Debug for ComponentVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use app::Variable;

    use super::*;

    fn app() -> LockedApp {
        let variable = |default: Option<&str>| Variable {
            default: default.map(str::to_owned),
            ..Variable::default()
        };
        LockedApp {
            variables: [
                ("api_url".to_owned(), variable(Some("http://default.test"))),
                ("password".to_owned(), variable(None)),
                ("token".to_owned(), variable(None)),
            ]
            .into(),
            ..LockedApp::default()
        }
    }

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_bare_name_wins_over_the_prefixed_one_and_over_the_default() {
        let variables = Variables::resolve(
            &app(),
            &environment(&[
                ("SPIN_VARIABLE_PASSWORD", "prefixed"),
                ("PASSWORD", "bare"),
                ("SPIN_VARIABLE_TOKEN", "t"),
            ]),
        )
        .unwrap();
        let text = variables.expand("{{api_url}}?{{ password }}&{{token}}", "here").unwrap();
        assert_eq!(text, "http://default.test?bare&t");
    }

    #[test]
    fn all_required_variables_without_a_value_are_named() {
        let error = Variables::resolve(&app(), &environment(&[])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("password, token"), "{text}");
        assert!(text.contains("SPIN_VARIABLE_PASSWORD"), "{text}");
    }

    #[test]
    fn a_component_reads_its_own_names_only() {
        let variables =
            Variables::resolve(&app(), &environment(&[("TOKEN", "t"), ("PASSWORD", "p")])).unwrap();
        let component = LockedComponent {
            config: [("key".to_owned(), "<{{ token }}>".to_owned())].into(),
            ..LockedComponent::default()
        };
        let own = variables.of_component(&component).unwrap();
        assert_eq!(own.get("key"), Some("<t>"));
        assert_eq!(own.get("token"), None);
        assert!(!format!("{own:?} {variables:?}").contains("<t>"));
    }

    #[test]
    fn every_template_that_cannot_be_resolved_is_reported() {
        let variables =
            Variables::resolve(&app(), &environment(&[("TOKEN", "t"), ("PASSWORD", "p")])).unwrap();
        let component = LockedComponent {
            id: "c".to_owned(),
            config: [
                ("a".to_owned(), "{{ nobody }}".to_owned()),
                ("b".to_owned(), "{{ open".to_owned()),
            ]
            .into(),
            ..LockedComponent::default()
        };
        assert_eq!(variables.of_component(&component).unwrap_err().len(), 2);
    }
}
