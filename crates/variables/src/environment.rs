//! Values from the environment that configures an app.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What stands before `_NAME` unless something else is said.
pub const PREFIX: &str = "SPIN_VARIABLE";

/// The environment that configures an app: the container's, or the command
/// line's. The variable `name` is called `PREFIX_NAME` there. Without a prefix of
/// its own it is `SPIN_VARIABLE_NAME`, and before it just `NAME`, which is how a
/// container sets declared variables.
#[derive(Clone)]
pub struct EnvironmentValues {
    environment: Arc<BTreeMap<String, String>>,
    /// What a file of lines `NAME=value` adds.
    dotenv: Arc<BTreeMap<String, String>>,
    prefix: Option<String>,
}

impl EnvironmentValues {
    /// Values of `environment`, and for what it lacks of `dotenv`.
    pub fn new(
        environment: Arc<BTreeMap<String, String>>,
        dotenv: BTreeMap<String, String>,
        prefix: Option<String>,
    ) -> Self {
        Self { environment, dotenv: Arc::new(dotenv), prefix }
    }

    /// The value of a variable of the app.
    pub fn get(&self, name: &str) -> Option<&str> {
        let bare = name.to_ascii_uppercase();
        let prefix = self.prefix.as_deref().unwrap_or(PREFIX);
        let prefixed = format!("{prefix}_{bare}");
        // A container's bare names take the place of those with Spin's prefix.
        let first = if prefix == PREFIX { self.environment.get(&bare) } else { None };
        first
            .or_else(|| self.environment.get(&prefixed))
            .or_else(|| self.dotenv.get(&prefixed))
            .map(String::as_str)
    }
}

impl fmt::Debug for EnvironmentValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvironmentValues").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
