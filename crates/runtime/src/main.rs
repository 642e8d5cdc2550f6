//! spinlet-runtime: one Spin app, in its container.

use std::io::Write as _;
use std::time::Duration;

use control::RunSpec;
use host::HostSettings;
use process_setup::{ExitCode, chain, start_logging};
use runtime::serve::{Life, Workers, assemble, serve};
use runtime::{
    Code, Configuration, LoadedApp, Phases, RuntimeError, Sandbox, Settings, StopSignals,
    Supervisor, checks, log_dir, source, state_dir,
};
use telemetry::Telemetry;
use trigger::Surroundings;

/// How long sending the last telemetry may take: draining, 25 s unless the app says
/// otherwise, what guests wrote last, and this fit into the 30 s that a kubelet gives.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // One thread: a container is entered with one. More are started for serving.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|source| RuntimeError::Process { attempt: "start", source }) {
        Ok(runtime) => runtime.block_on(supervised()),
        Err(error) => report(&error),
    }
}

/// Runs what the supervisor says and tells it, and a person, if that fails.
async fn supervised() -> ExitCode {
    let (supervisor, spec, mut stop) = match begin().await {
        Ok(begun) => begun,
        Err(error) => return report(&error),
    };
    let in_container = spec.sandbox.is_some();
    match run(&supervisor, spec, &mut stop).await {
        Ok(code) => code,
        Err(error) => {
            supervisor.failed(&chain(&error)).await;
            // The command line shows what it is told; a container has its log.
            if in_container { report(&error) } else { ExitCode::Failure }
        }
    }
}

async fn begin() -> Result<(Supervisor, RunSpec, StopSignals), RuntimeError> {
    let supervisor = Supervisor::of_process()?;
    let stop = StopSignals::install()?;
    let spec = supervisor.run_spec().await?;
    Ok((supervisor, spec, stop))
}

/// From what to run to its end.
async fn run(
    supervisor: &Supervisor,
    spec: RunSpec,
    stop: &mut StopSignals,
) -> Result<ExitCode, RuntimeError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let surroundings = Surroundings {
        environment: &spec.environment,
        default_listen: &spec.default_listen,
        arguments: &spec.args,
    };
    let mut settings = Settings::read(&surroundings, processors)?;
    log(&settings);
    let mut phases = Phases::default();
    let loading = load(supervisor, &spec, &mut settings, &mut phases);
    let Some((code, loaded)) = (tokio::select! {
        loaded = loading => loaded?,
        () = stop.next() => return Ok(ExitCode::Terminated),
    }) else {
        supervisor.not_spin().await?;
        return Ok(ExitCode::Success);
    };
    let configuration = Configuration::read(&spec)?;
    let folder = configuration.config().state_dir.as_ref();
    let state_dir = state_dir::choose(settings.state_dir, folder, &spec);
    let telemetry = Telemetry::start(settings.telemetry)?;
    let log_dir = configuration.config().log_dir.as_ref();
    let host = HostSettings {
        output: log_dir::copied(settings.host.output, settings.log_dir, log_dir)?,
        telemetry: telemetry.clone(),
        when_idle: container::heap::trim,
        ..settings.host
    };
    let host = configuration.apply(host, &state_dir)?;
    let app = assemble(code, loaded, host, settings.triggers).await?;
    let workers = Workers::start(settings.workers)?;
    phases.end("assemble");
    tokio::select! {
        started = supervisor.created(phases.into_vec()) => started?,
        () = stop.next() => return Ok(ExitCode::Terminated),
    }
    let drain_timeout = settings.drain_timeout;
    let in_container = spec.sandbox.is_some();
    let life = Life { supervisor, stop, drain_timeout, in_container };
    let served = serve(app, &workers, life).await;
    telemetry.finish(LAST_WORDS).await;
    served
}

/// Finds and maps the app, enters the container and drops all privileges; none
/// when there is no Spin app.
async fn load(
    supervisor: &Supervisor,
    spec: &RunSpec,
    settings: &mut Settings,
    phases: &mut Phases,
) -> Result<Option<(Code, LoadedApp)>, RuntimeError> {
    let sandbox = Sandbox::prepare(spec.sandbox.as_ref())?;
    let code = Code::open(&spec.cache_dir, spec.first_tier)?;
    phases.end("engine");
    let artifact = source::resolve(&spec.app).await?;
    phases.end("artifact");
    let outside = match artifact {
        Some(artifact) => Some(load_app(artifact, settings, &code, supervisor, phases).await?),
        None => None,
    };
    let entered = sandbox.enter()?;
    phases.end("sandbox");
    let loaded = match outside {
        Some(loaded) => loaded,
        None if !entered.is_container() => return Ok(None),
        None => match source::of_root_filesystem()? {
            Some(artifact) => load_app(artifact, settings, &code, supervisor, phases).await?,
            None => return Ok(None),
        },
    };
    for kind in &mut settings.triggers {
        kind.reserve()?;
    }
    entered.drop_privileges()?;
    phases.end("sandbox");
    Ok(Some((code, loaded)))
}

async fn load_app(
    mut artifact: artifact::Artifact,
    settings: &mut Settings,
    code: &Code,
    supervisor: &Supervisor,
    phases: &mut Phases,
) -> Result<LoadedApp, RuntimeError> {
    if let Some(selection) = &settings.retain {
        artifact.retain_components(selection)?;
    }
    checks::check(&artifact.app, &settings.triggers)?;
    settings.triggers.retain(|kind| artifact.app.triggers_of(kind.name()).next().is_some());
    let required = checks::required_components(&artifact.app);
    code.load(&artifact, &required, supervisor, phases).await
}

fn log(settings: &Settings) {
    if let Err(error) = start_logging(&settings.log_filter, settings.log_format) {
        report(&error);
    }
    if let Some(problem) = &settings.log_problem {
        tracing::warn!("RUST_LOG is not used: {problem}");
    }
}

/// One line on standard error for a person.
fn report(error: &dyn std::error::Error) -> ExitCode {
    // Nobody is left to be told when even that fails.
    let _ = writeln!(std::io::stderr().lock(), "error: {}", chain(error));
    ExitCode::Failure
}
