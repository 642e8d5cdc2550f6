//! The containerd shim for Spin applications, runtime type `io.containerd.spin.v2`.
//!
//! containerd runs this program to start, describe and clean up after a shim;
//! `start` runs it once more as the daemon that serves one pod, and the daemon once
//! more to hold the namespaces of a pod without a pause container. A node's
//! administrator can have it compile apps as their images are pulled. It contains no
//! wasm engine: each Spin container is a runtime process of its own.

mod compilers;
mod container_process;
mod conversation;
mod features;
mod image_compiler;
mod linux_container;
mod linux_workload;
mod memory_watch;
mod metrics;
mod native_program;
mod optimizing;
mod outline;
mod phases;
mod pod_configuration;
mod pod_files;
mod pod_holder;
mod pod_sandbox;
mod reclaim;
mod settings;
mod spin_container;
mod spin_exec;
mod spin_workload;
mod systemd;
mod termination_message;
mod workload;

use std::ffi::OsString;
use std::io::Write;

use anyhow::Context;
use containerd_task::bootstrap::{self, Flags, Invocation, Surroundings};
use containerd_task::{Publisher, TaskService};
use process_setup::{ALLOCATOR, Environment, ExitCode, LogFormat, chain, start_logging};

use phases::Clock;
use settings::Settings;
use workload::PodWorkload;

/// The runtime type under which containerd finds this program.
const RUNTIME: &str = "io.containerd.spin.v2";
/// Environment variables that are handed on to the daemon, the runtime and the
/// compiler start with this.
const OURS: &str = "SPINLET_";

fn main() -> ExitCode {
    let clock = Clock::now();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(clock, &arguments) {
        Ok(()) => ExitCode::Success,
        Err(error) => {
            // containerd shows this as the reason.
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "{}", chain(error.as_ref()));
            ExitCode::Failure
        }
    }
}

fn run(clock: Clock, arguments: &[OsString]) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    if let [action, folder] = arguments
        && action == pod_holder::ACTION
    {
        return pod_holder::hold(folder.as_ref());
    }
    if let [action, socket, namespace] = arguments
        && action == image_compiler::ACTION
    {
        return image_compiler::run(socket.as_ref(), &namespace.to_string_lossy());
    }
    match Invocation::parse(arguments)? {
        Invocation::Info => {
            answer(&bootstrap::runtime_info(RUNTIME, version, &features::features())?)
        }
        Invocation::Version => {
            answer(format!("containerd-shim-spin-v2 (Spinlet) {version}\n").as_bytes())
        }
        Invocation::Start(flags) => start(clock, &flags),
        Invocation::Delete(flags) => {
            answer(&bootstrap::delete(&flags, |bundle| reclaim::reclaim(bundle, &flags.id))?)
        }
        Invocation::Serve(flags) => serve(&flags),
    }
}

/// Writes the answer to containerd, whole, as the last thing.
fn answer(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context("cannot write the answer")
}

fn start(clock: Clock, flags: &Flags) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    // What the daemon would stumble over is better said here, where containerd
    // shows it.
    Settings::read(&environment)?;
    let text = |name| environment.text(name).unwrap_or_default().to_owned();
    let surroundings = Surroundings {
        ttrpc_address: text("TTRPC_ADDRESS"),
        grpc_address: text("GRPC_ADDRESS"),
        daemon_environment: settings::of_daemon()
            .chain([clock.to_variable(), (ALLOCATOR.0.into(), ALLOCATOR.1.into())])
            .collect(),
    };
    answer(&bootstrap::start(flags, &surroundings)?)
}

fn serve(flags: &Flags) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    let settings = Settings::read(&environment)?;
    let listener = bootstrap::become_daemon()?;
    let filter = if flags.debug { "debug" } else { settings.log_filter.as_str() };
    start_logging(filter, LogFormat::Text)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let served = runtime.block_on(async {
        let ttrpc = environment.text("TTRPC_ADDRESS").unwrap_or_default();
        let publisher = Publisher::new(ttrpc, &flags.namespace);
        let workload = PodWorkload::new(settings, flags, Clock::from_variable(&environment))?;
        let service = TaskService::new(&flags.namespace, &flags.id, workload, publisher);
        let socket = bootstrap::socket_path(&flags.socket);
        containerd_task::serve(listener, socket, service).await.map_err(anyhow::Error::from)
    });
    if let Err(error) = &served {
        tracing::error!("{}", chain(error.as_ref()));
    }
    served
}
