use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;

struct Fake {
    folder: tempfile::TempDir,
    compilers: Arc<Compilers>,
}

/// Compilers whose program is a shell script: `$2` is the cache, `$4` the digest.
fn fake(script: &str) -> Fake {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("compiler");
    fs_err::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs_err::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
    let locate = move || Ok(program.clone());
    let compilers = Arc::new(Compilers::new(Arc::new(locate), folder.path(), None));
    Fake { folder, compilers }
}

fn source(digest: &str) -> Source {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"source").unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    Source { digest: digest.to_owned(), component: "hello".to_owned(), bytes: file.into() }
}

/// A fork in a parallel test may hold the script open for a moment.
async fn compile(fake: &Fake, digest: &str) -> Outcome {
    loop {
        match fake.compilers.compile(source(digest), Tier::Optimized).await {
            Err(error) if error.contains("busy") => sleep(Duration::from_millis(10)).await,
            outcome => return outcome,
        }
    }
}

#[tokio::test]
async fn the_compiler_gets_the_source_and_what_it_is() {
    let fake = fake(r#"echo "$@" > "$2/arguments"; /bin/cat > "$2/source""#);
    compile(&fake, "sha256:1").await.unwrap();
    let read = |name| fs_err::read_to_string(fake.folder.path().join(name)).unwrap();
    assert_eq!(read("source"), "source");
    let cache = fake.folder.path().display();
    let arguments = "--digest sha256:1 --component hello --tier optimized";
    assert_eq!(read("arguments"), format!("--cache {cache} {arguments}\n"));
}

#[tokio::test]
async fn the_last_line_of_a_failed_compiler_is_the_reason() {
    let fake = fake("echo noise >&2; echo 'invalid magic number' >&2; exit 1");
    let error = compile(&fake, "sha256:1").await.unwrap_err();
    assert_eq!(error, "invalid magic number");
}

#[tokio::test]
async fn a_killed_compiler_is_an_error_that_says_so() {
    let fake = fake("kill -9 $$");
    let error = compile(&fake, "sha256:1").await.unwrap_err();
    assert_eq!(error, "component hello cannot be compiled: the compiler was killed");
}

#[tokio::test]
async fn who_asks_at_once_for_one_digest_shares_one_compiler() {
    let fake = fake(r#"echo x >> "$2/runs"; /bin/sleep 0.2"#);
    let (a, b, c) = tokio::join!(
        compile(&fake, "sha256:1"),
        compile(&fake, "sha256:1"),
        compile(&fake, "sha256:2")
    );
    assert_eq!((a, b, c), (Ok(()), Ok(()), Ok(())));
    let runs = fs_err::read_to_string(fake.folder.path().join("runs")).unwrap();
    assert_eq!(runs, "x\nx\n");
}

#[tokio::test]
async fn both_tiers_of_one_digest_are_compiled_side_by_side() {
    let fake = fake(r#"echo "$8" >> "$2/runs"; /bin/sleep 0.2"#);
    // Alone first: a fork in a parallel test may hold the script open for a moment.
    compile(&fake, "sha256:0").await.unwrap();
    let first = fake.compilers.compile(source("sha256:1"), Tier::First);
    let optimized = fake.compilers.compile(source("sha256:1"), Tier::Optimized);
    let (first, optimized) = tokio::join!(first, optimized);
    assert_eq!((first, optimized), (Ok(()), Ok(())));
    let runs = fs_err::read_to_string(fake.folder.path().join("runs")).unwrap();
    let mut runs: Vec<&str> = runs.lines().collect();
    runs.sort_unstable();
    assert_eq!(runs, ["first", "optimized", "optimized"]);
}

#[tokio::test]
async fn the_compiler_ends_when_nobody_waits_any_more() {
    let fake =
        fake(r#"echo $$ > "$2/pid.new"; /bin/mv "$2/pid.new" "$2/pid"; exec /bin/sleep 100"#);
    let pid_file = fake.folder.path().join("pid");
    let first = compile(&fake, "sha256:1");
    let second = timeout(Duration::from_millis(50), compile(&fake, "sha256:1"));
    let given_up = async {
        while !pid_file.exists() {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(100)).await;
    };
    tokio::select! {
        _ = async { tokio::join!(first, async { second.await.unwrap_err() }) } => panic!("it ended"),
        () = given_up => {}
    }
    let pid: i32 = fs_err::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let dead = async {
        loop {
            containerd_task::sweep_orphans();
            if rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap())
                .is_err()
            {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), dead).await.unwrap();
}
