//! What one component sees.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::VariableError;
use crate::resolve::Value;

/// The variables one component may read: its own names.
///
/// Its `Debug` form shows names only: values may be secret.
#[derive(Clone, Default)]
pub struct ComponentVariables {
    expressions: Arc<BTreeMap<String, Expression>>,
}

/// A template of which everything that is fixed is filled in.
#[derive(Default)]
pub(crate) struct Expression {
    parts: Vec<Piece>,
}

enum Piece {
    Text(String),
    Variable(String, Value),
}

impl ComponentVariables {
    pub(crate) fn new(expressions: BTreeMap<String, Expression>) -> Self {
        Self { expressions: Arc::new(expressions) }
    }

    /// The value of `name` now; none if the component has no such variable.
    ///
    /// # Errors
    ///
    /// A provider fails or has no value.
    pub async fn get(&self, name: &str) -> Result<Option<String>, VariableError> {
        match self.expressions.get(name) {
            Some(expression) => expression.resolve().await.map(Some),
            None => Ok(None),
        }
    }

    /// All names, and their values now.
    ///
    /// # Errors
    ///
    /// A provider fails or has no value.
    pub async fn all(&self) -> Result<Vec<(String, String)>, VariableError> {
        let mut all = Vec::new();
        for (name, expression) in self.expressions.iter() {
            all.push((name.clone(), expression.resolve().await?));
        }
        Ok(all)
    }
}

impl Expression {
    pub(crate) fn push_text(&mut self, more: &str) {
        match self.parts.last_mut() {
            Some(Piece::Text(text)) => text.push_str(more),
            _ => self.parts.push(Piece::Text(more.to_owned())),
        }
    }

    pub(crate) fn push_variable(&mut self, name: &str, value: &Value) {
        self.parts.push(Piece::Variable(name.to_owned(), value.clone()));
    }

    pub(crate) async fn resolve(&self) -> Result<String, VariableError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Piece::Text(more) => text.push_str(more),
                Piece::Variable(name, value) => text.push_str(&value.get(name).await?),
            }
        }
        Ok(text)
    }
}

impl fmt::Debug for ComponentVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.expressions.keys()).finish()
    }
}
