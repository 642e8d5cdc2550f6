//! Who is compared: a peer with what it starts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::arguments::{Arguments, PeerArgument, PeerKind};
use crate::image::{self, Image};
use crate::process::find;
use crate::results::ContenderInfo;

/// What the native server and the shim that starts nothing are called in results.
const NATIVE: &str = "native";

/// A peer with what it starts.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    /// `<peer>/<app>`, unique in a run.
    pub(crate) name: String,
    pub(crate) peer: String,
    pub(crate) app: Option<String>,
    pub(crate) vehicle: Vehicle,
}

/// How a contender is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vehicle {
    /// A containerd runtime with an image and what it answers to.
    Runtime { runtime: String, image: String, kind: ImageKind },
    /// A command line; `{listen}` in it is replaced.
    Process { program: PathBuf, arguments: Vec<String> },
}

/// What is in an image, and so how it is told its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageKind {
    Spin,
    Native,
    /// Whatever it is, it is not started.
    Nothing,
}

impl Contender {
    /// Whether it answers requests.
    pub(crate) fn serves(&self) -> bool {
        !matches!(self.vehicle, Vehicle::Runtime { kind: ImageKind::Nothing, .. })
    }

    /// Whether containerd starts it.
    pub(crate) fn is_contained(&self) -> bool {
        matches!(self.vehicle, Vehicle::Runtime { .. })
    }

    /// Its entry in results.
    pub(crate) fn info(&self) -> ContenderInfo {
        ContenderInfo {
            name: self.name.clone(),
            peer: self.peer.clone(),
            app: self.app.clone(),
            serves: self.serves(),
            parity: None,
            answer: None,
        }
    }

    /// The arguments of `ctr` that start it; none for a bare process.
    pub(crate) fn ctr_arguments(
        &self,
        id: &str,
        group: &str,
        listen: SocketAddr,
        fifos: &Path,
    ) -> Option<Vec<String>> {
        let Vehicle::Runtime { runtime, image, kind } = &self.vehicle else { return None };
        let variable = match kind {
            ImageKind::Native => "LISTEN",
            ImageKind::Spin | ImageKind::Nothing => "SPIN_HTTP_LISTEN_ADDR",
        };
        let environment = format!("{variable}={listen}");
        let fifos = fifos.display().to_string();
        let mut arguments = vec!["run", "--detach", "--net-host", "--fifo-dir", &fifos];
        arguments.extend(["--runtime", runtime, "--cgroup", group, "--env", &environment]);
        arguments.extend([image.as_str(), id]);
        if *kind != ImageKind::Native {
            // `ctr` demands one for an image that names no program.
            arguments.push("/");
        }
        Some(arguments.into_iter().map(str::to_owned).collect())
    }

    /// The command line of a bare process; none for a container.
    pub(crate) fn command(&self, listen: SocketAddr) -> Option<(PathBuf, Vec<String>)> {
        let Vehicle::Process { program, arguments } = &self.vehicle else { return None };
        let listen = listen.to_string();
        let filled = arguments.iter().map(|text| text.replace("{listen}", &listen)).collect();
        Some((program.clone(), filled))
    }
}

/// The contenders of a run and the images they need.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) contenders: Vec<Contender>,
    pub(crate) images: Vec<Image>,
    /// Peers that are not there, and why.
    pub(crate) notes: Vec<String>,
}

/// The files that stand for an app.
struct PreparedApp {
    name: String,
    path: PathBuf,
    reference: String,
    wasm: PathBuf,
}

/// The programs that the benchmark brings.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) spinlet: PathBuf,
    pub(crate) shim: PathBuf,
    pub(crate) native_server: PathBuf,
    pub(crate) noop_shim: PathBuf,
}

/// Prepares everything that will be started, with its files in `folder`.
pub(crate) fn field(arguments: &Arguments, programs: &Programs, folder: &Path) -> Result<Field> {
    let mut images = Vec::new();
    let mut apps = Vec::new();
    for app in &arguments.apps {
        let path = std::path::absolute(&app.path)?;
        let (image, wasm) = image::of_app(&app.name, &path, folder)?;
        let reference = image.reference.clone();
        apps.push(PreparedApp { name: app.name.clone(), path, reference, wasm });
        images.push(image);
    }
    images.push(image::of_program(NATIVE, &programs.native_server, folder)?);
    let mut notes = Vec::new();
    let peers = own_peers(arguments, programs, &mut notes);
    let mut contenders = Vec::new();
    for peer in peers.iter().chain(&arguments.peer) {
        contenders.extend(of_peer(peer, &apps)?);
    }
    let mut names: Vec<&String> = contenders.iter().map(|contender| &contender.name).collect();
    names.sort();
    names.dedup();
    ensure!(names.len() == contenders.len(), "two apps or two peers have the same name");
    Ok(Field { contenders, images, notes })
}

