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
        "execute" => std::process::Command::new(object).status().map(|_| "executed".to_owned()),
        "mount" => told(rustix::mount::mount(
            "tmpfs",
            object,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            None,
        )),
        "unmount" => told(rustix::mount::unmount(object, rustix::mount::UnmountFlags::DETACH)),
        "chroot" => told(rustix::process::chroot(object)),
        "rename-host" => told(rustix::system::sethostname(object.as_bytes())),
        "become-root" => told(rustix::thread::set_thread_uid(rustix::fs::Uid::ROOT)),
        "device" => told(rustix::fs::mknodat(
            rustix::fs::CWD,
            object,
            rustix::fs::FileType::BlockDevice,
            rustix::fs::Mode::RUSR,
            rustix::fs::makedev(8, 0),
        )),
        "descriptors" => descriptors(),
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

fn told(result: rustix::io::Result<()>) -> std::io::Result<String> {
    result.map(|()| "done".to_owned()).map_err(Into::into)
}

/// What the open descriptors but the standard streams lead to.
fn descriptors() -> std::io::Result<String> {
    let mut targets = Vec::new();
    for entry in fs_err::read_dir("/proc/self/fd")?.flatten() {
        let standard = matches!(entry.file_name().to_str(), Some("0" | "1" | "2"));
        // The folder that is being read is none by now.
        if let (false, Ok(target)) = (standard, fs_err::read_link(entry.path())) {
            targets.push(target.display().to_string());
        }
    }
    targets.retain(|target| !(target.starts_with("/proc/") && target.ends_with("/fd")));
    Ok(targets.join(" "))
}

fn list(folder: &str) -> std::io::Result<String> {
    let mut names: Vec<String> = fs_err::read_dir(folder)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names.join(" "))
}
