//! Enters the container of a bundle as a runtime does, and tells what it sees
//! there: the subject of `tests/container_enter.rs`.
//!
//! `container-probe BUNDLE QUESTION...`; one line of answer for each question.
//! Root filesystem mounts are read from `rootfs.json` in the bundle, if there.

use std::io::Write as _;
use std::path::Path;

use container::enter::Container;
use container::{Bundle, RootfsMount};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let bundle = arguments.next().ok_or("no bundle")?;
    let questions: Vec<String> = arguments.collect();
    let (before, after): (Vec<_>, Vec<_>) =
        questions.iter().partition(|question| question.starts_with("bind "));
    let container = Container::prepare(Bundle::load(&bundle)?, &rootfs(Path::new(&bundle))?)?;
    let entered = container.enter()?;
    let mut answers = Vec::new();
    for question in before {
        answers.push(answer(question));
    }
    entered.drop_privileges()?;
    for question in after {
        answers.push(answer(question));
    }
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&answers)?)?)
}

fn rootfs(bundle: &Path) -> Result<Vec<RootfsMount>, Box<dyn std::error::Error>> {
    let Ok(text) = fs_err::read(bundle.join("rootfs.json")) else { return Ok(Vec::new()) };
    let mounts: Vec<(String, String, Vec<String>)> = serde_json::from_slice(&text)?;
    Ok(mounts
        .into_iter()
        .map(|(kind, source, options)| RootfsMount { kind, source, options })
        .collect())
}

fn answer(question: &str) -> String {
    let (verb, object) = question.split_once(' ').unwrap_or((question, ""));
    let told = match verb {
        "read" => fs_err::read_to_string(object),
        "length" => fs_err::read(object).map(|bytes| bytes.len().to_string()),
        "write" => fs_err::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(object)
            .map(|_| "written".to_owned()),
        "list" => list(object),
        "bind" => std::net::TcpListener::bind(object).map(|_| "bound".to_owned()),
        "connect" => std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| std::net::TcpStream::connect(listener.local_addr()?))
            .map(|_| "connected".to_owned()),
        "mkdir" => fs_err::create_dir(object).map(|()| "made".to_owned()),
        "pid" => Ok(std::process::id().to_string()),
        "umask" => {
            Ok(format!("{:03o}", rustix::process::umask(rustix::fs::Mode::empty()).as_raw_mode()))
        }
        "limit" => {
            Ok(format!("{:?}", rustix::process::getrlimit(rustix::process::Resource::Nofile)))
        }
        _ => Ok(format!("unknown question {question:?}")),
    };
    told.unwrap_or_else(|error| format!("error {:?}", error.kind()))
}

fn list(folder: &str) -> std::io::Result<String> {
    let mut names: Vec<String> = fs_err::read_dir(folder)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names.join(" "))
}
