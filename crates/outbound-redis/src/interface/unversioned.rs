//! `fermyon:spin/redis` without a version: every call names its address, and an
//! error is just an error.

use wasmtime::component::Linker;

use super::convert::conversions;
use crate::{InstanceConnections, OutboundRedis, RedisError};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/unversioned.wit",
        imports: { default: async },
    });
}

use bindings::fermyon::spin::redis::{self, Error};
use bindings::fermyon::spin::redis_types::{self, RedisParameter, RedisResult};

conversions!(bindings::fermyon::spin::redis_types);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    redis_types::add_to_linker::<_, OutboundRedis>(linker, connections)?;
    redis::add_to_linker::<_, OutboundRedis>(linker, connections)
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        // The guest is not told why; whoever runs it is.
        tracing::debug!(error = error.chain(), "a call to Redis failed");
        Self::Error
    }
}

impl redis_types::Host for InstanceConnections {}

impl redis::Host for InstanceConnections {
    async fn publish(
        &mut self,
        address: String,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        Ok(self.connect(&address).await?.publish(&channel, &payload).await?)
    }

    async fn get(&mut self, address: String, key: String) -> Result<Vec<u8>, Error> {
        // A key that is not there has the empty value in this interface.
        Ok(self.connect(&address).await?.get(&key).await?.unwrap_or_default())
    }

    async fn set(&mut self, address: String, key: String, value: Vec<u8>) -> Result<(), Error> {
        Ok(self.connect(&address).await?.set(&key, &value).await?)
    }

    async fn incr(&mut self, address: String, key: String) -> Result<i64, Error> {
        Ok(self.connect(&address).await?.incr(&key).await?)
    }

    async fn del(&mut self, address: String, keys: Vec<String>) -> Result<i64, Error> {
        Ok(self.connect(&address).await?.del(&keys).await?.into())
    }

    async fn sadd(
        &mut self,
        address: String,
        key: String,
        values: Vec<String>,
    ) -> Result<i64, Error> {
        Ok(self.connect(&address).await?.sadd(&key, &values).await?.into())
    }

    async fn smembers(&mut self, address: String, key: String) -> Result<Vec<String>, Error> {
        Ok(self.connect(&address).await?.smembers(&key).await?)
    }

    async fn srem(
        &mut self,
        address: String,
        key: String,
        values: Vec<String>,
    ) -> Result<i64, Error> {
        Ok(self.connect(&address).await?.srem(&key, &values).await?.into())
    }

    async fn execute(
        &mut self,
        address: String,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, Error> {
        Ok(theirs(self.connect(&address).await?.execute(&command, ours(arguments)).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::redis::Host;
    use super::*;
    use crate::tests::instance;

    #[tokio::test]
    async fn every_call_connects_and_an_error_is_just_an_error() {
        let server = test_servers::Redis::start().unwrap();
        let address = || server.address();
        let text = |text: &str| text.to_owned();
        let mut instance = instance();
        assert_eq!(Host::get(&mut instance, address(), text("k")).await.unwrap(), b"");
        Host::set(&mut instance, address(), text("k"), b"41".to_vec()).await.unwrap();
        assert_eq!(instance.incr(address(), text("k")).await.unwrap(), 42);
        let members = vec![text("a"), text("b")];
        assert_eq!(instance.sadd(address(), text("s"), members.clone()).await.unwrap(), 2);
        assert_eq!(instance.srem(address(), text("s"), vec![text("b")]).await.unwrap(), 1);
        assert_eq!(instance.smembers(address(), text("s")).await.unwrap(), ["a"]);
        Host::publish(&mut instance, address(), text("c"), vec![1]).await.unwrap();
        assert!(matches!(instance.incr(address(), text("s")).await, Err(Error::Error)));
        let keys = vec![text("k"), text("s"), text("none")];
        assert_eq!(instance.del(address(), keys).await.unwrap(), 2);
        let echo = vec![RedisParameter::Binary(b"x".to_vec())];
        let replies = instance.execute(address(), text("ECHO"), echo).await.unwrap();
        assert!(matches!(&replies[..], [RedisResult::Binary(bytes)] if bytes == b"x"));
        let denied = Host::get(&mut instance, text("rediss://127.0.0.1"), text("k")).await;
        assert!(matches!(denied, Err(Error::Error)));
    }
}
