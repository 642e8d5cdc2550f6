//! Single steps of a start and of a request.
//!
//! ```text
//! cargo bench --package micro-benchmarks --bench steps
//! ```

use std::hint::black_box;

use app::{Digest, LockedApp};
use criterion::{BatchSize, Criterion};
use engine::{Cache, RuntimeSettings, Tier, compile, load, new_engine};
use http_trigger::routes::Routes;
use micro_benchmarks::{Parts, hello};
use tokio::runtime::{Builder, Runtime};
use wasmtime::Result;
use wasmtime::component::{Component, Linker};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Store};

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let engine = new_engine(&RuntimeSettings::default())?;
    let event_loop = Builder::new_current_thread().enable_all().build()?;
    route_match(&mut criterion)?;
    artifact_parse(&mut criterion)?;
    cache_hit(&mut criterion, &engine)?;
    instance(&mut criterion, &engine, &event_loop)?;
    host_call(&mut criterion, &engine)?;
    criterion.final_summary();
    Ok(())
}

/// Finding the route of a path among many.
fn route_match(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group("route match");
    for count in [1_usize, 10, 100] {
        let listed = (0..count).map(|n| (format!("/api/v1/things-{n}/:id/..."), n));
        let (routes, _) = Routes::new("/", listed.collect::<Vec<_>>())
            .map_err(|problem| wasmtime::format_err!("{problem:?}"))?;
        let path = format!("/api/v1/things-{}/17/parts", count / 2);
        routes.find(&path).context("no route matches")?;
        group.bench_function(format!("one of {count}"), |bencher| {
            bencher.iter(|| black_box(routes.find(black_box(&path))).is_some());
        });
    }
    group.finish();
    Ok(())
}

/// Reading the locked app of an artifact.
fn artifact_parse(criterion: &mut Criterion) -> Result<()> {
    let document = Parts::document();
    LockedApp::from_json(&document)?;
    criterion.bench_function("artifact parse", |bencher| {
        bencher.iter(|| LockedApp::from_json(black_box(&document)).is_ok());
    });
    Ok(())
}

/// Finding a component's code in the node's cache and mapping it.
fn cache_hit(criterion: &mut Criterion, engine: &Engine) -> Result<()> {
    let source = hello()?;
    let folder = tempfile::tempdir()?;
    let cache = Cache::open(&folder.path().join("code"), u64::MAX)?;
    let digest = Digest::of(&source);
    cache.lock(&digest, None)?.insert(&compile(&source, Tier::Optimized, None)?)?;
    let look = || -> Result<Component> {
        let code = cache.lookup(&digest)?.context("not in the cache")?;
        Ok(load(engine, &code)?)
    };
    look()?;
    criterion.bench_function("cache hit", |bencher| bencher.iter(|| look().is_ok()));
    Ok(())
}

/// A new instance of the hello of Rust, and its end.
fn instance(criterion: &mut Criterion, engine: &Engine, event_loop: &Runtime) -> Result<()> {
    let component = Component::new(engine, hello()?)?;
    let linked = event_loop.block_on(Parts::new(engine, component))?.link()?;
    let store = || linked.context.new_store(0);
    event_loop.block_on(linked.pre.instantiate_async(&mut store()))?;
    criterion.bench_function("instantiate", |bencher| {
        bencher.iter_batched(
            store,
            |mut store| {
                let made = event_loop.block_on(linked.pre.instantiate_async(&mut store));
                (made.is_ok(), store)
            },
            BatchSize::PerIteration,
        );
    });
    Ok(())
}

/// A guest that asks the host for a number, again and again.
const ASKING: &str = r#"(component
    (import "host" (func $host (result u64)))
    (core func $ask (canon lower (func $host)))
    (core module $module
        (import "host" "ask" (func $ask (result i64)))
        (func (export "run") (param $times i32)
            (loop $again
                (drop (call $ask))
                (local.tee $times (i32.sub (local.get $times) (i32.const 1)))
                (br_if $again))))
    (core instance $instance
        (instantiate $module (with "host" (instance (export "ask" (func $ask))))))
    (func (export "run") (param "times" u32) (canon lift (core func $instance "run"))))"#;

/// From guest to host and back.
fn host_call(criterion: &mut Criterion, engine: &Engine) -> Result<()> {
    const CALLS: u32 = 1000;
    let component = Component::new(engine, wat::parse_str(ASKING)?)?;
    let mut linker = Linker::<u64>::new(engine);
    linker.root().func_wrap("host", |store, (): ()| Ok((*store.data(),)))?;
    let mut store = Store::new(engine, 17);
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = linker.instantiate(&mut store, &component)?;
    let run = instance.get_typed_func::<(u32,), ()>(&mut store, "run")?;
    run.call(&mut store, (CALLS,))?;
    criterion.bench_function("host call, 1000 times", |bencher| {
        bencher.iter(|| run.call(&mut store, (CALLS,)).is_ok());
    });
    Ok(())
}
