//! Key-value stores and SQLite databases of an app.

use std::sync::Arc;

use app::LockedComponent;
use key_value::{ComponentStores, InstanceStores, Location, Store, Stores};
use sqlite::{ComponentDatabases, Connection, Databases, InstanceConnections};
use telemetry::{Calls, Instance};
use wasmtime::component::Linker;

use crate::InstanceState;
use crate::told_storage::{ToldConnection, ToldStore};

/// The stores and databases of an app.
#[derive(Debug, Clone)]
pub struct StorageSettings {
    /// Key-value stores.
    pub stores: Stores,
    /// SQLite databases.
    pub databases: Databases,
}

impl Default for StorageSettings {
    /// One of each, in memory.
    fn default() -> Self {
        Self {
            stores: Stores::with_default(Location::Memory),
            databases: Databases::with_default(Location::Memory),
        }
    }
}

impl StorageSettings {
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
    /// For a new instance, which has nothing open; what it does is `told`.
    pub(crate) fn instance(&self, told: Option<&Arc<Instance>>) -> InstanceStorage {
        let mut stores = InstanceStores::new(Arc::clone(&self.stores));
        let mut connections = InstanceConnections::new(Arc::clone(&self.databases));
        let calls = Calls::of(told, ("db.system", "spin_key_value"));
        if calls.are_told() {
            let wrap = move |store| -> Arc<dyn Store> {
                Arc::new(ToldStore { store, calls: calls.clone() })
            };
            stores = stores.wrapped(Box::new(wrap));
            let calls = Calls::of(told, ("db.system", "sqlite"));
            let wrap = move |connection| -> Arc<dyn Connection> {
                Arc::new(ToldConnection { connection, calls: calls.clone() })
            };
            connections = connections.wrapped(Box::new(wrap));
        }
        InstanceStorage { stores, connections }
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
        let storage = StorageSettings::default();
        let own = storage.of_component(&component(&["default"], &[])).unwrap();
        assert!(own.stores.get("default").is_some() && own.databases.get("default").is_none());
    }

    #[test]
    fn all_labels_that_nothing_stands_behind_are_reported() {
        let storage = StorageSettings::default();
        let unknown =
            storage.of_component(&component(&["default", "cache"], &["orders"])).unwrap_err();
        assert_eq!(unknown.len(), 2);
        assert!(unknown[0].contains(r#"key_value_stores label "cache" for component "shop""#));
        assert!(unknown[1].contains(r#"sqlite_databases label "orders" for component "shop""#));
    }
}
