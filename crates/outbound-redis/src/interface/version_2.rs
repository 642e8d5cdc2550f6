//! `fermyon:spin/redis@2.0.0`.

use wasmtime::component::{Linker, Resource};

use super::convert::{conversions, errors};
use crate::{InstanceConnections, OpenConnection, OutboundRedis};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-2.wit",
        imports: { default: async | trappable },
        with: { "fermyon:spin/redis.connection": crate::OpenConnection },
    });
}

use bindings::fermyon::spin::redis::{self, Error, RedisParameter, RedisResult};

conversions!(bindings::fermyon::spin::redis);
errors!(bindings::fermyon::spin::redis);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    redis::add_to_linker::<_, OutboundRedis>(linker, connections)
}

type Answer<R> = wasmtime::Result<Result<R, Error>>;

impl redis::Host for InstanceConnections {}

impl redis::HostConnection for InstanceConnections {
    async fn open(&mut self, address: String) -> Answer<Resource<OpenConnection>> {
        Ok(InstanceConnections::open(self, &address).await.map_err(Error::from))
    }

    async fn publish(
        &mut self,
        connection: Resource<OpenConnection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Answer<()> {
        let connection = self.connection(&connection)?;
        Ok(connection.publish(&channel, &payload).await.map_err(Error::from))
    }

    async fn get(
        &mut self,
        connection: Resource<OpenConnection>,
        key: String,
    ) -> Answer<Option<Vec<u8>>> {
        let connection = self.connection(&connection)?;
        Ok(connection.get(&key).await.map_err(Error::from))
    }

    async fn set(
        &mut self,
        connection: Resource<OpenConnection>,
        key: String,
        value: Vec<u8>,
    ) -> Answer<()> {
        let connection = self.connection(&connection)?;
        Ok(connection.set(&key, &value).await.map_err(Error::from))
    }

    async fn incr(&mut self, connection: Resource<OpenConnection>, key: String) -> Answer<i64> {
        let connection = self.connection(&connection)?;
        Ok(connection.incr(&key).await.map_err(Error::from))
    }

    async fn del(
        &mut self,
        connection: Resource<OpenConnection>,
        keys: Vec<String>,
    ) -> Answer<u32> {
        let connection = self.connection(&connection)?;
        Ok(connection.del(&keys).await.map_err(Error::from))
    }

    async fn sadd(
        &mut self,
        connection: Resource<OpenConnection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        let connection = self.connection(&connection)?;
        Ok(connection.sadd(&key, &values).await.map_err(Error::from))
    }

    async fn smembers(
        &mut self,
        connection: Resource<OpenConnection>,
        key: String,
    ) -> Answer<Vec<String>> {
        let connection = self.connection(&connection)?;
        Ok(connection.smembers(&key).await.map_err(Error::from))
    }

    async fn srem(
        &mut self,
        connection: Resource<OpenConnection>,
        key: String,
        values: Vec<String>,
    ) -> Answer<u32> {
        let connection = self.connection(&connection)?;
        Ok(connection.srem(&key, &values).await.map_err(Error::from))
    }

    async fn execute(
        &mut self,
        connection: Resource<OpenConnection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Answer<Vec<RedisResult>> {
        let connection = self.connection(&connection)?;
        Ok(connection.execute(&command, ours(arguments)).await.map(theirs).map_err(Error::from))
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}

#[cfg(test)]
mod tests {
    use super::redis::HostConnection;
    use super::*;
    use crate::tests::instance;

    #[tokio::test]
    async fn every_function_works_and_every_error_has_its_own_variant() {
        let server = test_servers::Redis::start().unwrap();
        let text = |text: &str| text.to_owned();
        let mut instance = instance();
        for address in ["", "http://127.0.0.1", "rediss://127.0.0.1", "redis://127.0.0.1/x"] {
            let opened = HostConnection::open(&mut instance, text(address)).await.unwrap();
            assert!(matches!(opened, Err(Error::InvalidAddress)), "{address}");
        }
        let refused = HostConnection::open(&mut instance, text("redis://127.0.0.1:1")).await;
        assert!(matches!(refused.unwrap(), Err(Error::Other(text)) if text.contains("refused")));
        let opened = HostConnection::open(&mut instance, server.address()).await.unwrap();
        let rep = opened.unwrap().rep();
        let on = || Resource::<OpenConnection>::new_borrow(rep);
        assert_eq!(instance.get(on(), text("k")).await.unwrap().unwrap(), None);
        instance.set(on(), text("k"), b"x".to_vec()).await.unwrap().unwrap();
        assert_eq!(instance.get(on(), text("k")).await.unwrap().unwrap(), Some(b"x".to_vec()));
        let mistyped = instance.incr(on(), text("k")).await.unwrap();
        assert!(matches!(mistyped, Err(Error::TypeError)));
        instance.sadd(on(), text("s"), vec![text("m")]).await.unwrap().unwrap();
        let mistyped = instance.get(on(), text("s")).await.unwrap();
        assert!(matches!(mistyped, Err(Error::TypeError)));
        let unknown = instance.execute(on(), text("NONSENSE"), vec![]).await.unwrap();
        assert!(matches!(unknown, Err(Error::Other(text)) if text.contains("unknown command")));
        HostConnection::drop(&mut instance, Resource::new_own(rep)).await.unwrap();
        assert!(instance.get(on(), text("k")).await.is_err());
    }
}