fn own_peers(
    arguments: &Arguments,
    programs: &Programs,
    notes: &mut Vec<String>,
) -> Vec<PeerArgument> {
    let text = |path: &Path| path.display().to_string();
    let runc = "io.containerd.runc.v2";
    let mut peers = vec![
        ("spinlet", PeerKind::Spin(text(&programs.shim))),
        ("no-op", PeerKind::Nothing(text(&programs.noop_shim))),
        (
            "process",
            PeerKind::Process(format!(
                "{} up {{app}} --listen {{listen}}",
                text(&programs.spinlet)
            )),
        ),
    ];
    let beside = arguments.containerd.as_ref().map(|folder| folder.join("containerd-shim-runc-v2"));
    let shim = beside.filter(|file| file.is_file()).or_else(|| find("containerd-shim-runc-v2"));
    if shim.is_some() && find("runc").is_some() {
        peers.push(("runc", PeerKind::Native(runc.to_owned())));
    } else {
        notes.push(format!("{runc} is not installed: there is no native peer"));
    }
    peers
        .into_iter()
        .filter(|(name, _)| !arguments.without.iter().any(|without| without == name))
        .map(|(name, kind)| PeerArgument { name: name.to_owned(), kind })
        .collect()
}

/// A peer for Spin apps once with each of them, any other peer once.
fn of_peer(peer: &PeerArgument, apps: &[PreparedApp]) -> Result<Vec<Contender>> {
    let contender = |app: Option<&PreparedApp>, vehicle| Contender {
        name: match app {
            Some(app) => format!("{}/{}", peer.name, app.name),
            None => peer.name.clone(),
        },
        peer: peer.name.clone(),
        app: app.map(|app| app.name.clone()),
        vehicle,
    };
    let runtime = |runtime: &String, image: &str, kind| Vehicle::Runtime {
        runtime: runtime.clone(),
        image: image.to_owned(),
        kind,
    };
    match &peer.kind {
        PeerKind::Spin(name) => Ok(apps
            .iter()
            .map(|app| contender(Some(app), runtime(name, &app.reference, ImageKind::Spin)))
            .collect()),
        PeerKind::Native(name) => {
            let image = image::reference(NATIVE);
            Ok(vec![contender(None, runtime(name, &image, ImageKind::Native))])
        }
        PeerKind::Nothing(name) => {
            let app = apps.first().context("no app is given")?;
            Ok(vec![contender(None, runtime(name, &app.reference, ImageKind::Nothing))])
        }
        PeerKind::Process(command) => {
            apps.iter().map(|app| Ok(contender(Some(app), process(command, app)?))).collect()
        }
    }
}

/// Words of a command line; a path with a space in it comes in through `{app}`
/// and `{wasm}`, which stay one word.
fn process(command: &str, app: &PreparedApp) -> Result<Vehicle> {
    let fill = |word: &str| {
        word.replace("{app}", &app.path.display().to_string())
            .replace("{wasm}", &app.wasm.display().to_string())
    };
    let mut words = command.split_whitespace().map(fill);
    let program = PathBuf::from(words.next().context("a peer's command is empty")?);
    let program = if program.is_absolute() {
        program
    } else {
        find(&program)
            .with_context(|| format!("the program {} is not in PATH", program.display()))?
    };
    let arguments: Vec<String> = words.collect();
    ensure!(
        arguments.iter().any(|word| word.contains("{listen}")),
        "the command of a peer must say where {{listen}} belongs"
    );
    Ok(Vehicle::Process { program, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> PreparedApp {
        PreparedApp {
            name: "hello".into(),
            path: "/an app".into(),
            reference: "bench.local/hello:1".into(),
            wasm: "/hello.wasm".into(),
        }
    }

    fn contender(peer: &str) -> Contender {
        of_peer(&peer.parse().unwrap(), &[app()]).unwrap().remove(0)
    }

    #[test]
    fn a_spin_app_is_told_its_address_in_spins_variable() {
        let contender = contender("spinlet=/shim");
        assert_eq!(contender.name, "spinlet/hello");
        let listen = "127.0.0.1:7".parse().unwrap();
        let arguments = contender.ctr_arguments("id", "/group", listen, "/fifos".as_ref()).unwrap();
        let text = arguments.join(" ");
        assert!(text.contains("--env SPIN_HTTP_LISTEN_ADDR=127.0.0.1:7"), "{text}");
        assert!(text.ends_with("bench.local/hello:1 id /"), "{text}");
    }

    #[test]
    fn a_native_image_runs_its_own_program_and_nothing_serves_nothing() {
        let native = contender("runc=native:io.containerd.runc.v2");
        let listen = "127.0.0.1:7".parse().unwrap();
        let arguments = native.ctr_arguments("id", "/group", listen, "/fifos".as_ref()).unwrap();
        assert!(arguments.join(" ").ends_with("--env LISTEN=127.0.0.1:7 bench.local/native:1 id"));
        assert!(native.serves() && !contender("no-op=nothing:/noop").serves());
    }

    #[test]
    fn a_process_gets_its_places_filled_word_by_word() {
        let contender = contender("a=exec:/bin/serve {app} --on={listen}");
        let (program, arguments) = contender.command("127.0.0.1:7".parse().unwrap()).unwrap();
        assert_eq!(program, Path::new("/bin/serve"));
        assert_eq!(arguments, ["/an app", "--on=127.0.0.1:7"]);
        let without = "a=exec:/bin/serve {app}".parse().unwrap();
        assert!(of_peer(&without, &[app()]).is_err());
    }
}
