//! Servers that components reach over protocols of their own: Redis, PostgreSQL,
//! MySQL and MQTT.

use std::sync::Arc;

use outbound_hosts::{AllowedHosts, BlockedNetworks};
use outbound_mqtt::ComponentMqtt;
use outbound_mysql::ComponentMysql;
use outbound_network::{
    ComponentNetwork, Limit, NotPermitted, OutboundNetwork, PermitObserver, TlsRule,
};
use outbound_postgres::ComponentPostgres;
use outbound_redis::ComponentRedis;
use telemetry::{Calls, Instance, Metrics};
use wasmtime::component::Linker;

use crate::outbound_http::HttpConnections;
use crate::{InstanceState, LogLimit};

/// How the components of an app reach servers.
#[derive(Debug, Clone)]
pub struct OutboundSettings {
    /// Networks that nothing leads to, whatever is allowed.
    pub blocked_networks: BlockedNetworks,
    /// Whom connections trust and who they are; where no rule is about them, they
    /// trust the platform's certificates and Mozilla's.
    pub tls: Vec<TlsRule>,
    /// Connections of every kind at a time; none: no limit.
    pub connections: Option<usize>,
    /// Sockets of guests that are connected or bound; none: no limit.
    pub sockets: Option<usize>,
    /// Whether connections of HTTP are used again.
    pub http_pooling: bool,
    /// Connections of HTTP; none: no limit.
    pub http_connections: Option<usize>,
    /// Connections to Redis servers in use at a time; none: no limit.
    pub redis_connections: Option<usize>,
    /// Connections to PostgreSQL servers in use at a time; none: no limit.
    pub postgres_connections: Option<usize>,
    /// Connections to MySQL servers in use at a time; none: no limit.
    pub mysql_connections: Option<usize>,
    /// Connections to MQTT brokers at a time; none: no limit.
    pub mqtt_connections: Option<usize>,
    /// Bytes of an MQTT message; none: as many as MQTT allows.
    pub mqtt_payload: Option<usize>,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            blocked_networks: BlockedNetworks::default(),
            tls: Vec::new(),
            connections: None,
            sockets: None,
            http_pooling: true,
            http_connections: None,
            redis_connections: None,
            postgres_connections: None,
            mysql_connections: None,
            mqtt_connections: None,
            mqtt_payload: None,
        }
    }
}

/// What an app has for reaching servers; nothing is open before it is used.
pub(crate) struct Servers {
    network: Arc<OutboundNetwork>,
    http: HttpConnections,
    sockets: Limit,
    redis: Arc<outbound_redis::Connections>,
    postgres: Arc<outbound_postgres::Connections>,
    mysql: Arc<outbound_mysql::Connections>,
    mqtt: Arc<outbound_mqtt::Connections>,
}

impl Servers {
    pub(crate) fn new(settings: OutboundSettings, metrics: Option<&Arc<Metrics>>) -> Self {
        let OutboundSettings { blocked_networks, connections, tls, .. } = settings;
        let observer = metrics.map(|metrics| {
            let counted: Arc<dyn PermitObserver> = Arc::new(Counted(Arc::clone(metrics)));
            counted
        });
        let network = OutboundNetwork::observed(blocked_networks, connections, tls, observer);
        let limit = |kind, of_kind| network.limit(kind, of_kind);
        let mqtt = outbound_mqtt::Limits {
            connections: limit("mqtt", settings.mqtt_connections),
            payload: settings.mqtt_payload,
        };
        let postgres =
            outbound_postgres::Connections::new(limit("pg", settings.postgres_connections));
        let redis = outbound_redis::Connections::new(limit("redis", settings.redis_connections));
        let mysql = outbound_mysql::Connections::new(limit("mysql", settings.mysql_connections));
        Self {
            http: HttpConnections {
                pooling: settings.http_pooling,
                limit: limit("http", settings.http_connections),
            },
            sockets: limit("socket", settings.sockets),
            redis: Arc::new(redis),
            postgres: Arc::new(postgres),
            mysql: Arc::new(mysql),
            mqtt: Arc::new(outbound_mqtt::Connections::new(mqtt)),
            network: Arc::new(network),
        }
    }

