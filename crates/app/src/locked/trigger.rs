//! Triggers of a locked app.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What starts a component: one `[[trigger.X]]` table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LockedTrigger {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Its type, for example `http`.
    pub trigger_type: String,
    /// Its table; `component` is a component id.
    #[serde(default)]
    pub trigger_config: Value,
}

/// A trigger's table that does not fit its type.
#[derive(Debug, thiserror::Error)]
#[error("{trigger_type} trigger {id:?} is not valid")]
pub struct TriggerConfigError {
    id: String,
    trigger_type: String,
    #[source]
    source: serde_json::Error,
}

impl LockedTrigger {
    /// The id of the component it starts, if it names one.
    pub fn component(&self) -> Option<&str> {
        self.trigger_config.get("component").and_then(Value::as_str)
    }

    /// Its table as a type of the caller's.
    ///
    /// # Errors
    ///
    /// [`TriggerConfigError`] when the table does not fit.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, TriggerConfigError> {
        T::deserialize(&self.trigger_config).map_err(|source| TriggerConfigError {
            id: self.id.clone(),
            trigger_type: self.trigger_type.clone(),
            source,
        })
    }
}
