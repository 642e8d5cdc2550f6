//! `fermyon:spin/mqtt@2.0.0`.

use wasmtime::component::{Linker, Resource};

use super::convert::conversions;
use crate::{InstanceConnections, OpenConnection, OutboundMqtt};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-2.wit",
        imports: { default: async | trappable },
        with: { "fermyon:spin/mqtt.connection": crate::OpenConnection },
    });
}

use bindings::fermyon::spin::mqtt::{self, Error, Qos};

conversions!(bindings::fermyon::spin::mqtt);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    mqtt::add_to_linker::<_, OutboundMqtt>(linker, connections)
}

type Answer<R> = wasmtime::Result<Result<R, Error>>;

impl mqtt::Host for InstanceConnections {}

impl mqtt::HostConnection for InstanceConnections {
    async fn open(
        &mut self,
        address: String,
        user: String,
        password: String,
        keep_alive: u64,
    ) -> Answer<Resource<OpenConnection>> {
        let opening = match self.opening() {
            Ok(opening) => opening,
            Err(error) => return Ok(Err(error.into())),
        };
        let connection = opening.connect(address, user, password, keep_alive).await;
        Ok(connection.and_then(|connection| self.keep(connection)).map_err(Error::from))
    }

    async fn publish(
        &mut self,
        connection: Resource<OpenConnection>,
        topic: String,
        payload: Vec<u8>,
        quality: Qos,
    ) -> Answer<()> {
        let connection = self.connection(&connection)?;
        Ok(connection.publish(topic, payload, quality.into()).await.map_err(Error::from))
    }

    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}
