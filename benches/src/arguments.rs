//! What can be typed after `spinlet bench`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  spinlet bench rust=examples/hello-rust
      a start of the app under Spinlet, beside runc with a native server, a shim
      that does nothing, and `spinlet up`
  spinlet bench rust=hello js=hello.wasm --peer other=io.containerd.other.v2
      two apps, and one more Spin shim
  spinlet bench hello --peer 'wasmtime=exec:wasmtime serve -Scli --addr {listen} {wasm}'
  spinlet bench hello --quick
  spinlet bench hello --scenario replicas --replicas 1,10,50,100
  spinlet bench --from spinlet-bench/results.json --check

Peers:
  NAME=RUNTIME           a containerd runtime (type or path of its shim) that runs Spin images
  NAME=native:RUNTIME    one that runs ordinary images: gets the native server of the benchmark
  NAME=nothing:RUNTIME   one whose tasks answer no request: `ctr run` alone counts
  NAME=exec:COMMAND      a bare process; {app}, {wasm} and {listen} are replaced";

/// Start an app under several runtimes and say where time and memory went
#[derive(Debug, Parser)]
#[command(name = "spinlet bench", bin_name = "spinlet bench", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Apps: folder with a spin.toml, .wasm file or OCI image layout
    #[arg(value_name = "[NAME=]APP", required_unless_present = "from")]
    pub(crate) apps: Vec<NamedApp>,

    /// One more peer; may be repeated, see below
    #[arg(long, value_name = "NAME=RUNTIME")]
    pub(crate) peer: Vec<PeerArgument>,

    /// Leave a peer out: spinlet, runc, no-op or process
    #[arg(long, value_name = "NAME")]
    pub(crate) without: Vec<String>,

    /// What to measure; may be repeated
    #[arg(long, short, value_enum, value_name = "SCENARIO", default_values = ["warm", "replicas"])]
    pub(crate) scenario: Vec<ScenarioName>,

    /// Starts of each contender
    #[arg(long, short = 'n', default_value_t = 15, value_name = "N")]
    pub(crate) runs: usize,

    /// How many replicas the memory is measured at
    #[arg(long, value_delimiter = ',', default_values = ["1", "5", "10", "20"], value_name = "N,N,…")]
    pub(crate) replicas: Vec<usize>,

    /// How many starts at once make a burst
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) burst: usize,

    /// Seconds without a request after which memory has settled
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) idle: u64,

    /// Seconds of each step of load
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) seconds: u64,

    /// Few starts and few replicas: less than two minutes
    #[arg(long)]
    pub(crate) quick: bool,

    /// Have Spinlet start apps on code of the first tier, as SPINLET_FIRST_TIER does
    #[arg(long)]
    pub(crate) first_tier: bool,

    /// Folder with `containerd` and `ctr`; without it, those of PATH
    #[arg(long, value_name = "DIR")]
    pub(crate) containerd: Option<PathBuf>,

    /// The Spin shim to measure; without it, the one beside `spinlet` or in PATH
    #[arg(long, value_name = "FILE")]
    pub(crate) shim: Option<PathBuf>,

    /// Folder for results.json and report.html
    #[arg(long, short, default_value = "spinlet-bench", value_name = "DIR")]
    pub(crate) output: PathBuf,

    /// Do not measure: report on the results of an earlier run
    #[arg(long, value_name = "results.json")]
    pub(crate) from: Option<PathBuf>,

    /// Check the results against the figures that Spinlet promises; exit with 1
    /// if one is not kept
    #[arg(long, value_name = "promises.toml", num_args = 0..=1, default_missing_value = "")]
    pub(crate) check: Option<String>,

    /// Order of the starts; the same number gives the same order
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,

    /// The `spinlet` that runs this
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) spinlet: Option<PathBuf>,

    /// The shim that starts nothing
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) noop_shim: Option<PathBuf>,

    /// The native server
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) native_server: Option<PathBuf>,
}

/// What is measured; the codes are those of the protocol in benches/README.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScenarioName {
    /// S1: nothing is compiled yet
    First,
    /// S2: compiled, but nothing of it in the page cache
    Cold,
    /// S3: compiled and in the page cache
    Warm,
    /// S4, S7: one replica after the other; time and memory
    Replicas,
    /// S5: many at once
    Burst,
    /// S7: memory of a replica before a burst of requests, and once it is idle again
    Settled,
    /// S8: requests per second and latency
    Load,
    /// S9: many starts and stops; what is left
    Churn,
    /// System calls, page faults and instructions of a start
    Counters,
}

impl ScenarioName {
    /// The name in results.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Replicas => "replicas",
            Self::Burst => "burst",
            Self::Settled => "settled",
            Self::Load => "load",
            Self::Churn => "churn",
            Self::Counters => "counters",
        }
    }
}

/// An app with the name it has in results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedApp {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl FromStr for NamedApp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((name, path)) = text.split_once('=') {
            return Ok(Self { name: checked_name(name)?, path: path.into() });
        }
        let path = PathBuf::from(text);
        let full = std::path::absolute(&path).map_err(|error| error.to_string())?;
        let name = full.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self { name: checked_name(&name)?, path })
    }
}

/// A peer as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerArgument {
    pub(crate) name: String,
    pub(crate) kind: PeerKind,
}

/// How a peer starts apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerKind {
    /// A containerd runtime for Spin images.
    Spin(String),
    /// A containerd runtime for ordinary images.
    Native(String),
    /// A containerd runtime that runs nothing.
    Nothing(String),
    /// A command line.
    Process(String),
}

impl FromStr for PeerArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, what) = text.split_once('=').ok_or("expected NAME=RUNTIME")?;
        if what.is_empty() {
            return Err("no runtime after the `=`".to_owned());
        }
        let kind = match what.split_once(':') {
            Some(("native", runtime)) => PeerKind::Native(runtime.to_owned()),
            Some(("nothing", runtime)) => PeerKind::Nothing(runtime.to_owned()),
            Some(("exec", command)) => PeerKind::Process(command.to_owned()),
            _ => PeerKind::Spin(what.to_owned()),
        };
        Ok(Self { name: checked_name(name)?, kind })
    }
}

/// A name becomes part of container ids and image names.
fn checked_name(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 30 && name.chars().all(fits) {
        return Ok(name.to_owned());
    }
    Err(format!("{name:?} is no name: expected at most 30 of a-z, 0-9 and `-`; give one as NAME=…"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_peer_is_told_by_the_word_before_its_runtime() {
        let kind = |text: &str| text.parse::<PeerArgument>().unwrap().kind;
        assert_eq!(kind("a=io.containerd.b.v1"), PeerKind::Spin("io.containerd.b.v1".into()));
        assert_eq!(kind("a=native:io.c.runc.v2"), PeerKind::Native("io.c.runc.v2".into()));
        assert_eq!(kind("a=exec:b --c {listen}"), PeerKind::Process("b --c {listen}".into()));
        for wrong in ["a", "a=", "A=b", "=b", "a b=c"] {
            assert!(wrong.parse::<PeerArgument>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_app_without_a_name_is_called_like_its_file() {
        let app: NamedApp = "apps/hello.wasm".parse().unwrap();
        assert_eq!((app.name.as_str(), app.path.as_path()), ("hello", "apps/hello.wasm".as_ref()));
        let app: NamedApp = "js=apps/Hello.wasm".parse().unwrap();
        assert_eq!(app.name, "js");
    }
}
