//! `spinlet-compiler`: reads a component's or core module's bytes, or the bundle of
//! a composition, from standard input, writes one entry of the node's code cache, and ends.
//!
//! The supervisor starts it, in a control group of its own, when a runtime
//! process finds that the cache lacks code. Any number may be started for the
//! same digest: one compiles, the others wait for it and then report what it
//! made. Killing one at any moment leaves the cache as it was.
//!
//! On success it prints one line of JSON, a [`Report`], and exits with 0. On
//! failure it prints one sentence on standard error and exits with 1, or with 2
//! if its arguments are wrong.

mod arguments;
mod restraint;

use std::borrow::Cow;
use std::io::{self, Read as _, Write as _};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use app::{Composition, Digest};
use engine::{Cache, CompiledCode};
use process_setup::{Environment, ExitCode};
use serde::Serialize;

use arguments::Arguments;

/// The largest source that is compiled, in bytes: ten times a large Python app.
const MAX_SOURCE: u64 = 256 << 20;

/// What was done, as one JSON object.
#[derive(Debug, Serialize)]
struct Report {
    /// Digest of the source, `sha256:<hex>`.
    digest: String,
    /// Whether the cache had the code already; nothing was read or compiled then.
    cached: bool,
    /// Length of the source; null if it was not read.
    source_bytes: Option<u64>,
    /// Length of the compiled code.
    code_bytes: u64,
    /// Wall time from start to end, waiting for another compiler included.
    millis: u64,
}

fn main() -> ExitCode {
    let started = Instant::now();
    let arguments = match Arguments::parse(std::env::args_os().skip(1), &Environment::of_process())
    {
        Ok(arguments) => arguments,
        Err(error) => return fail(&error, ExitCode::Usage),
    };
    let result = run(&arguments, started)
        .with_context(|| format!("component {:?} cannot be compiled", arguments.component));
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
    let cache = Cache::open(&arguments.cache, arguments.max_bytes)?;
    let (code, source_bytes) = match cache.lookup(&arguments.digest)? {
        Some(code) => (code, None),
        None => make(&cache, &arguments.digest)?,
    };
    let report = Report {
        digest: arguments.digest.to_string(),
        cached: source_bytes.is_none(),
        source_bytes,
        code_bytes: code.len(),
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let line = serde_json::to_string(&report)?;
    writeln!(io::stdout().lock(), "{line}").context("cannot write the report")
}

/// Makes the entry, or waits for whoever is making it. The number is the length
/// of the source if this process compiled it.
fn make(cache: &Cache, digest: &Digest) -> anyhow::Result<(CompiledCode, Option<u64>)> {
    let lock = cache.lock(digest, None)?;
    if let Some(code) = cache.lookup(digest)? {
        return Ok((code, None));
    }
    restraint::restrain()?;
    let source = read_source()?;
    let component = component(&source, digest)?;
    let native = engine::compile(&component)?;
    Ok((lock.insert(&native)?, Some(source.len() as u64)))
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
