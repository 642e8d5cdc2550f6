//! `wasi:keyvalue/{store,atomics,batch}@0.2.0-draft2`.

use wasmtime::component::{Linker, Resource};

use crate::instance::MAX_OPEN;
use crate::{InstanceStores, KeyValue, OpenError, OpenStore, OpenSwap, StoreError, Swap};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/wasi.wit",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::OpenStore,
            "wasi:keyvalue/atomics.cas": crate::OpenSwap,
        },
    });
}

use bindings::wasi::keyvalue::atomics::{self, CasError};
use bindings::wasi::keyvalue::batch;
use bindings::wasi::keyvalue::store::{self, Error, KeyResponse};

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    stores: fn(&mut T) -> &mut InstanceStores,
) -> wasmtime::Result<()> {
    store::add_to_linker::<_, KeyValue>(linker, stores)?;
    atomics::add_to_linker::<_, KeyValue>(linker, stores)?;
    batch::add_to_linker::<_, KeyValue>(linker, stores)
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Other(error.chain())
    }
}

type Entry = (String, Option<Vec<u8>>);

fn too_many_swaps() -> Error {
    Error::Other(format!("the instance has begun {MAX_OPEN} swaps"))
}

impl store::Host for InstanceStores {
    async fn open(
        &mut self,
        identifier: String,
    ) -> wasmtime::Result<Result<Resource<OpenStore>, Error>> {
        Ok(InstanceStores::open(self, &identifier).map_err(|error| match error {
            OpenError::AccessDenied => Error::AccessDenied,
            OpenError::TableFull => Error::Other(error.to_string()),
        }))
    }
}

impl store::HostBucket for InstanceStores {
    async fn get(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(self.store(&bucket)?.get(key).await.map_err(Error::from))
    }

    async fn set(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.store(&bucket)?.set(key, value).await.map_err(Error::from))
    }

    async fn delete(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.store(&bucket)?.delete(key).await.map_err(Error::from))
    }

    async fn exists(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<bool, Error>> {
        Ok(self.store(&bucket)?.exists(key).await.map_err(Error::from))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<OpenStore>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<KeyResponse, Error>> {
        if cursor.is_some() {
            return Ok(Err(Error::Other("list_keys: cursor not supported".to_owned())));
        }
        let keys = self.store(&bucket)?.keys().await;
        Ok(keys.map(|keys| KeyResponse { keys, cursor: None }).map_err(Error::from))
    }

    async fn drop(&mut self, bucket: Resource<OpenStore>) -> wasmtime::Result<()> {
        Ok(self.close(bucket)?)
    }
}

impl atomics::Host for InstanceStores {
    async fn increment(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, Error>> {
        Ok(self.store(&bucket)?.increment(key, delta).await.map_err(Error::from))
    }

    async fn swap(
        &mut self,
        cas: Resource<OpenSwap>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), CasError>> {
        let OpenSwap { store, key, seen } = self.end_swap(cas)?;
        Ok(match store.swap(key.clone(), seen, value).await {
            Ok(Swap::Done) => Ok(()),
            Ok(Swap::Changed(seen)) => {
                let next = self.begin_swap(OpenSwap { store, key, seen });
                Err(next
                    .map_or_else(|| CasError::StoreError(too_many_swaps()), CasError::CasFailed))
            }
            Err(error) => Err(CasError::StoreError(error.into())),
        })
    }
}

impl atomics::HostCas for InstanceStores {
    async fn new(
        &mut self,
        bucket: Resource<OpenStore>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<OpenSwap>, Error>> {
        let store = self.store(&bucket)?;
        let seen = match store.get(key.clone()).await {
            Ok(seen) => seen,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(self.begin_swap(OpenSwap { store, key, seen }).ok_or_else(too_many_swaps))
    }

    async fn current(
        &mut self,
        cas: Resource<OpenSwap>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let OpenSwap { store, key, .. } = self.swap(&cas)?.clone();
        let seen = match store.get(key).await {
            Ok(seen) => seen,
            Err(error) => return Ok(Err(error.into())),
        };
        self.swap(&cas)?.seen.clone_from(&seen);
        Ok(Ok(seen))
    }

    async fn drop(&mut self, cas: Resource<OpenSwap>) -> wasmtime::Result<()> {
        self.end_swap(cas)?;
        Ok(())
    }
}

impl batch::Host for InstanceStores {
    async fn get_many(
        &mut self,
        bucket: Resource<OpenStore>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Entry>, Error>> {
        Ok(self.store(&bucket)?.get_many(keys).await.map_err(Error::from))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<OpenStore>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.store(&bucket)?.set_many(key_values).await.map_err(Error::from))
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<OpenStore>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.store(&bucket)?.delete_many(keys).await.map_err(Error::from))
    }
}

#[cfg(test)]
mod tests;
