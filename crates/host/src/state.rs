//! What belongs to an app, to a component, and to one instance of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};

use app::{LockedApp, LockedComponent, Problems};
use engine::{EpochTicker, InstanceLimiter, OnGrowth, Running};
use llm::{ComponentModels, RemoteModels};
use outbound_hosts::{AllowedHosts, BlockedNetworks, Destination};
use outbound_network::{ComponentNetwork, OutboundNetwork};
use telemetry::{Instance, SpanHandle, Telemetry};
use variables::{ComponentVariables, EnvironmentValues, Provider, VariableError, Variables};
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::cli::{StdinStream, StdoutStream};
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi_http::WasiHttpCtx;

use crate::HostError;
use crate::chaining::ChainedHandler;
use crate::guest_files::GuestFiles;
use crate::log_limit::LogLimit;
use crate::outbound_http::{HttpClient, Outbound};
use crate::output::{Output, Writes};
use crate::servers::{ComponentServers, InstanceServers, OutboundSettings, Servers};
use crate::sockets::SocketShares;
use crate::storage::{ComponentStorage, InstanceStorage, StorageSettings};

/// Resources (streams, bodies, headers, sockets, ...) an instance may hold at a
/// time.
pub const MAX_RESOURCES: usize = 100_000;

/// What the host needs to know before it can serve an app.
pub struct HostSettings {
    /// The environment that configures the app: the container's or the command
    /// line's. Guests never see it.
    pub environment: BTreeMap<String, String>,
    /// Who is asked for the value of a variable, in this order.
    pub providers: Vec<Provider>,
    /// Bytes of memory an instance may have; none: as much as the container.
    pub max_instance_memory: Option<u64>,
    /// Where stdout and stderr of guests go.
    pub output: Output,
    /// What the app may store things in.
    pub storage: StorageSettings,
    /// How components reach servers.
    pub outbound: OutboundSettings,
    /// Who runs language models.
    pub models: Option<Arc<RemoteModels>>,
    /// To whom the app tells about itself.
    pub telemetry: Telemetry,
    /// Called when no guest has run for some seconds, after each time in which one
    /// did; on a thread that may block for a moment.
    pub when_idle: fn(),
}

impl HostSettings {
    /// Settings from the environment that configures the app, output to the
    /// standard streams of this process, variables from the environment, and
    /// nothing stored but in memory.
    ///
    /// # Errors
    ///
    /// A `SPIN_MAX_INSTANCE_MEMORY` that is not a number of bytes.
    pub fn from_environment(environment: BTreeMap<String, String>) -> Result<Self, HostError> {
        let max_instance_memory = environment
            .get("SPIN_MAX_INSTANCE_MEMORY")
            .filter(|value| !value.is_empty())
            .map(|value| engine::parse_max_instance_memory(value))
            .transpose()?;
        let values = EnvironmentValues::new(Arc::new(environment.clone()), BTreeMap::new(), None);
        Ok(Self {
            environment,
            providers: vec![Provider::Environment(values)],
            max_instance_memory,
            output: Output::process(),
            storage: StorageSettings::default(),
            outbound: OutboundSettings::default(),
            models: None,
            telemetry: Telemetry::default(),
            when_idle: || (),
        })
    }
}

/// What all components and triggers of one app share.
pub struct AppHost {
    engine: Engine,
    ticker: EpochTicker,
    output: Output,
    max_instance_memory: Option<u64>,
    client: HttpClient,
    servers: Servers,
    chained: OnceLock<Weak<dyn ChainedHandler>>,
    variables: Variables,
    telemetry: Telemetry,
    components: BTreeMap<String, Prepared>,
}

/// What is known about a component from the app alone.
struct Prepared {
    environment: Vec<(String, String)>,
    variables: ComponentVariables,
    allowed_hosts: Arc<AllowedHosts>,
    storage: ComponentStorage,
    models: ComponentModels,
}

