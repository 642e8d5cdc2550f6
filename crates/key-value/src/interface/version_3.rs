//! `spin:key-value/key-value@3.0.0`: async, keys as a stream.

use std::sync::Arc;

use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use crate::{InstanceStores, KeyValue, OpenError, OpenStore, Store, StoreError};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-3.wit",
        imports: { default: async | trappable },
        with: { "spin:key-value/key-value.store": crate::OpenStore },
    });
}

use bindings::spin::key_value::key_value::{self, Error};

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

type Keys = (StreamReader<String>, FutureReader<Result<(), Error>>);

/// The store behind `resource`, to be used without holding on to the instance.
fn store<T>(
    accessor: &Accessor<T, KeyValue>,
    resource: &Resource<OpenStore>,
) -> wasmtime::Result<Arc<dyn Store>> {
    accessor.with(|mut access| Ok(access.get().store(resource)?))
}

impl key_value::Host for InstanceStores {}

impl key_value::HostStore for InstanceStores {
    async fn drop(&mut self, store: Resource<OpenStore>) -> wasmtime::Result<()> {
        Ok(self.close(store)?)
    }
}

impl<T: Send> key_value::HostStoreWithStore<T> for KeyValue {
    async fn open(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, Error>> {
        Ok(accessor.with(|mut access| access.get().open(&label)).map_err(Error::from))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(store(accessor, &resource)?.get(key).await.map_err(Error::from))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(store(accessor, &resource)?.set(key, value).await.map_err(Error::from))
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(store(accessor, &resource)?.delete(key).await.map_err(Error::from))
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, Error>> {
        Ok(store(accessor, &resource)?.exists(key).await.map_err(Error::from))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenStore>,
    ) -> wasmtime::Result<Keys> {
        let (keys, outcome) = match store(accessor, &resource)?.keys().await {
            Ok(keys) => (keys, Ok(())),
            Err(error) => (Vec::new(), Err(Error::from(error))),
        };
        accessor.with(|mut access| {
            Ok((
                StreamReader::new(&mut access, keys)?,
                FutureReader::new(&mut access, async move { wasmtime::error::Ok(outcome) })?,
            ))
        })
    }
}
