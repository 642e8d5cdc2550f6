//! From a loaded app to the end of its life.

mod banner;
mod replacement;
mod running;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use app::Problems;
use host::{AppHost, Capability, HostSettings, InstanceState, Linking};
use process_setup::ExitCode;
use tokio::runtime::{Builder, Handle, Runtime};
use trigger::{AppParts, Ended, Replacements, Shutdown, Trigger, TriggerType, flush, shutdown};
use wasi_otel::GuestTelemetry;

use crate::supervisor::Optimized;
use crate::{Code, LoadedApp, Phases, RuntimeError, StopSignals, Supervisor};
use replacement::Replacement;
use running::Running;

/// An app that is ready to be served.
pub struct App {
    host: Arc<AppHost>,
    triggers: Vec<Box<dyn Trigger>>,
    /// None if all of it runs on optimized code.
    replacement: Option<Arc<Replacement>>,
}

/// Makes everything ready that needs no connection. Starts threads.
///
/// # Errors
/// Variables, allowed hosts, imports, triggers or routes are wrong.
pub async fn assemble(
    code: Code,
    loaded: LoadedApp,
    host: HostSettings,
    types: Vec<Box<dyn TriggerType>>,
) -> Result<App, RuntimeError> {
    let LoadedApp { app, components, first_tier } = loaded;
    let (engine, cache) = code.into_parts();
    let host = AppHost::new(&engine, &app, host).await?;
    let linking = linking();
    let replacements = (!first_tier.is_empty()).then(Arc::<Replacements>::default);
    let parts = AppParts {
        app: &app,
        host: &host,
        linking: &linking,
        components: &components,
        replacements: replacements.as_ref(),
    };
    let mut problems = Problems::default();
    let mut triggers = Vec::new();
    for kind in types {
        triggers.extend(kind.prepare(&parts, &mut problems).await);
    }
    let triggers = problems.into_result(triggers).map_err(RuntimeError::Triggers)?;
    let replacement = replacements.map(|replacements| {
        let (host, components) = (Arc::clone(&host), first_tier);
        Arc::new(Replacement::new(host, cache, linking, replacements, components))
    });
    Ok(App { host, triggers, replacement })
}

/// What guests may import: one line for each further capability.
fn linking() -> Linking {
    use wasi_snapshots::{candidates, snapshot_2023_10_18, snapshot_2023_11_10};
    let mut linking = Linking::standard();
    linking.add(Capability {
        name: "WASI of 2023-10-18",
        used_by: Some(snapshot_2023_10_18::is_used_by),
        provides: &[],
        link: snapshot_2023_10_18::add_to_linker::<InstanceState>,
    });
    linking.add(Capability {
        name: "WASI of 2023-11-10",
        used_by: Some(snapshot_2023_11_10::is_used_by),
        provides: &[],
        link: snapshot_2023_11_10::add_to_linker::<InstanceState>,
    });
    linking.add(Capability {
        name: "release candidates of wasi:http 0.3",
        used_by: None,
        provides: candidates::PROVIDES,
        link: candidates::add_to_linker::<InstanceState>,
    });
    linking.add(Capability {
        name: "wasi:otel",
        used_by: None,
        provides: wasi_otel::PROVIDES,
        link: |linker| wasi_otel::add_to_linker(linker, guest_telemetry),
    });
    linking
}

/// To whom an instance tells what it wants to.
fn guest_telemetry(state: &mut InstanceState) -> GuestTelemetry<'_> {
    GuestTelemetry { telemetry: state.component().app().telemetry(), instance: state.told() }
}

/// Where requests are served: threads of their own, or with one the thread of
/// the conversation with the supervisor.
#[derive(Debug)]
pub struct Workers {
    threads: Option<Runtime>,
    handle: Handle,
}