impl AppHost {
    /// Prepares everything that components of `app` may use. Asks remote
    /// providers only for variables in `allowed_outbound_hosts`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with variables, templates, allowed hosts, labels
    /// of stores and databases, and settings, all of it in one error.
    pub async fn new(
        engine: &Engine,
        app: &LockedApp,
        settings: HostSettings,
    ) -> Result<Arc<Self>, HostError> {
        let variables = Variables::resolve(app, &settings.providers);
        let ids: Vec<&str> = app.components.iter().map(|component| component.id.as_str()).collect();
        let mut problems = Problems::default();
        problems.extend(variables.check().err().map(|missing| missing.to_string()));
        let mut components = BTreeMap::new();
        for component in &app.components {
            let shared = (&variables, &settings);
            let prepared = prepare(component, shared, &ids, &mut problems).await;
            if let Some(prepared) = prepared {
                components.insert(component.id.clone(), prepared);
            }
        }
        let servers = Servers::new(settings.outbound, settings.telemetry.metrics());
        let h2c = settings.environment.get("SPIN_OUTBOUND_H2C_PRIOR_KNOWLEDGE");
        let client = HttpClient::new(h2c.map(String::as_str), servers.http().clone())?;
        let components = problems.into_result(components).map_err(HostError::Components)?;
        Ok(Arc::new(Self {
            engine: engine.clone(),
            ticker: EpochTicker::start(engine, settings.when_idle).map_err(HostError::Ticker)?,
            output: settings.output,
            max_instance_memory: settings.max_instance_memory,
            client,
            servers,
            chained: OnceLock::new(),
            variables,
            telemetry: settings.telemetry,
            components,
        }))
    }

    /// The engine that runs the app.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where stdout and stderr of guests go.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The application's variables.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// To whom the app tells about itself.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Lets `handler` answer requests that stay inside the app. The first caller
    /// wins; without one such requests fail with `destination-not-found`.
    pub fn set_chained_handler(&self, handler: Weak<dyn ChainedHandler>) {
        let _ = self.chained.set(handler);
    }

    pub(crate) fn chained(&self) -> Option<Arc<dyn ChainedHandler>> {
        self.chained.get()?.upgrade()
    }

    /// What components and triggers share on their way out.
    pub fn network(&self) -> &Arc<OutboundNetwork> {
        self.servers.network()
    }

    pub(crate) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// What instances of component `id` have in common; `files` is what they
    /// see of the file system.
    ///
    /// # Errors
    ///
    /// An id that the app does not have.
    pub fn component(
        self: &Arc<Self>,
        id: &str,
        files: GuestFiles,
    ) -> Result<Arc<ComponentContext>, HostError> {
        let prepared = self
            .components
            .get(id)
            .ok_or_else(|| HostError::UnknownComponent { id: id.to_owned() })?;
        Ok(Arc::new(ComponentContext {
            id: id.to_owned(),
            app: Arc::clone(self),
            environment: prepared.environment.clone(),
            variables: prepared.variables.clone(),
            servers: self.servers.of_component(id, &prepared.allowed_hosts),
            allowed_hosts: Arc::clone(&prepared.allowed_hosts),
            storage: prepared.storage.clone(),
            models: prepared.models.clone(),
            files,
            denials: LogLimit::default(),
        }))
    }
}

async fn prepare(
    component: &LockedComponent,
    (variables, settings): (&Variables, &HostSettings),
    ids: &[&str],
    problems: &mut Problems,
) -> Option<Prepared> {
    let place = |text: &dyn std::fmt::Display| format!("component {:?}: {text}", component.id);
    let own = variables.of_component(component);
    let entries = component.allowed_outbound_hosts().map_err(|error| {
        problems.extend(error.iter().map(|problem| place(&problem)));
    });
    let (entries, errors) = expand_all(variables, &entries.unwrap_or_default()).await;
    problems.extend(errors.iter().map(|error| place(error)));
    let allowed = AllowedHosts::parse(&entries, ids)
        .map_err(|errors| problems.extend(errors.iter().map(|error| place(error))));
    let own = own.map_err(|errors| {
        let errors = errors.iter().filter(|error| !is_told_already(error));
        problems.extend(errors.map(ToString::to_string));
    });
    let storage =
        settings.storage.of_component(component).map_err(|unknown| problems.extend(unknown));
    Some(Prepared {
        environment: component.env.clone().into_iter().collect(),
        variables: own.ok()?,
        allowed_hosts: Arc::new(allowed.ok()?),
        storage: storage.ok()?,
        models: ComponentModels::new(&component.metadata.ai_models, settings.models.clone()),
    })
}

/// The entries without variables, and what is wrong with others.
async fn expand_all(variables: &Variables, entries: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut expanded, mut errors) = (Vec::new(), Vec::new());
    for entry in entries {
        let place = format!("allowed_outbound_hosts entry {entry:?}");
        match variables.expand(entry, &place).await {
            Ok(entry) => expanded.push(entry),
            Err(error) if is_told_already(&error) => {}
            Err(error) => errors.push(http_client::chain(&error)),
        }
    }
    (expanded, errors)
}

