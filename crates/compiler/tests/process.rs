//! The compiler as its supervisor sees it.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test by panicking")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use app::Digest;
use engine::{Cache, DEFAULT_MAX_BYTES, RuntimeSettings, load, new_engine};
use fs_err as fs;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn cache_folder(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.cache_folder(), DEFAULT_MAX_BYTES).unwrap()
    }

    /// Starts a compiler with `source` as its standard input, as a file like the
    /// supervisor hands it over.
    fn start(&self, source: &[u8], digest: &Digest) -> Child {
        self.start_tier(source, digest, "optimized")
    }

    fn start_tier(&self, source: &[u8], digest: &Digest, tier: &str) -> Child {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(source).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        Command::new(env!("CARGO_BIN_EXE_spinlet-compiler"))
            .arg("--cache")
            .arg(self.cache_folder())
            .args(["--component", "hello", "--digest", &digest.to_string(), "--tier", tier])
            .stdin(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, source: &[u8], digest: &Digest) -> Output {
        self.start(source, digest).wait_with_output().unwrap()
    }

    /// Everything in the cache's only fingerprint folder.
    fn names(&self) -> Vec<String> {
        let folders = names(&self.cache_folder());
        folders.iter().flat_map(|folder| names(&self.cache_folder().join(folder))).collect()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// A component of `functions` exported functions; some thousands take seconds.
fn component(functions: usize) -> Vec<u8> {
    let step = "(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 7)) (local.get 0)))";
    let body = step.repeat(20);
    let functions = (0..functions)
        .map(|index| {
            format!("(func (export \"f{index}\") (param i32) (result i32) {body} (local.get 0))")
        })
        .collect::<Vec<_>>()
        .concat();
    let text = format!(
        "(component
           (core module $m {functions})
           (core instance $i (instantiate $m))
           (func (export \"f\") (param \"n\" u32) (result u32) (canon lift (core func $i \"f0\"))))"
    );
    wat::parse_str(text).unwrap()
}

fn report(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("component \"hello\" cannot be compiled: "), "{text}");
    text
}

#[test]
fn a_source_becomes_a_cache_entry_that_can_be_loaded() {
    let fixture = Fixture::new();
    let source = component(1);
    let digest = Digest::of(&source);
    let first = report(&fixture.run(&source, &digest));
    assert_eq!(first["digest"], digest.to_string());
    assert_eq!(first["cached"], false);
    assert_eq!(first["source_bytes"], source.len());
    let code = fixture.cache().lookup(&digest).unwrap().unwrap();
    assert_eq!(first["code_bytes"], code.len());
    load(&new_engine(&RuntimeSettings::default()).unwrap(), &code).unwrap();
}

#[test]
fn what_the_cache_has_is_not_compiled_again() {
    let fixture = Fixture::new();
    let source = component(1);
    let digest = Digest::of(&source);
    report(&fixture.run(&source, &digest));
    let second = report(&fixture.run(b"not even read", &digest));
    assert_eq!(second["cached"], true);
    assert_eq!(second["source_bytes"], serde_json::Value::Null);
}

#[test]
fn optimized_code_takes_the_place_of_the_first_tiers() {
    let fixture = Fixture::new();
    let source = component(1);
    let digest = Digest::of(&source);
    let run =
        |tier| report(&fixture.start_tier(&source, &digest, tier).wait_with_output().unwrap());
    let first = run("first");
    assert_eq!((&first["tier"], &first["cached"]), (&"first".into(), &false.into()));
    let again = run("first");
    assert_eq!((&again["tier"], &again["cached"]), (&"first".into(), &true.into()));
    assert!(fixture.cache().lookup(&digest).unwrap().is_none());
    let optimized = run("optimized");
    assert_eq!(optimized["cached"], false);
    assert_eq!(optimized["replaced_first_tier"], true);
    assert!(fixture.cache().first_tier().unwrap().lookup(&digest).unwrap().is_none());
    // Whoever would do with less gets the better code that there is.
    let better = run("first");
    assert_eq!((&better["tier"], &better["cached"]), (&"optimized".into(), &true.into()));
    assert_eq!(better["replaced_first_tier"], false);
}

#[test]
fn a_core_module_is_made_into_a_component_first() {
    let fixture = Fixture::new();
    let source = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const 0))))"#,
    )
    .unwrap();
    let digest = Digest::of(&source);
    report(&fixture.run(&source, &digest));
    let engine = new_engine(&RuntimeSettings::default()).unwrap();
    let code = fixture.cache().lookup(&digest).unwrap().unwrap();
    let component = load(&engine, &code).unwrap();
    let exports = component.component_type();
    let names: Vec<_> = exports.exports(&engine).map(|(name, _)| name.to_owned()).collect();
    assert!(names.iter().any(|name| name.starts_with("wasi:cli/run@0.2")), "{names:?}");
}

#[test]
fn eight_compilers_for_one_digest_compile_once() {
    let fixture = Fixture::new();
    let source = component(200);
    let digest = Digest::of(&source);
    let compilers: Vec<_> = (0..8).map(|_| fixture.start(&source, &digest)).collect();
    let reports: Vec<_> = compilers
        .into_iter()
        .map(|compiler| report(&compiler.wait_with_output().unwrap()))
        .collect();
    assert_eq!(reports.iter().filter(|report| report["cached"] == false).count(), 1);
    assert_eq!(fixture.names().len(), 2, "{:?}", fixture.names());
}

#[test]
fn a_compiler_killed_midway_leaves_no_entry_and_stands_in_nobodys_way() {
    let fixture = Fixture::new();
    let source = component(3000);
    let digest = Digest::of(&source);
    let mut killed = fixture.start(&source, &digest);
    let lock = format!("{}.lock", digest.to_hex());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fixture.names().contains(&lock) {
        assert!(Instant::now() < deadline, "the compiler never started");
        std::thread::sleep(Duration::from_millis(2));
    }
    killed.kill().unwrap();
    assert!(!killed.wait().unwrap().success());
    assert!(fixture.cache().lookup(&digest).unwrap().is_none());
    assert_eq!(report(&fixture.run(&source, &digest))["cached"], false);
    assert!(fixture.cache().lookup(&digest).unwrap().is_some());
    assert_eq!(fixture.names().len(), 2, "{:?}", fixture.names());
}

#[test]
fn a_source_with_another_digest_is_refused() {
    let fixture = Fixture::new();
    let expected = Digest::of("something else");
    let text = refusal(&fixture.run(&component(1), &expected));
    assert!(text.contains(&expected.to_string()), "{text}");
    assert!(fixture.cache().lookup(&expected).unwrap().is_none());
    assert!(fixture.names().is_empty(), "{:?}", fixture.names());
}

#[test]
fn what_cannot_be_compiled_is_refused_in_one_sentence() {
    let fixture = Fixture::new();
    let invalid = {
        // A body that leaves nothing where its type promises a number.
        let mut bytes = wat::parse_str("(module (func (export \"_start\") nop))").unwrap();
        let last = bytes.len() - 2;
        bytes[last] = 0x1a;
        bytes
    };
    for (source, reason) in [
        (&b"\x7fELF\x02\x01\x01"[..], "native code"),
        (b"(component)", "not a WebAssembly binary"),
        (b"", "the file is empty"),
        (&invalid, "component"),
    ] {
        let text = refusal(&fixture.run(source, &Digest::of(source)));
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn wrong_arguments_are_a_failure_of_their_own() {
    let output = Command::new(env!("CARGO_BIN_EXE_spinlet-compiler"))
        .args(["--cache", "relative", "--digest", "x"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
}
