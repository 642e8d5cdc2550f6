//! Which databases an app has and which of them a component may open.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use embedded_database::Location;

use crate::database::Database;
use crate::embedded::Embedded;

/// The file of the default database in a state directory.
pub const FILE_NAME: &str = "sqlite_db.db";

/// The databases of an app, by label.
#[derive(Default, Clone)]
pub struct Databases {
    databases: BTreeMap<String, Arc<dyn Database>>,
}

/// A component declares a database that the app does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown sqlite_databases label {label:?} for component {component:?}: no database with this label is configured"
)]
pub struct UnknownLabel {
    /// The label.
    pub label: String,
    /// The component's id.
    pub component: String,
}

impl Databases {
    /// What an app has without any configuration: the label `default`, at
    /// `location`.
    pub fn with_default(location: Location) -> Self {
        let mut databases = Self::default();
        databases.add("default", Arc::new(Embedded::new(location)));
        databases
    }

    /// The file of the default database in a state directory.
    pub fn path_in(state_dir: &Path) -> PathBuf {
        state_dir.join(FILE_NAME)
    }

    /// Adds a database, in place of one with the same label.
    pub fn add(&mut self, label: &str, database: Arc<dyn Database>) {
        self.databases.insert(label.to_owned(), database);
    }

    /// What a component may open: the databases with the labels it declares.
    ///
    /// # Errors
    ///
    /// All labels that the app has no database for.
    pub fn of_component(
        &self,
        component: &str,
        labels: &[String],
    ) -> Result<Arc<ComponentDatabases>, Vec<UnknownLabel>> {
        let mut databases = BTreeMap::new();
        let mut unknown = Vec::new();
        for label in labels {
            match self.databases.get(label) {
                Some(database) => {
                    databases.insert(label.clone(), Arc::clone(database));
                }
                None => unknown
                    .push(UnknownLabel { label: label.clone(), component: component.to_owned() }),
            }
        }
        if unknown.is_empty() {
            Ok(Arc::new(ComponentDatabases { databases }))
        } else {
            Err(unknown)
        }
    }
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.databases.keys()).finish()
    }
}

/// The databases that one component may open.
#[derive(Default)]
pub struct ComponentDatabases {
    databases: BTreeMap<String, Arc<dyn Database>>,
}

impl ComponentDatabases {
    /// The database with this label, if the component may open it.
    pub fn get(&self, label: &str) -> Option<&Arc<dyn Database>> {
        self.databases.get(label)
    }
}

impl fmt::Debug for ComponentDatabases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.databases.keys()).finish()
    }
}
