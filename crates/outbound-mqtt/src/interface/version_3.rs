//! `spin:mqtt/mqtt@3.0.0`: every function is async, so several messages may be on
//! their way at the same time.

use wasmtime::component::{Accessor, Linker, Resource};

use super::convert::conversions;
use crate::{InstanceConnections, OpenConnection, OutboundMqtt};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/version-3.wit",
        imports: { default: async | trappable },
        with: { "spin:mqtt/mqtt.connection": crate::OpenConnection },
    });
}

use bindings::spin::mqtt::mqtt::{self, Error, Qos};

conversions!(bindings::spin::mqtt::mqtt);

pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    connections: fn(&mut T) -> &mut InstanceConnections,
) -> wasmtime::Result<()> {
    mqtt::add_to_linker::<_, OutboundMqtt>(linker, connections)
}

type Answer<R> = wasmtime::Result<Result<R, Error>>;

impl mqtt::Host for InstanceConnections {}

impl mqtt::HostConnection for InstanceConnections {
    async fn drop(&mut self, connection: Resource<OpenConnection>) -> wasmtime::Result<()> {
        Ok(self.close(connection)?)
    }
}

impl<T: Send> mqtt::HostConnectionWithStore<T> for OutboundMqtt {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
        user: String,
        password: String,
        keep_alive: u64,
    ) -> Answer<Resource<OpenConnection>> {
        let opening = match accessor.with(|mut access| access.get().opening()) {
            Ok(opening) => opening,
            Err(error) => return Ok(Err(error.into())),
        };
        let connection = opening.connect(address, user, password, keep_alive).await;
        let kept = connection
            .and_then(|connection| accessor.with(|mut access| access.get().keep(connection)));
        Ok(kept.map_err(Error::from))
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        resource: Resource<OpenConnection>,
        topic: String,
        payload: Vec<u8>,
        quality: Qos,
    ) -> Answer<()> {
        let connection = accessor.with(|mut access| access.get().connection(&resource))?;
        Ok(connection.publish(topic, payload, quality.into()).await.map_err(Error::from))
    }
}