    /// What components and triggers share on their way out.
    pub(crate) fn network(&self) -> &Arc<OutboundNetwork> {
        &self.network
    }

    /// How connections of HTTP are kept.
    pub(crate) fn http(&self) -> &HttpConnections {
        &self.http
    }

    /// How many sockets guests may have.
    pub(crate) fn sockets(&self) -> &Limit {
        &self.sockets
    }

    /// What component `id`, which may reach `allowed`, uses.
    pub(crate) fn of_component(&self, id: &str, allowed: &Arc<AllowedHosts>) -> ComponentServers {
        let network = Arc::new(ComponentNetwork::new(
            id,
            Arc::clone(&self.network),
            Arc::clone(allowed),
            report_denials_of(id.to_owned()),
        ));
        let network = || Arc::clone(&network);
        ComponentServers {
            network: network(),
            redis: Arc::new(ComponentRedis::new(network(), Arc::clone(&self.redis))),
            postgres: Arc::new(ComponentPostgres::new(network(), Arc::clone(&self.postgres))),
            mysql: Arc::new(ComponentMysql::new(network(), Arc::clone(&self.mysql))),
            mqtt: Arc::new(ComponentMqtt::new(network(), Arc::clone(&self.mqtt))),
        }
    }
}

/// Counts what limits permit.
struct Counted(Arc<Metrics>);

impl PermitObserver for Counted {
    fn permitted(&self, kind: &'static str, waited: bool) {
        self.0.permits().acquired(kind, waited);
    }

    fn refused(&self, kind: &'static str) {
        self.0.permits().rejected(kind);
    }
}

/// Logs what component `id` was denied.
fn report_denials_of(id: String) -> impl Fn(&NotPermitted) + Send + Sync {
    let limit = LogLimit::default();
    move |denied| {
        if let Some(suppressed) = limit.permit() {
            tracing::warn!(
                component = id,
                suppressed,
                "a connection to {destination} was denied: allow it by adding \
                 {destination:?} to the component's `allowed_outbound_hosts`",
                destination = denied.destination(),
            );
        }
    }
}

/// What a component may reach.
#[derive(Debug, Clone)]
pub(crate) struct ComponentServers {
    network: Arc<ComponentNetwork>,
    redis: Arc<ComponentRedis>,
    postgres: Arc<ComponentPostgres>,
    mysql: Arc<ComponentMysql>,
    mqtt: Arc<ComponentMqtt>,
}

impl ComponentServers {
    /// Where the component may connect to.
    pub(crate) fn network(&self) -> &ComponentNetwork {
        &self.network
    }

    /// For a new instance, which has nothing open.
    pub(crate) fn instance(&self, told: Option<&Arc<Instance>>) -> InstanceServers {
        let calls = |key, system| Calls::of(told, (key, system));
        InstanceServers {
            redis: outbound_redis::InstanceConnections::new(Arc::clone(&self.redis))
                .telling(calls("db.system", "redis")),
            postgres: outbound_postgres::InstanceConnections::new(Arc::clone(&self.postgres))
                .telling(calls("db.system", "postgresql")),
            mysql: outbound_mysql::InstanceConnections::new(Arc::clone(&self.mysql))
                .telling(calls("db.system", "mysql")),
            mqtt: outbound_mqtt::InstanceConnections::new(Arc::clone(&self.mqtt))
                .telling(calls("messaging.system", "mqtt")),
        }
    }
}

/// What an instance has open.
pub(crate) struct InstanceServers {
    redis: outbound_redis::InstanceConnections,
    postgres: outbound_postgres::InstanceConnections,
    mysql: outbound_mysql::InstanceConnections,
    mqtt: outbound_mqtt::InstanceConnections,
}

pub(crate) fn link_redis(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    outbound_redis::add_to_linker(linker, |state| &mut state.servers.redis)
}

pub(crate) fn link_postgres(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    outbound_postgres::add_to_linker(linker, |state| &mut state.servers.postgres)
}

pub(crate) fn link_mysql(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    outbound_mysql::add_to_linker(linker, |state| &mut state.servers.mysql)
}

pub(crate) fn link_mqtt(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    outbound_mqtt::add_to_linker(linker, |state| &mut state.servers.mqtt)
}
