//! `fermyon:spin/key-value` without a version: stores are numbers.

use wasmtime::component::{Linker, Resource};

use crate::{InstanceStores, KeyValue, OpenError, OpenStore, Store, StoreError};

use std::sync::Arc;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/unversioned.wit",
        imports: { default: async },
    });
}

use bindings::fermyon::spin::key_value::{self, Error};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    stores: fn(&mut T) -> &mut InstanceStores,
) -> wasmtime::Result<()> {
    key_value::add_to_linker::<_, KeyValue>(linker, stores)
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Io(error.chain())
    }
}

impl InstanceStores {
    fn numbered(&self, store: u32) -> Result<Arc<dyn Store>, Error> {
        self.store(&Resource::new_borrow(store)).map_err(|_| Error::InvalidStore)
    }
}

impl key_value::Host for InstanceStores {
    async fn open(&mut self, name: String) -> Result<u32, Error> {
        match InstanceStores::open(self, &name) {
            Ok(store) => Ok(store.rep()),
            Err(OpenError::AccessDenied) => Err(Error::AccessDenied),
            Err(OpenError::TableFull) => Err(Error::StoreTableFull),
        }
    }

    async fn get(&mut self, store: u32, key: String) -> Result<Vec<u8>, Error> {
        self.numbered(store)?.get(key).await?.ok_or(Error::NoSuchKey)
    }

    async fn set(&mut self, store: u32, key: String, value: Vec<u8>) -> Result<(), Error> {
        Ok(self.numbered(store)?.set(key, value).await?)
    }

    async fn delete(&mut self, store: u32, key: String) -> Result<(), Error> {
        Ok(self.numbered(store)?.delete(key).await?)
    }

    async fn exists(&mut self, store: u32, key: String) -> Result<bool, Error> {
        Ok(self.numbered(store)?.exists(key).await?)
    }

    async fn get_keys(&mut self, store: u32) -> Result<Vec<String>, Error> {
        Ok(self.numbered(store)?.keys().await?)
    }

    async fn close(&mut self, store: u32) {
        // Closing what is not open has no way to fail in this interface.
        let _ = InstanceStores::close(self, Resource::<OpenStore>::new_own(store));
    }
}

#[cfg(test)]
mod tests {
    use super::key_value::Host;
    use super::*;
    use crate::MAX_OPEN;
    use crate::tests::instance;

    fn key() -> String {
        "k".to_owned()
    }

    #[tokio::test]
    async fn a_value_is_found_until_it_is_deleted() {
        let mut stores = instance();
        let store = Host::open(&mut stores, "default".into()).await.unwrap();
        stores.set(store, key(), vec![1, 2]).await.unwrap();
        assert_eq!(Host::get(&mut stores, store, key()).await.unwrap(), [1, 2]);
        assert!(stores.exists(store, key()).await.unwrap());
        assert_eq!(stores.get_keys(store).await.unwrap(), ["k"]);
        stores.delete(store, key()).await.unwrap();
        assert!(!stores.exists(store, key()).await.unwrap());
    }

    #[tokio::test]
    async fn every_error_has_its_own_variant() {
        let mut stores = instance();
        let denied = Host::open(&mut stores, "other".into()).await;
        assert!(matches!(denied, Err(Error::AccessDenied)));
        let store = Host::open(&mut stores, "default".into()).await.unwrap();
        let missing = Host::get(&mut stores, store, key()).await;
        assert!(matches!(missing, Err(Error::NoSuchKey)));
        let long = "x".repeat(crate::MAX_KEY + 1);
        let refused = stores.set(store, long, vec![]).await;
        assert!(matches!(refused, Err(Error::Io(text)) if text.contains("the key has 65537")));
        Host::close(&mut stores, store).await;
        Host::close(&mut stores, 1234).await;
        for result in [
            Host::get(&mut stores, store, key()).await.map(drop),
            stores.set(store, key(), vec![]).await,
            stores.delete(1234, key()).await,
            stores.exists(1234, key()).await.map(drop),
            stores.get_keys(1234).await.map(drop),
        ] {
            assert!(matches!(result, Err(Error::InvalidStore)), "{result:?}");
        }
        for _ in 0..MAX_OPEN {
            Host::open(&mut stores, "default".into()).await.unwrap();
        }
        let full = Host::open(&mut stores, "default".into()).await;
        assert!(matches!(full, Err(Error::StoreTableFull)));
    }
}
