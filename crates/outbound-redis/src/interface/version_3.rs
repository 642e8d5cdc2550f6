//! `spin:redis/redis@3.0.0`: every function is async, so calls over one connection
//! run at the same time.

use wasmtime::component::{Accessor, Linker, Resource};

use super::convert::{conversions, errors};
use crate::{InstanceConnections, OpenConnection, OutboundRedis, RedisError};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-3.wit",
        imports: { default: async | trappable },
        with: { "spin:redis/redis.connection": crate::OpenConnection },
    });
}

use bindings::spin::redis::redis::{self, Error, RedisParameter, RedisResult};

conversions!(bindings::spin::redis::redis);
errors!(bindings::spin::redis::redis);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    redis::add_to_linker::<_, OutboundRedis>(linker, connections)
}

type Answer<R> = wasmtime::Result<Result<R, Error>>;

/// The connection behind `resource`, to be used without holding on to the
/// instance.
fn connection<T>(
    accessor: &Accessor<T, OutboundRedis>,
    resource: &Resource<OpenConnection>,
) -> wasmtime::Result<OpenConnection> {
    accessor.with(|mut access| Ok(access.get().connection(resource)?))
}

async fn open<T>(
    accessor: &Accessor<T, OutboundRedis>,
    address: &str,
) -> Result<Resource<OpenConnection>, RedisError> {
    let opening = accessor.with(|mut access| access.get().opening())?;
    let connection = opening.connect(address).await?;
    accessor.with(|mut access| access.get().keep(connection))
}

impl redis::Host for InstanceConnections {}

impl redis::HostConnection for InstanceConnections {
    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}

impl<T: Send> redis::HostConnectionWithStore<T> for OutboundRedis {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Answer<Resource<OpenConnection>> {
        Ok(open(accessor, &address).await.map_err(Error::from))
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Answer<()> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.publish(&channel, &payload).await.map_err(Error::from))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.get(&key).await.map_err(Error::from))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.set(&key, &value).await.map_err(Error::from))
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        key: String,
    ) -> Answer<i64> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.incr(&key).await.map_err(Error::from))
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        keys: Vec<String>,
    ) -> Answer<u32> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.del(&keys).await.map_err(Error::from))
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.sadd(&key, &values).await.map_err(Error::from))
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        key: String,
    ) -> Answer<Vec<String>> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.smembers(&key).await.map_err(Error::from))
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.srem(&key, &values).await.map_err(Error::from))
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Answer<Vec<RedisResult>> {
        let connection = connection(accessor, &resource)?;
        Ok(connection.execute(&command, ours(arguments)).await.map(theirs).map_err(Error::from))
    }
}
