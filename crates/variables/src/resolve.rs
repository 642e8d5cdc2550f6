//! All variables of an app.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use app::template::{Part, TemplateError};
use app::{LockedApp, LockedComponent, Template};

use crate::component::{ComponentVariables, Expression};
use crate::{PREFIX, Provider, ProviderError, RemoteProvider};

/// The variables of an app, each with its value or with those to be asked for it.
///
/// Its `Debug` form shows names only: values may be secret.
#[derive(Clone, Default)]
pub struct Variables {
    values: BTreeMap<String, Value>,
}

/// What is known of a variable when its app starts.
#[derive(Clone)]
pub(crate) enum Value {
    /// Nobody has one, and nobody is left to be asked.
    Missing,
    Fixed(Arc<str>),
    Asked {
        /// Asked in this order.
        providers: Vec<Arc<dyn RemoteProvider>>,
        /// What counts when none of them has a value.
        otherwise: Option<Arc<str>>,
    },
}

/// Why variables cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    /// Required variables nobody gave a value.
    #[error(
        "no value for the required variable{} {}: set {}",
        if names.len() == 1 { "" } else { "s" },
        names.join(", "),
        names.iter().map(|name| format!("{PREFIX}_{}", name.to_ascii_uppercase())).collect::<Vec<_>>().join(", ")
    )]
    Required {
        /// Their names.
        names: Vec<String>,
    },
    /// No provider that was asked has a value.
    #[error("no provider has a value for the variable {name:?}")]
    NoValue {
        /// Its name.
        name: String,
    },
    /// A provider failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
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
    /// Resolves every variable of `app` from `providers`, in their order, and the
    /// defaults. Remote providers are not asked yet.
    pub fn resolve(app: &LockedApp, providers: &[Provider]) -> Self {
        let value = |name: &str, default| value(name, default, providers).unwrap_or(Value::Missing);
        let values = app
            .variables
            .iter()
            .map(|(name, variable)| (name.clone(), value(name, variable.default.as_deref())));
        Self { values: values.collect() }
    }

    /// Whether all variables may have a value.
    ///
    /// # Errors
    ///
    /// [`VariableError::Required`] with the names of all variables that certainly
    /// have none.
    pub fn check(&self) -> Result<(), VariableError> {
        let missing = self.values.iter().filter(|(_, value)| matches!(value, Value::Missing));
        let names: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
        if names.is_empty() { Ok(()) } else { Err(VariableError::Required { names }) }
    }

    /// `text` with its variables replaced; `place` says in errors where it stands.
    /// Asks remote providers.
    ///
    /// # Errors
    ///
    /// A template that cannot be parsed, names an unknown variable, or one that
    /// has no value: [`VariableError::Required`] if that is known already.
    pub async fn expand(&self, text: &str, place: &str) -> Result<String, VariableError> {
        self.expression(text, place)?.resolve().await
    }

    /// What `component` may read.
    ///
    /// # Errors
    ///
    /// Every one of its templates that can never be resolved, as [`Variables::expand`]
    /// tells it.
    pub fn of_component(
        &self,
        component: &LockedComponent,
    ) -> Result<ComponentVariables, Vec<VariableError>> {
        let mut expressions = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, template) in &component.config {
            let place = format!("variable {name:?} of component {:?}", component.id);
            match self.expression(template, &place) {
                Ok(expression) => {
                    expressions.insert(name.clone(), expression);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(ComponentVariables::new(expressions)) } else { Err(errors) }
    }

    fn expression(&self, text: &str, place: &str) -> Result<Expression, VariableError> {
        let template = Template::parse(text)
            .map_err(|source| VariableError::Template { place: place.to_owned(), source })?;
        let mut expression = Expression::default();
        for part in template.parts() {
            match part {
                Part::Literal(text) => expression.push_text(text),
                Part::Variable(name) => match self.values.get(name) {
                    Some(Value::Fixed(text)) => expression.push_text(text),
                    Some(Value::Missing) => {
                        return Err(VariableError::Required { names: vec![name.clone()] });
                    }
                    Some(value) => expression.push_variable(name, value),
                    None => {
                        let (place, name) = (place.to_owned(), name.clone());
                        return Err(VariableError::Unknown { place, name });
                    }
                },
            }
        }
        Ok(expression)
    }
}

/// None: nobody has a value, and nobody is left to be asked.
fn value(name: &str, default: Option<&str>, providers: &[Provider]) -> Option<Value> {
    let mut asked = Vec::new();
    let mut known = None;
    for provider in providers {
        known = match provider {
            Provider::Environment(values) => values.get(name),
            Provider::Static(values) => values.get(name).map(String::as_str),
            Provider::Remote(provider) => {
                asked.push(Arc::clone(provider));
                None
            }
        };
        if known.is_some() {
            break;
        }
    }
    let known = known.or(default).map(Arc::from);
    if asked.is_empty() {
        return known.map(Value::Fixed);
    }
    Some(Value::Asked { providers: asked, otherwise: known })
}

impl Value {
    pub(crate) async fn get(&self, name: &str) -> Result<Arc<str>, VariableError> {
        let (providers, otherwise) = match self {
            Self::Missing => return Err(VariableError::NoValue { name: name.to_owned() }),
            Self::Fixed(text) => return Ok(Arc::clone(text)),
            Self::Asked { providers, otherwise } => (providers, otherwise),
        };
        for provider in providers {
            if let Some(text) = provider.get(name).await? {
                return Ok(text.into());
            }
        }
        otherwise.clone().ok_or_else(|| VariableError::NoValue { name: name.to_owned() })
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}