/// Whether something is wrong only because a variable has no value.
fn is_told_already(error: &VariableError) -> bool {
    matches!(error, VariableError::Required { .. })
}

/// What an instance that is run as a program has beside what all instances of its
/// component have. The default is nothing: no argument and an empty stdin.
#[derive(Default)]
pub struct Program {
    /// The arguments, the program's name first.
    pub arguments: Vec<String>,
    /// Environment variables; those of the component win.
    pub environment: Vec<(String, String)>,
    /// Where it reads.
    pub stdin: Option<Box<dyn StdinStream + Sync>>,
    /// Where it writes instead of the app's [`Output`].
    pub stdout: Option<Box<dyn StdoutStream + Sync>>,
    /// How it writes to the app's [`Output`].
    pub writes: Writes,
}

impl Program {
    /// Its environment together with the `component`'s.
    fn environment(&self, component: &[(String, String)]) -> Vec<(String, String)> {
        let own = self.environment.iter();
        let own = own.filter(|(name, _)| component.iter().all(|(other, _)| other != name));
        own.chain(component).cloned().collect()
    }
}

/// What all instances of one component share.
pub struct ComponentContext {
    id: String,
    app: Arc<AppHost>,
    environment: Vec<(String, String)>,
    variables: ComponentVariables,
    allowed_hosts: Arc<AllowedHosts>,
    servers: ComponentServers,
    storage: ComponentStorage,
    models: ComponentModels,
    files: GuestFiles,
    pub(crate) denials: LogLimit,
}

impl ComponentContext {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The app it belongs to.
    pub fn app(&self) -> &Arc<AppHost> {
        &self.app
    }

    /// The variables it may read.
    pub fn variables(&self) -> &ComponentVariables {
        &self.variables
    }

    /// Where it may connect to.
    pub fn allowed_hosts(&self) -> &AllowedHosts {
        &self.allowed_hosts
    }

    /// How it gets there.
    pub(crate) fn network(&self) -> &ComponentNetwork {
        self.servers.network()
    }

    /// A store for one new instance. `depth` counts the components that called
    /// each other for the request it is made for; 0 for one from outside.
    ///
    /// While the store exists the epoch advances; a guest that computes yields
    /// to other tasks every [`engine::TICK`], so everything else on the same
    /// threads goes on. Nothing else limits how long it may run: whoever calls
    /// it drops the call.
    pub fn new_store(self: &Arc<Self>, depth: u32) -> Store<InstanceState> {
        self.new_program_store(depth, Program::default())
    }

