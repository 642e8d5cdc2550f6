//! Who has values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::EnvironmentValues;

/// Who has values for variables.
#[derive(Clone)]
pub enum Provider {
    /// The environment that configures the app.
    Environment(EnvironmentValues),
    /// A list.
    Static(BTreeMap<String, String>),
    /// A service.
    Remote(Arc<dyn RemoteProvider>),
}

/// A service that is asked whenever a value is needed.
#[async_trait]
pub trait RemoteProvider: Send + Sync + 'static {
    /// The value of a variable, if the service has one.
    async fn get(&self, name: &str) -> Result<Option<String>, ProviderError>;
}

/// A service that did not say whether it has a value.
#[derive(Debug, thiserror::Error)]
#[error("{service} has no answer for the variable {name:?}")]
pub struct ProviderError {
    /// What the service is.
    pub service: &'static str,
    /// The variable.
    pub name: String,
    /// What happened.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(values) => fmt::Debug::fmt(values, f),
            Self::Static(values) => {
                f.write_str("Static")?;
                f.debug_set().entries(values.keys()).finish()
            }
            Self::Remote(_) => f.write_str("Remote"),
        }
    }
}
