//! `fermyon:spin/key-value@2.0.0`.

use wasmtime::component::{Linker, Resource};

use crate::{InstanceStores, KeyValue, OpenError, OpenStore, StoreError};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-2.wit",
        imports: { default: async | trappable },
        with: { "fermyon:spin/key-value.store": crate::OpenStore },
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
        Self::Other(error.chain())
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::AccessDenied => Self::AccessDenied,
            OpenError::TableFull => Self::StoreTableFull,
        }
    }
}

impl key_value::Host for InstanceStores {}

impl key_value::HostStore for InstanceStores {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, Error>> {
        Ok(InstanceStores::open(self, &label).map_err(Error::from))
    }

    async fn get(
        &mut self,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(self.store(&store)?.get(key).await.map_err(Error::from))
    }

    async fn set(
        &mut self,
        store: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.store(&store)?.set(key, value).await.map_err(Error::from))
    }

    async fn delete(
        &mut self,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.store(&store)?.delete(key).await.map_err(Error::from))
    }

    async fn exists(
        &mut self,
        store: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, Error>> {
        Ok(self.store(&store)?.exists(key).await.map_err(Error::from))
    }

    async fn get_keys(
        &mut self,
        store: Resource<OpenStore>,
    ) -> wasmtime::Result<Result<Vec<String>, Error>> {
        Ok(self.store(&store)?.keys().await.map_err(Error::from))
    }

    async fn drop(&mut self, store: Resource<OpenStore>) -> wasmtime::Result<()> {
        Ok(self.close(store)?)
    }
}

#[cfg(test)]
mod tests {
    use super::key_value::HostStore;
    use super::*;
    use crate::MAX_OPEN;
    use crate::tests::instance;

    async fn open(stores: &mut InstanceStores, label: &str) -> Result<Resource<OpenStore>, Error> {
        HostStore::open(stores, label.to_owned()).await.unwrap()
    }

    #[tokio::test]
    async fn a_value_is_found_until_it_is_deleted() {
        let mut stores = instance();
        let rep = open(&mut stores, "default").await.unwrap().rep();
        let store = || Resource::<OpenStore>::new_borrow(rep);
        let key = || "k".to_owned();
        assert_eq!(stores.get(store(), key()).await.unwrap().unwrap(), None);
        HostStore::set(&mut stores, store(), key(), vec![7]).await.unwrap().unwrap();
        assert_eq!(stores.get(store(), key()).await.unwrap().unwrap(), Some(vec![7]));
        assert!(HostStore::exists(&mut stores, store(), key()).await.unwrap().unwrap());
        assert_eq!(stores.get_keys(store()).await.unwrap().unwrap(), ["k"]);
        HostStore::delete(&mut stores, store(), key()).await.unwrap().unwrap();
        assert!(!HostStore::exists(&mut stores, store(), key()).await.unwrap().unwrap());
        HostStore::drop(&mut stores, Resource::new_own(rep)).await.unwrap();
        assert!(stores.get(store(), key()).await.is_err());
    }

    #[tokio::test]
    async fn every_error_has_its_own_variant() {
        let mut stores = instance();
        assert!(matches!(open(&mut stores, "other").await, Err(Error::AccessDenied)));
        let store = open(&mut stores, "default").await.unwrap();
        let long = "x".repeat(crate::MAX_KEY + 1);
        let refused = stores.get(Resource::new_borrow(store.rep()), long).await.unwrap();
        assert!(matches!(refused, Err(Error::Other(text)) if text.contains("the key has 65537")));
        for _ in 1..MAX_OPEN {
            open(&mut stores, "default").await.unwrap();
        }
        assert!(matches!(open(&mut stores, "default").await, Err(Error::StoreTableFull)));
    }
}
