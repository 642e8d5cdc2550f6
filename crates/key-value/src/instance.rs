//! What one instance has open.

use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

use crate::store::Store;
use crate::stores::ComponentStores;

/// Stores an instance may have open at a time, and swaps it may have begun.
pub const MAX_OPEN: usize = 256;

/// What stands before a store for one instance.
pub type Wrap = Box<dyn Fn(Arc<dyn Store>) -> Arc<dyn Store> + Send + Sync>;

/// The stores that one instance has open.
pub struct InstanceStores {
    component: Arc<ComponentStores>,
    wrap: Option<Wrap>,
    stores: Table<OpenStore>,
    swaps: Table<OpenSwap>,
}

/// An open store.
#[derive(Clone)]
pub struct OpenStore {
    pub(crate) store: Arc<dyn Store>,
}

/// A compare-and-swap that has begun.
#[derive(Clone)]
pub struct OpenSwap {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) key: String,
    /// What the guest saw last.
    pub(crate) seen: Option<Vec<u8>>,
}

/// A store cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The component does not declare the label.
    #[error("the component has no access to this store")]
    AccessDenied,
    /// The instance has [`MAX_OPEN`] stores open.
    #[error("the instance has {MAX_OPEN} stores open")]
    TableFull,
}

impl InstanceStores {
    /// Nothing open yet.
    pub fn new(component: Arc<ComponentStores>) -> Self {
        Self { component, wrap: None, stores: Table::default(), swaps: Table::default() }
    }

    /// The same, with every store wrapped when it is opened.
    #[must_use]
    pub fn wrapped(self, wrap: Wrap) -> Self {
        Self { wrap: Some(wrap), ..self }
    }

    pub(crate) fn open(&mut self, label: &str) -> Result<Resource<OpenStore>, OpenError> {
        let store = self.component.get(label).ok_or(OpenError::AccessDenied)?;
        let store = Arc::clone(store);
        let open = OpenStore {
            store: match &self.wrap {
                Some(wrap) => wrap(store),
                None => store,
            },
        };
        self.stores.push(open).ok_or(OpenError::TableFull)
    }

    pub(crate) fn store(
        &self,
        store: &Resource<OpenStore>,
    ) -> Result<Arc<dyn Store>, ResourceTableError> {
        Ok(Arc::clone(&self.stores.entries.get(store)?.store))
    }

    pub(crate) fn close(&mut self, store: Resource<OpenStore>) -> Result<(), ResourceTableError> {
        self.stores.delete(store).map(drop)
    }

    /// None: the instance has [`MAX_OPEN`] swaps begun.
    pub(crate) fn begin_swap(&mut self, swap: OpenSwap) -> Option<Resource<OpenSwap>> {
        self.swaps.push(swap)
    }

    pub(crate) fn swap(
        &mut self,
        swap: &Resource<OpenSwap>,
    ) -> Result<&mut OpenSwap, ResourceTableError> {
        self.swaps.entries.get_mut(swap)
    }

    pub(crate) fn end_swap(
        &mut self,
        swap: Resource<OpenSwap>,
    ) -> Result<OpenSwap, ResourceTableError> {
        self.swaps.delete(swap)
    }
}

/// At most [`MAX_OPEN`] things. Counted here: the table of wasmtime does not give
/// places back in every build.
struct Table<V> {
    entries: ResourceTable,
    used: usize,
    values: std::marker::PhantomData<fn() -> V>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { entries: ResourceTable::new(), used: 0, values: std::marker::PhantomData }
    }
}

impl<V: Send + 'static> Table<V> {
    fn push(&mut self, value: V) -> Option<Resource<V>> {
        if self.used >= MAX_OPEN {
            return None;
        }
        let resource = self.entries.push(value).ok()?;
        self.used += 1;
        Some(resource)
    }

    fn delete(&mut self, resource: Resource<V>) -> Result<V, ResourceTableError> {
        let value = self.entries.delete(resource)?;
        self.used -= 1;
        Ok(value)
    }
}
