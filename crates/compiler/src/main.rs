//! `spinlet-compiler`: reads a component's or core module's bytes, or the bundle of
//! a composition, from standard input, writes one entry of the node's code cache, and ends.
//!
//! The supervisor starts it, in a control group of its own, when a runtime
//! process finds that the cache lacks code. Any number may be started for the
//! same digest: one compiles, the others wait for it and then report what it
//! made. Killing one at any moment leaves the cache as it was.
//!
//! On success it prints one line of JSON, a [`Report`], and exits with 0. Asked to
//! compose, it writes the composed component there instead and no cache. On
//! failure it prints one sentence on standard error and exits with 1, or with 2
//! if its arguments are wrong.

mod arguments;
mod restraint;
mod threads;

use std::borrow::Cow;
use std::io::{self, Read as _, Write as _};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use app::{Composition, Digest};
use engine::{Cache, CompiledCode, Lock, NativeCode, Tier};
use process_setup::{Environment, ExitCode};
use serde::Serialize;

use arguments::{Arguments, Task};

/// The largest source that is compiled, in bytes: ten times a large Python app.
const MAX_SOURCE: u64 = 256 << 20;

/// From which size on, in bytes, a component brings an interpreter or a runtime
/// of its own that other components have too. Smaller ones are compiled in less
/// than a second.
const WORTH_SHARING: usize = 1 << 20;

/// What was done, as one JSON object.
#[derive(Debug, Serialize)]
struct Report {
    /// Digest of the source, `sha256:<hex>`.
    digest: String,
    /// Of which tier the code is that the cache has now: the one asked for, or a
    /// better one that it had already.
    tier: &'static str,
    /// Whether the cache had the code already; nothing was read or compiled then.
    cached: bool,
    /// Whether it had first-tier code, which has been removed for optimized code.
    replaced_first_tier: bool,
    /// Length of the source; null if it was not read.
    source_bytes: Option<u64>,
    /// Length of the compiled code.
    code_bytes: u64,
    /// Functions that were compiled for another component before; null if none
    /// were looked for.
    functions_reused: Option<u64>,
    /// Wall time from start to end, waiting for another compiler included.
    millis: u64,
}

fn main() -> ExitCode {
    let started = Instant::now();
    let task = match Task::parse(std::env::args_os().skip(1), &Environment::of_process()) {
        Ok(task) => task,
        Err(error) => return fail(&error, ExitCode::Usage),
    };
    let result = match &task {
        Task::Compile(arguments) => run(arguments, started)
            .with_context(|| format!("component {:?} cannot be compiled", arguments.component)),
        Task::Compose { digest, component } => {
            compose(digest).with_context(|| format!("component {component:?} cannot be composed"))
        }
    };
    match result {
        Ok(()) => ExitCode::Success,
        Err(error) => fail(&error, ExitCode::Failure),
    }
}

fn fail(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    // There is nobody left to tell if standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}", process_setup::chain(error.as_ref()));
    code
}

fn run(arguments: &Arguments, started: Instant) -> anyhow::Result<()> {
    let Arguments { digest, tier, .. } = arguments;
    let optimized = Cache::open(&arguments.cache, arguments.max_bytes)?;
    let (code, tier, made) = match (optimized.lookup(digest)?, tier) {
        (Some(code), _) => (code, Tier::Optimized, None),
        (None, Tier::Optimized) => {
            let (code, made) = make(&optimized, digest, Tier::Optimized)?;
            (code, Tier::Optimized, made)
        }
        (None, Tier::First) => {
            let (code, made) = make(&optimized.first_tier()?, digest, Tier::First)?;
            (code, Tier::First, made)
        }
    };
    let report = Report {
        digest: digest.to_string(),
        tier: tier.as_str(),
        cached: made.is_none(),
        replaced_first_tier: tier == Tier::Optimized && optimized.remove_first_tier(digest)?,
        source_bytes: made.as_ref().map(|made| made.source_bytes),
        code_bytes: code.len(),
        functions_reused: made.and_then(|made| made.functions_reused),
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let line = serde_json::to_string(&report)?;
    writeln!(io::stdout().lock(), "{line}").context("cannot write the report")
}

/// What this process did itself.
struct Made {
    source_bytes: u64,
    functions_reused: Option<u64>,
}

/// Makes the entry, or waits for whoever is making it; then nothing was made here.
fn make(
    cache: &Cache,
    digest: &Digest,
    tier: Tier,
) -> anyhow::Result<(CompiledCode, Option<Made>)> {
    let lock = cache.lock(digest, None)?;
    if let Some(code) = cache.lookup(digest)? {
        return Ok((code, None));
    }
    restraint::restrain()?;
    let source = read_source()?;
    let component = component(&source, digest)?;
    threads::start()?;
    let (native, functions_reused) = compile(&component, &lock, tier)?;
    let made = Made { source_bytes: source.len() as u64, functions_reused };
    Ok((lock.insert(&native)?, Some(made)))
}

/// Compiles `component`, a large one from functions that the node has already.
/// Those of a first tier are not worth keeping.
fn compile(
    component: &[u8],
    lock: &Lock<'_>,
    tier: Tier,
) -> anyhow::Result<(NativeCode, Option<u64>)> {
    if tier == Tier::First || component.len() < WORTH_SHARING {
        return Ok((engine::compile(component, tier, None)?, None));
    }
    let functions = lock.functions();
    let native = engine::compile(component, tier, Some(&functions))?;
    // What cannot be kept makes later compilations slower; this one is complete.
    let reused = functions.keep().map_or(0, |reuse| reuse.found);
    Ok((native, Some(reused)))
}

/// Writes the component that the source describes to standard output.
fn compose(digest: &Digest) -> anyhow::Result<()> {
    restraint::restrain()?;
    let source = read_source()?;
    let component = component(&source, digest)?;
    io::stdout().lock().write_all(&component).context("cannot write the component")
}

/// The component that `source` is or describes, once it is what `digest` promises.
fn component<'a>(source: &'a [u8], digest: &Digest) -> anyhow::Result<Cow<'a, [u8]>> {
    let bundle = Composition::read(source)?;
    let actual = match &bundle {
        Some((composition, _)) => composition.digest(),
        None => Digest::of(source),
    };
    ensure!(actual == *digest, "the source has the digest {actual}, expected {digest}");
    let Some((composition, parts)) = bundle else {
        return Ok(componentize::componentize(source)?);
    };
    let parts = parts
        .into_iter()
        .map(componentize::componentize)
        .collect::<Result<Vec<_>, _>>()
        .context("a part of the composition cannot be used")?;
    Ok(composition::compose(&composition, &parts)?.into())
}

fn read_source() -> anyhow::Result<Vec<u8>> {
    let mut source = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_SOURCE + 1)
        .read_to_end(&mut source)
        .context("cannot read the source from standard input")?;
    ensure!(
        source.len() as u64 <= MAX_SOURCE,
        "the source is larger than the limit of {MAX_SOURCE} bytes"
    );
    Ok(source)
}
