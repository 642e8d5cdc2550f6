//! The daemon's life: serve until containerd says shut down or the system ends.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::asynchronous::Server;
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::process::{adoptions_ended, sweep_orphans};
use crate::service::TaskService;

/// How long tasks may drain after the shim itself is told to end, well below
/// the 90 seconds that a system gives at its own shutdown.
const GRACE: Duration = Duration::from_secs(30);
/// How long a shim goes on without a task. Between a start and the create for it
/// containerd does nothing that takes long; a longer pause means that it died.
const IDLE: Duration = Duration::from_secs(30);
/// How long a zombie that nobody owns may stay.
const SWEEP: Duration = Duration::from_millis(100);
/// How long events and answers may take to leave when the shim ends.
const FLUSH: Duration = Duration::from_secs(2);

/// Why the daemon cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No handler for a signal.
    #[error("cannot handle signals")]
    Signals(#[source] std::io::Error),
    /// The inherited socket is not usable.
    #[error("cannot listen on the shim's socket")]
    Listen(#[source] std::io::Error),
    /// ttrpc does not start.
    #[error("cannot serve the task service")]
    Serve(#[source] ttrpc::Error),
}

/// Serves until containerd has deleted every task and shut the service down, until
/// there has been no task for 30 seconds, or until SIGTERM or SIGINT, which end
/// the tasks first. Removes `socket` at the end.
///
/// To be called on a current-thread runtime, from the thread that starts child
/// processes: as long as that thread lives, so do they.
///
/// # Errors
/// Fails when serving cannot begin; afterwards it goes on whatever happens.
pub async fn serve(
    listener: UnixListener,
    socket: &Path,
    service: TaskService,
) -> Result<(), ServeError> {
    let handler = |kind| signal(kind).map_err(ServeError::Signals);
    let mut terminate = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;
    let children = handler(SignalKind::child())?;
    // A log whose reader has gone must not end the shim.
    let _pipe = handler(SignalKind::pipe())?;

    let listener = Listener::try_from(listener).map_err(ServeError::Listen)?;
    let mut server = Server::new().add_listener(listener).register_service(service.methods());
    server.start().await.map_err(ServeError::Serve)?;
    let sweeper = tokio::spawn(sweep(children));

    tokio::select! {
        () = service.shut_down() => tracing::info!("shut down by containerd"),
        () = service.abandoned(IDLE) => tracing::warn!("ended: nobody uses this shim"),
        _ = terminate.recv() => service.terminate(GRACE).await,
        _ = interrupt.recv() => service.terminate(GRACE).await,
    }
    // First the name, then the listener: nobody finds a dead socket.
    let _ = fs_err::remove_file(socket);
    service.flush_events(FLUSH).await;
    let _ = timeout(FLUSH, server.shutdown()).await;
    sweeper.abort();
    Ok(())
}

async fn sweep(mut children: Signal) {
    loop {
        tokio::select! {
            child = children.recv() => if child.is_none() { return },
            () = adoptions_ended() => {}
        }
        // By then whoever owns a child that has ended has reaped it.
        sleep(SWEEP).await;
        sweep_orphans();
    }
}
