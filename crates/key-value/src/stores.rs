//! Which stores an app has and which of them a component may open.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use embedded_database::Location;

use crate::sqlite_store::SqliteStores;
use crate::store::Store;

/// The file of the default store in a state directory.
pub const FILE_NAME: &str = "sqlite_key_value.db";

/// The stores of an app, by label.
#[derive(Default, Clone)]
pub struct Stores {
    stores: BTreeMap<String, Arc<dyn Store>>,
    /// Labels with the same location share one database.
    databases: BTreeMap<Location, Arc<SqliteStores>>,
}

/// A component declares a store that the app does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown key_value_stores label {label:?} for component {component:?}: no store with this label is configured"
)]
pub struct UnknownLabel {
    /// The label.
    pub label: String,
    /// The component's id.
    pub component: String,
}

impl Stores {
    /// What an app has without any configuration: the label `default`, at
    /// `location`.
    pub fn with_default(location: Location) -> Self {
        let mut stores = Self::default();
        stores.add_sqlite("default", location);
        stores
    }

    /// The location of the default store in a state directory.
    pub fn path_in(state_dir: &Path) -> std::path::PathBuf {
        state_dir.join(FILE_NAME)
    }

    /// Adds a store in a SQLite database, in place of one with the same label.
    pub fn add_sqlite(&mut self, label: &str, location: Location) {
        let database =
            self.databases.entry(location.clone()).or_insert_with(|| SqliteStores::new(location));
        let store = database.store(label);
        self.add(label, store);
    }

    /// Adds a store, in place of one with the same label.
    pub fn add(&mut self, label: &str, store: Arc<dyn Store>) {
        self.stores.insert(label.to_owned(), store);
    }

    /// What a component may open: the stores with the labels it declares.
    ///
    /// # Errors
    ///
    /// All labels that the app has no store for.
    pub fn of_component(
        &self,
        component: &str,
        labels: &[String],
    ) -> Result<Arc<ComponentStores>, Vec<UnknownLabel>> {
        let mut stores = BTreeMap::new();
        let mut unknown = Vec::new();
        for label in labels {
            match self.stores.get(label) {
                Some(store) => {
                    stores.insert(label.clone(), Arc::clone(store));
                }
                None => unknown
                    .push(UnknownLabel { label: label.clone(), component: component.to_owned() }),
            }
        }
        if unknown.is_empty() { Ok(Arc::new(ComponentStores { stores })) } else { Err(unknown) }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.stores.keys()).finish()
    }
}

/// The stores that one component may open.
#[derive(Default)]
pub struct ComponentStores {
    stores: BTreeMap<String, Arc<dyn Store>>,
}

impl ComponentStores {
    /// The store with this label, if the component may open it.
    pub fn get(&self, label: &str) -> Option<&Arc<dyn Store>> {
        self.stores.get(label)
    }
}

impl fmt::Debug for ComponentStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.stores.keys()).finish()
    }
}
