use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn fifo(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    path.display().to_string()
}

fn paths(stdin: &str, stdout: &str, stderr: &str) -> StdioPaths {
    StdioPaths {
        id: "c1".into(),
        namespace: "ns1".into(),
        stdin: stdin.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    }
}

fn write(end: &OwnedFd, text: &str) {
    File::from(end.try_clone().unwrap()).write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn fifos_open_without_a_peer_and_survive_readers_that_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let (output, errors) = (fifo(folder.path(), "out"), fifo(folder.path(), "err"));
    let (stdio, hold) = paths("", &output, &errors).open().await.unwrap();

    let mut reader = fs_err::File::open(&output).unwrap();
    write(&stdio.stdout, "one\n");
    let mut text = [0; 4];
    reader.read_exact(&mut text).unwrap();
    drop(reader);

    write(&stdio.stdout, "two\n");
    let mut reader = fs_err::File::open(&output).unwrap();
    drop(stdio);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "two\n", "the end is seen although the shim still holds its end");
    hold.close().await;
}

/// What a reader gets that opens a fifo now.
async fn read_to_end(path: String) -> String {
    let read = tokio::task::spawn_blocking(move || fs_err::read_to_string(path));
    let read = tokio::time::timeout(Duration::from_secs(5), read).await;
    read.expect("the reader waits for ever").unwrap().unwrap()
}

#[tokio::test]
async fn a_reader_that_comes_soon_after_the_deletion_finds_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, stderr) = (fifo(folder.path(), "stdout"), fifo(folder.path(), "stderr"));
    let (stdio, hold) = paths("", &stdout, &stderr).open().await.unwrap();
    write(&stdio.stdout, "late");
    drop(stdio);
    hold.close().await;
    drop(hold);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(read_to_end(stdout).await, "late");
    assert_eq!(read_to_end(stderr).await, "");
}

#[tokio::test]
async fn a_reader_that_is_there_gets_everything_after_the_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = fifo(folder.path(), "stdout");
    let (stdio, hold) = paths("", &stdout, "").open().await.unwrap();
    let mut reader = fs_err::File::open(&stdout).unwrap();
    let text = "x".repeat(60_000);
    write(&stdio.stdout, &text);
    drop(stdio);
    hold.close().await;
    tokio::time::sleep(UNREAD + Duration::from_millis(100)).await;
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert!(read == text, "{} bytes of {}", read.len(), text.len());
}

#[tokio::test]
async fn a_reader_that_comes_long_after_the_end_sees_it_and_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let (stdout, stderr) = (fifo(folder.path(), "stdout"), fifo(folder.path(), "stderr"));
    let (stdio, hold) = paths("", &stdout, &stderr).open().await.unwrap();
    write(&stdio.stdout, "late");
    drop(stdio);
    hold.end_outputs();
    tokio::time::sleep(UNREAD + Duration::from_millis(100)).await;
    assert_eq!(read_to_end(stdout).await, "late");
    assert_eq!(read_to_end(stderr).await, "");
    hold.close().await;
}

#[tokio::test]
async fn what_is_dropped_holds_no_fifo() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = fifo(folder.path(), "stdout");
    let (stdio, hold) = paths("", &stdout, "").open().await.unwrap();
    drop(stdio);
    hold.end_outputs();
    drop(hold);
    tokio::task::yield_now().await;
    assert_eq!(writing_end(Path::new(&stdout)).err(), Some(Errno::NXIO));
}

#[tokio::test]
async fn a_reader_that_never_comes_is_not_waited_for_and_the_fifo_not_kept_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let stdout = fifo(folder.path(), "stdout");
    let (stdio, hold) = paths("", &stdout, "").open().await.unwrap();
    write(&stdio.stdout, "nobody wants this");
    drop(stdio);
    let begun = std::time::Instant::now();
    hold.close().await;
    assert!(begun.elapsed() < UNREAD / 2, "{:?}", begun.elapsed());
    tokio::time::sleep(UNREAD + Duration::from_millis(100)).await;
    // Both ends are closed, and what was in it is gone with them.
    let reader = reading_end(Path::new(&stdout)).unwrap();
    assert_eq!(rustix::io::read(&reader, &mut [0; 8]), Ok(0));
}

#[tokio::test]
async fn the_input_ends_only_after_it_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let input = fifo(folder.path(), "in");
    let (stdio, hold) = paths(&input, "", "").open().await.unwrap();
    let mut writer = OpenOptions::new().write(true).open(&input).unwrap();
    writer.write_all(b"hello").unwrap();
    drop(writer);
    hold.close_input();
    let mut text = String::new();
    File::from(stdio.stdin).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn a_file_is_appended_to_and_made_with_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs/a%20b.log");
    let name = format!("file://{}/logs/a%2520b.log", folder.path().display());
    for _ in 0..2 {
        let (stdio, _hold) = paths("", &name, &name).open().await.unwrap();
        write(&stdio.stdout, "o");
        write(&stdio.stderr, "e");
    }
    assert_eq!(fs_err::read_to_string(path).unwrap(), "oeoe");
}

#[tokio::test]
async fn a_logger_gets_both_outputs_and_its_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("logger");
    let log = folder.path().join("log");
    let script = "#!/bin/sh\nexec 5>&-\n{ echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\"; /bin/cat <&3; /bin/cat <&4; } >\"$2\"\n";
    fs_err::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs_err::set_permissions(&program, mode).unwrap();
    let name = format!("binary://{}?to={}&flag", program.display(), log.display());
    // A fork of a parallel test may hold the script open for writing for a moment.
    let (stdio, hold) = loop {
        match paths("", &name, &name).open().await {
            Ok(opened) => break opened,
            Err(error) if error.to_string().contains("busy") => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    write(&stdio.stdout, "out\n");
    write(&stdio.stderr, "err\n");
    drop(stdio);
    hold.close().await;
    let expected = format!("c1 ns1 to {} flag\nout\nerr\n", log.display());
    assert_eq!(fs_err::read_to_string(log).unwrap(), expected);
}

#[tokio::test]
async fn a_logger_that_cannot_be_started_is_named() {
    let error = paths("", "binary:///nonexistent/logger", "").open().await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/logger"), "{error}");
}

#[tokio::test]
async fn a_missing_fifo_and_an_unknown_scheme_are_errors_that_name_them() {
    let error = paths("", "/nonexistent/fifo", "").open().await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/fifo"), "{error}");
    let error = paths("", "", "npipe:///pipe").open().await.unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument(text) if text.contains("npipe")), "{error}");
}

#[test]
fn names_are_told_apart_by_their_scheme() {
    let parse = |name: &str| Target::parse("stdout", name).unwrap();
    assert_eq!(parse(""), Target::None);
    assert_eq!(parse("/run/a"), Target::Fifo("/run/a".into()));
    assert_eq!(parse("fifo:///run/a"), Target::Fifo("/run/a".into()));
    assert_eq!(parse("file:///a"), Target::File("/a".into()));
    assert!(Target::parse("stdout", "file://relative").is_err());
    assert!(Target::parse("stderr", "binary:///bin/true").is_err());
}
