//! Key-value stores and SQLite databases of an app.
//!
//! Without further configuration an app has one of each, with the label
//! `default`, in a state directory or in memory.

use std::path::PathBuf;
use std::sync::Arc;

use app::LockedComponent;
use key_value::{ComponentStores, InstanceStores, Location, Stores};
use sqlite::{ComponentDatabases, Databases, InstanceConnections};
use wasmtime::component::Linker;

use crate::InstanceState;

/// Where an app keeps its default key-value store and its default database.
///
/// Nothing is made there before a guest uses one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StateDir {
    /// Nowhere: they are in memory, and lost when the app ends.
    #[default]
    Memory,
    /// In this folder if it can be written, otherwise in memory, with a warning.
    IfWritable(PathBuf),
    /// In this folder; that it cannot be written is an error of the call that
    /// needs it.
    Folder(PathBuf),
}

impl StateDir {
    fn location(&self, file: &str) -> Location {
        match self {
            Self::Memory => Location::Memory,
            Self::IfWritable(folder) => Location::FileIfWritable(folder.join(file)),
            Self::Folder(folder) => Location::File(folder.join(file)),
        }
    }
}

/// What an app stores.
#[derive(Debug)]
pub(crate) struct Storage {
    stores: Stores,
    databases: Databases,
}

impl Storage {
    pub(crate) fn new(state_dir: &StateDir) -> Self {
        Self {
            stores: Stores::with_default(state_dir.location(key_value::FILE_NAME)),
            databases: Databases::with_default(state_dir.location(sqlite::FILE_NAME)),
        }
    }

    /// What `component` may use; every label it declares that the app does not
    /// have otherwise.
    pub(crate) fn of_component(
        &self,
        component: &LockedComponent,
    ) -> Result<ComponentStorage, Vec<String>> {
        let (id, metadata) = (&component.id, &component.metadata);
        let stores = self.stores.of_component(id, &metadata.key_value_stores);
        let databases = self.databases.of_component(id, &metadata.databases);
        match (stores, databases) {
            (Ok(stores), Ok(databases)) => Ok(ComponentStorage { stores, databases }),
            (stores, databases) => {
                let mut unknown = Vec::new();
                unknown.extend(stores.err().into_iter().flatten().map(|label| label.to_string()));
                unknown
                    .extend(databases.err().into_iter().flatten().map(|label| label.to_string()));
                Err(unknown)
            }
        }
    }
}

/// What a component may use.
#[derive(Debug, Clone)]
pub(crate) struct ComponentStorage {
    stores: Arc<ComponentStores>,
    databases: Arc<ComponentDatabases>,
}

impl ComponentStorage {
    /// For a new instance, which has nothing open.
    pub(crate) fn instance(&self) -> InstanceStorage {
        InstanceStorage {
            stores: InstanceStores::new(Arc::clone(&self.stores)),
            connections: InstanceConnections::new(Arc::clone(&self.databases)),
        }
    }
}

/// What an instance has open.
pub(crate) struct InstanceStorage {
    stores: InstanceStores,
    connections: InstanceConnections,
}

pub(crate) fn link_key_value(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    key_value::add_to_linker(linker, |state| &mut state.storage.stores)
}

pub(crate) fn link_sqlite(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    sqlite::add_to_linker(linker, |state| &mut state.storage.connections)
}

#[cfg(test)]
mod tests {
    use app::ComponentMetadata;

    use super::*;

    fn component(stores: &[&str], databases: &[&str]) -> LockedComponent {
        let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
        LockedComponent {
            id: "shop".to_owned(),
            metadata: ComponentMetadata {
                key_value_stores: labels(stores),
                databases: labels(databases),
                ..ComponentMetadata::default()
            },
            ..LockedComponent::default()
        }
    }

    #[test]
    fn a_component_has_what_it_declares_and_nothing_else() {
        let storage = Storage::new(&StateDir::Memory);
        let own = storage.of_component(&component(&["default"], &[])).unwrap();
        assert!(own.stores.get("default").is_some() && own.databases.get("default").is_none());
    }

    #[test]
    fn all_labels_that_nothing_stands_behind_are_reported() {
        let storage = Storage::new(&StateDir::Memory);
        let unknown =
            storage.of_component(&component(&["default", "cache"], &["orders"])).unwrap_err();
        assert_eq!(unknown.len(), 2);
        assert!(unknown[0].contains(r#"key_value_stores label "cache" for component "shop""#));
        assert!(unknown[1].contains(r#"sqlite_databases label "orders" for component "shop""#));
    }

    #[tokio::test]
    async fn files_have_the_names_spin_gives_them_and_are_made_by_the_first_use() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join(".spin");
        let storage = Storage::new(&StateDir::IfWritable(state.clone()));
        let own = storage.of_component(&component(&["default"], &["default"])).unwrap();
        assert!(!state.exists());
        own.stores.get("default").unwrap().set("k".into(), vec![1]).await.unwrap();
        own.databases.get("default").unwrap().connect().await.unwrap();
        assert!(state.join("sqlite_key_value.db").is_file());
        assert!(state.join("sqlite_db.db").is_file());
    }
}
