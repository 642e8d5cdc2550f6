//! From a loaded app to the end of its life.

use std::future::Future;
use std::time::Duration;

use host::{AppHost, Capability, HostSettings, InstanceState, Linking};
use http_trigger::{
    AppParts, BoundServer, Ended, HttpApp, HttpSettings, Shutdown, ShutdownSignal, shutdown,
};
use process_setup::ExitCode;
use tokio::runtime::{Builder, Handle, Runtime};
use wasmtime::Engine;

use crate::{LoadedApp, Phases, ReservedAddress, RuntimeError, StopSignals, Supervisor};

/// Makes everything ready that does not need a listener. Starts threads.
///
/// # Errors
/// Variables, allowed hosts, imports, triggers or routes are wrong.
pub fn assemble(
    engine: &Engine,
    loaded: LoadedApp,
    host: HostSettings,
    settings: HttpSettings,
) -> Result<HttpApp, RuntimeError> {
    let LoadedApp { app, components } = loaded;
    let host = AppHost::new(engine, &app, host)?;
    let linking = linking();
    Ok(HttpApp::new(AppParts { app: &app, host, linking: &linking, components, settings })?)
}

/// What guests may import: one line for each further capability.
fn linking() -> Linking {
    use wasi_snapshots::{snapshot_2023_10_18, snapshot_2023_11_10};
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
    linking
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

    /// Runs a future there.
    async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        self.handle.spawn(future).await.map_err(|error| RuntimeError::Process {
            attempt: "serve",
            source: std::io::Error::other(error),
        })
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

/// Listens, says so, and serves until a signal asks to stop; then finishes the
/// requests in flight for `drain_timeout` at most. A second signal cuts them.
///
/// The exit code is 0 when nothing was cut. When the supervisor dies it is 1, at
/// once: nobody would be told about anything any more.
///
/// # Errors
/// The address is taken, or the supervisor is gone before the app listens.
pub async fn serve(
    app: HttpApp,
    reserved: ReservedAddress,
    workers: &Workers,
    life: Life<'_>,
) -> Result<ExitCode, RuntimeError> {
    let mut phases = Phases::default();
    let listener = reserved.listen()?;
    let server = workers.run(async move { app.listen_on(listener) }).await??;
    phases.end("listen");
    let addresses = server.addresses().iter().map(ToString::to_string).collect();
    life.supervisor.listening(addresses, server.routes(), phases.into_vec()).await?;
    let (shutdown, signal) = shutdown();
    let serving = workers.run(run(server, signal));
    tokio::select! {
        ended = serving => Ok(exit_code(ended?)),
        () = stop(life.stop, &shutdown, life.drain_timeout) => Ok(ExitCode::Failure),
        () = life.supervisor.gone() => {
            tracing::error!("the supervisor is gone; the app ends with it");
            Ok(ExitCode::Failure)
        }
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
}

async fn run(server: BoundServer, signal: ShutdownSignal) -> Ended {
    server.serve(signal).await
}

/// Passes on requests to stop; never ends.
async fn stop(signals: &mut StopSignals, shutdown: &Shutdown, drain_timeout: Duration) {
    signals.next().await;
    tracing::info!("finishing the requests in flight");
    shutdown.drain(drain_timeout);
    signals.next().await;
    tracing::warn!("asked to stop again: requests in flight are cut");
    shutdown.cut();
    std::future::pending::<()>().await;
}

fn exit_code(ended: Ended) -> ExitCode {
    match ended {
        Ended::Drained => ExitCode::Success,
        Ended::Cut => {
            let reason = "requests in flight were cut: they did not finish in time";
            tracing::warn!("{reason}");
            crate::sandbox::leave_reason(reason);
            ExitCode::Terminated
        }
    }
}