impl Workers {
    /// Starts threads; to be called on a tokio runtime.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(count: usize) -> Result<Self, RuntimeError> {
        if count <= 1 {
            return Ok(Self { threads: None, handle: Handle::current() });
        }
        let threads = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("worker")
            .enable_all()
            .build()
            .map_err(|source| RuntimeError::Process { attempt: "start threads", source })?;
        let handle = threads.handle().clone();
        Ok(Self { threads: Some(threads), handle })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Not by waiting, which would not be allowed where this is dropped, and
        // not for guests, which have had their time.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Has every trigger become ready, says so, and serves until a signal asks to
/// stop or a trigger has nothing left to do; then finishes what is in flight, for
/// `drain_timeout` at most. A second signal cuts it.
///
/// The exit code is that of the program if the guest was one, otherwise 0 when
/// nothing was cut. When the supervisor dies it is 1, at once: nobody would be
/// told about anything any more.
///
/// # Errors
/// A trigger cannot become ready or go on, or the supervisor is gone before the
/// app is ready.
pub async fn serve(app: App, workers: &Workers, life: Life<'_>) -> Result<ExitCode, RuntimeError> {
    let mut phases = Phases::default();
    let telemetry = app.host.telemetry();
    if let Some(server) = telemetry.listen().await? {
        // It answers as long as the process lives.
        tokio::spawn(server.serve());
    }
    let (shutdown, signal) = shutdown();
    let mut running = Running::start(app.triggers, workers, &signal);
    let serving = tokio::select! {
        serving = running.ready() => serving?,
        () = life.stop.next() => return Ok(ExitCode::Terminated),
    };
    phases.end("listen");
    let addresses: Vec<String> = serving.addresses.iter().map(ToString::to_string).collect();
    let banner = banner::banner(&addresses, &serving.routes);
    life.supervisor.listening(addresses, serving.routes, phases.into_vec()).await?;
    if life.in_container {
        // The stream is new, and takes as much without a reader.
        let _ = std::io::stdout().write_all(banner.as_bytes());
    }
    let drain = || {
        if let Some(metrics) = telemetry.metrics() {
            metrics.drains();
        }
        shutdown.drain(life.drain_timeout);
    };
    let ended = tokio::select! {
        ended = running.end(&shutdown, life.drain_timeout) => ended,
        () = stop(life.stop, drain, &shutdown) => return Ok(ExitCode::Failure),
        () = follow(life.supervisor, app.replacement.as_ref()) => {
            tracing::error!("the supervisor is gone; the app ends with it");
            return Ok(ExitCode::Failure);
        }
    };
    flush(&app.host).await;
    Ok(exit_code(&ended?))
}

/// Uses the optimized code that the supervisor has made, until it is gone.
async fn follow(supervisor: &Supervisor, replacement: Option<&Arc<Replacement>>) {
    while let Some(Optimized { digest, code }) = supervisor.optimized().await {
        let Some(replacement) = replacement else { continue };
        let error = replacement.apply(&digest, code).await.err();
        supervisor.replaced(digest, error).await;
    }
}

/// Who has a say in when an app ends.
#[derive(Debug)]
pub struct Life<'a> {
    /// Its death ends the app at once.
    pub supervisor: &'a Supervisor,
    /// The first drains, the second cuts.
    pub stop: &'a mut StopSignals,
    /// How long draining may take.
    pub drain_timeout: Duration,
    /// Whether the standard output is that of a container, and no terminal's.
    pub in_container: bool,
}

/// Passes on requests to stop; never ends.
async fn stop(stop: &mut StopSignals, drain: impl FnOnce(), shutdown: &Shutdown) {
    stop.next().await;
    tracing::info!("finishing what is in flight");
    drain();
    stop.next().await;
    tracing::warn!("asked to stop again: what is in flight is cut");
    shutdown.cut();
    std::future::pending::<()>().await;
}

fn exit_code(ended: &[Ended]) -> ExitCode {
    if let Some(code) = ended.iter().find_map(|ended| match ended {
        Ended::Exited(code) => Some(*code),
        _ => None,
    }) {
        return ExitCode::Program(code);
    }
    if ended.contains(&Ended::Cut) {
        let reason = "requests or messages in flight were cut: they did not finish in time";
        tracing::warn!("{reason}");
        crate::sandbox::leave_reason(reason);
        return ExitCode::Terminated;
    }
    ExitCode::Success
}