    /// As [`Self::new_store`], for an instance that is run as a program.
    pub fn new_program_store(
        self: &Arc<Self>,
        depth: u32,
        program: Program,
    ) -> Store<InstanceState> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let told = self.app.telemetry.instance(&self.id);
        let on_growth = told.clone().map(|told| -> OnGrowth { Box::new(move |by| told.grown(by)) });
        let limiter = InstanceLimiter::new(self.app.max_instance_memory).observed_by(on_growth);
        let socket_shares = SocketShares::new(self.app.servers.sockets().clone());
        let state = InstanceState {
            wasi: self.wasi(program, Arc::clone(&socket_shares), told.as_ref()),
            socket_shares,
            http: WasiHttpCtx::new(),
            table,
            servers: self.servers.instance(told.as_ref()),
            storage: self.storage.instance(told.as_ref()),
            models: self.models.clone().telling(told.as_ref()),
            outbound: Outbound { component: Arc::clone(self), depth, told, makes_response: false },
            limiter,
            _running: self.app.ticker.running(),
        };
        let mut store = Store::new(&self.app.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| {
            // tokio's own yield, unlike waking the task at once, lets the runtime
            // look at sockets and timers before the guest goes on.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }

    fn wasi(
        &self,
        program: Program,
        shares: Arc<SocketShares>,
        told: Option<&Arc<Instance>>,
    ) -> WasiCtx {
        let (stdout, stderr) = self.app.output.instance(&self.id, program.writes, told);
        let (allowed, app) = (Arc::clone(&self.allowed_hosts), Arc::clone(&self.app));
        // Where nothing at all is allowed there are no sockets, as in Spin.
        let may_connect = !allowed.is_empty();
        let mut builder = WasiCtx::builder();
        builder
            .args(&program.arguments)
            .envs(&program.environment(&self.environment))
            .stdout(stdout)
            .stderr(stderr)
            .allow_tcp(may_connect)
            .allow_udp(may_connect)
            .socket_addr_check(move |address, purpose| {
                let blocked = app.servers.network().blocked();
                let may = may_use(&allowed, blocked, address, purpose) && shares.take(purpose);
                Box::pin(std::future::ready(may))
            });
        if let Some(stdin) = program.stdin {
            builder.stdin(stdin);
        }
        if let Some(stdout) = program.stdout {
            builder.stdout(stdout);
        }
        let mut context = builder.build();
        self.files.give_to(&mut context);
        context
    }
}

/// Whether a socket may be used in this way: guests connect where
/// `allowed_outbound_hosts` says so and never listen.
fn may_use(
    allowed: &AllowedHosts,
    blocked: &BlockedNetworks,
    address: SocketAddr,
    purpose: SocketAddrUse,
) -> bool {
    let scheme = match purpose {
        SocketAddrUse::TcpConnect => "tcp",
        SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => "udp",
        // What the system does by itself before it connects or sends.
        SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
            return address.ip().is_unspecified() && address.port() == 0;
        }
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => return false,
    };
    let host = address.ip().to_string();
    let grant = allowed.check(Destination { scheme, host: &host, port: Some(address.port()) });
    grant.is_some_and(|grant| blocked.permit(address.ip(), grant))
}

/// The state of one instance: the `T` of its store.
pub struct InstanceState {
    pub(crate) wasi: WasiCtx,
    pub(crate) http: WasiHttpCtx,
    pub(crate) table: ResourceTable,
    pub(crate) socket_shares: Arc<SocketShares>,
    pub(crate) outbound: Outbound,
    pub(crate) servers: InstanceServers,
    pub(crate) storage: InstanceStorage,
    pub(crate) models: ComponentModels,
    limiter: InstanceLimiter,
    _running: Running,
}

impl InstanceState {
    /// The component this is an instance of.
    pub fn component(&self) -> &ComponentContext {
        &self.outbound.component
    }

    /// What the instance took of its limits.
    pub fn limiter(&self) -> &InstanceLimiter {
        &self.limiter
    }

    /// What the instance tells about itself; none when nobody listens.
    pub fn told(&self) -> Option<&Arc<Instance>> {
        self.outbound.told.as_ref()
    }

    /// Says that the instance is made.
    pub fn made(&self) {
        if let Some(told) = self.told() {
            told.made();
        }
    }

    /// Says which span the instance works for from now on.
    pub fn works_for(&self, span: Option<SpanHandle>) {
        if let Some(told) = self.told() {
            told.works_for(span);
        }
    }

    /// Says that a request at `depth` is handled now, for instances that handle
    /// several.
    pub fn entered_at_depth(&mut self, depth: u32) {
        self.outbound.depth = self.outbound.depth.max(depth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_follow_allowed_outbound_hosts_and_never_listen() {
        let allowed =
            AllowedHosts::parse(&["tcp://127.0.0.0/8:7", "udp://10.0.0.1:53", "tcp://*:80"], &[])
                .unwrap();
        let blocked = BlockedNetworks::parse(&["192.0.2.0/24"]).unwrap();
        let may =
            |address: &str, purpose| may_use(&allowed, &blocked, address.parse().unwrap(), purpose);
        assert!(!may("192.0.2.1:80", SocketAddrUse::TcpConnect));
        assert!(may("127.0.0.1:7", SocketAddrUse::TcpConnect));
        assert!(!may("127.0.0.1:8", SocketAddrUse::TcpConnect));
        assert!(!may("127.0.0.1:7", SocketAddrUse::UdpSend));
        assert!(may("10.0.0.1:53", SocketAddrUse::UdpSend));
        assert!(may("10.0.0.1:53", SocketAddrUse::UdpReceive));
        assert!(may("8.8.8.8:80", SocketAddrUse::TcpConnect));
        assert!(!may("169.254.169.254:80", SocketAddrUse::TcpConnect));
        assert!(may("0.0.0.0:0", SocketAddrUse::TcpBind));
        assert!(may("[::]:0", SocketAddrUse::UdpBind));
        assert!(!may("0.0.0.0:8080", SocketAddrUse::TcpBind));
        assert!(!may("0.0.0.0:0", SocketAddrUse::TcpListen));
        assert!(!may("127.0.0.1:7", SocketAddrUse::TcpAccept));
    }
}
