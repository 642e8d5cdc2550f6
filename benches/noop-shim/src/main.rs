//! A containerd shim that starts nothing.
//!
//! It answers what `ctr run` and `ctr task delete` ask and does no work for it:
//! no cgroup, no namespace, no mount, no process. What a start takes with it is
//! containerd's and `ctr`'s own share, below which no shim gets.

mod service;

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::shim_async::create_task;
use containerd_shim_protos::ttrpc::asynchronous::Server;
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;

use service::NoTask;

/// Our own action: serve on the socket that is the standard input.
const SERVE: &str = "serve";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "-info") {
        return Ok(());
    }
    match arguments.last().map(String::as_str) {
        Some("start") => start(),
        Some("delete") => delete(),
        Some(SERVE) => serve(),
        _ => anyhow::bail!("containerd starts this program"),
    }
}

fn start() -> anyhow::Result<()> {
    // Its working directory is the bundle, whose path is too long for a socket.
    let path = format!("/run/spinlet-noop-{}.sock", std::process::id());
    let listener = UnixListener::bind(&path).with_context(|| format!("cannot bind {path}"))?;
    Command::new("/proc/self/exe")
        .args([path.as_str(), SERVE])
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the daemon")?;
    answer(format!("unix://{path}").as_bytes())
}

fn delete() -> anyhow::Result<()> {
    let answered =
        DeleteResponse { exited_at: Some(Timestamp::now()).into(), ..Default::default() };
    answer(&answered.write_to_bytes()?)
}

fn answer(bytes: &[u8]) -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(bytes).context("cannot answer containerd")
}

#[tokio::main(flavor = "current_thread")]
async fn serve() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("the daemon is told its socket")?;
    let input = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned()?;
    let task = NoTask::default();
    let mut services = create_task(std::sync::Arc::new(task.clone()));
    // containerd asks for version 2 of the service when it is told an address only.
    let table = create_task(std::sync::Arc::new(task.clone()));
    services.extend(table.into_values().map(|one| ("containerd.task.v2.Task".to_owned(), one)));
    let mut server = Server::new()
        .add_listener(Listener::try_from(UnixListener::from(input))?)
        .register_service(services);
    server.start().await?;
    task.shut_down().await;
    let _ = fs_err::remove_file(path);
    server.shutdown().await?;
    Ok(())
}
