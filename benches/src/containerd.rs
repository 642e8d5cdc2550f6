//! A containerd of the benchmark's own, and `ctr` for it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::group::Group;
use crate::image::Image;
use crate::process::{Process, find, output_of, search_path};

/// How long `ctr` may take.
const COMMAND: Duration = Duration::from_mins(5);

/// Spinlet's settings of a node whose files are below `folder`.
pub(crate) fn node_settings(folder: &Path, first_tier: bool) -> Vec<(String, String)> {
    vec![
        ("SPINLET_STATE_DIR".to_owned(), state_dir(folder).display().to_string()),
        ("SPINLET_FIRST_TIER".to_owned(), first_tier.to_string()),
    ]
}

/// A running containerd; ends with the value.
#[derive(Debug)]
pub(crate) struct Containerd {
    process: Process,
    ctr: PathBuf,
    folder: PathBuf,
    /// The containerd namespace of everything that is started; runc keeps what it
    /// knows by this name in a folder of the machine.
    namespace: String,
    pub(crate) version: String,
}

impl Containerd {
    /// Starts the containerd of `programs`, or the one of PATH, with all its files
    /// below `folder`.
    pub(crate) fn start(
        programs: Option<&Path>,
        folder: &Path,
        group: &Group,
        environment: &[(String, String)],
    ) -> Result<Self> {
        let program = |name: &str| match programs {
            Some(folder) => Ok(std::path::absolute(folder.join(name))?),
            None => find(name).with_context(|| {
                format!("{name} is not installed; name the folder it is in with --containerd")
            }),
        };
        let (containerd, ctr) = (program("containerd")?, program("ctr")?);
        let version = output_of(&containerd, &["--version"])?;
        let config = folder.join("config.toml");
        fs_err::write(&config, configuration(folder))?;
        let paths = programs.map(Path::to_owned).into_iter().chain(search_path());
        let paths = std::env::join_paths(paths)?.to_string_lossy().into_owned();
        let path = ("PATH".to_owned(), paths);
        let environment: Vec<_> = environment.iter().cloned().chain([path]).collect();
        let arguments = ["--config".to_owned(), config.display().to_string()];
        let log = folder.join("containerd.log");
        let process =
            Process::start(&containerd, &arguments, &environment, group.services(), &log)?;
        let mut words = version.split_whitespace().skip(1);
        let version = format!("containerd {}", words.nth(1).unwrap_or_default());
        let namespace = format!("spinlet-bench-{}", std::process::id());
        let started = Self { process, ctr, folder: folder.to_owned(), namespace, version };
        started.wait_until_it_answers()?;
        Ok(started)
    }

    fn wait_until_it_answers(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.ctr(&["version"]) {
            ensure!(Instant::now() < end, "containerd does not answer: {error}; {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Process id.
    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// `ctr` arguments that name this containerd.
    pub(crate) fn ctr_arguments(&self, arguments: &[&str]) -> Vec<String> {
        let socket = socket(&self.folder).display().to_string();
        let own = ["--address", &socket, "--namespace", &self.namespace];
        own.iter().chain(arguments).map(|&argument| argument.to_owned()).collect()
    }

    /// Runs `ctr`, which must succeed; its standard output.
    pub(crate) fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let arguments = self.ctr_arguments(arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        output_of(&self.ctr, &arguments)
    }

    /// Takes an image from its file.
    pub(crate) fn import(&self, image: &Image) -> Result<()> {
        let file = image.file.display().to_string();
        self.ctr(&["image", "import", "--all-platforms", &file])
            .with_context(|| format!("containerd does not take {}", image.reference))?;
        Ok(())
    }

    /// Starts `ctr` in the group.
    pub(crate) fn start_ctr(&self, arguments: &[&str], group: &Group) -> Result<Process> {
        let log = self.folder.join("ctr.log");
        let _ = fs_err::remove_file(&log);
        let arguments = self.ctr_arguments(arguments);
        Process::start(&self.ctr, &arguments, &[], group.services(), &log)
    }

    /// Ends and deletes a task and its container; what is not there is fine.
    pub(crate) fn remove(&self, id: &str, group: &Group) -> Result<()> {
        let task = self.start_ctr(&["task", "delete", "--force", id], group)?.wait(COMMAND)?;
        let container = self.start_ctr(&["container", "delete", id], group)?.wait(COMMAND)?;
        ensure!(
            task.code() == 0 || container.code() == 0,
            "{id} cannot be deleted: {}",
            self.log()
        );
        Ok(())
    }

    /// The folder in which a shim finds its bundle.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.folder.join("state/io.containerd.runtime.v2.task").join(&self.namespace).join(id)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.signal(15);
        let _ = self.process.wait(Duration::from_secs(10));
        unmount_below(&self.folder);
        let _ = fs_err::remove_dir(Path::new("/run/containerd/runc").join(&self.namespace));
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("containerd.sock")
}

/// Spinlet's state directory of this run.
pub(crate) fn state_dir(folder: &Path) -> PathBuf {
    folder.join("spinlet")
}

/// CRI and NRI are left out: they would need a network and fixed places.
fn configuration(folder: &Path) -> String {
    let place = folder.display();
    format!(
        "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
         \"io.containerd.cri.v1.runtime\", \"io.containerd.nri.v1.nri\", \
         \"io.containerd.podsandbox.controller.v1.podsandbox\"]\n\
         [grpc]\naddress = \"{place}/containerd.sock\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{place}/opt\"\n"
    )
}

/// The mount points below a folder, deepest last.
pub(crate) fn mounts_below(folder: &Path) -> Vec<String> {
    let place = folder.display().to_string();
    let table = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<String> =
        points.filter(|point| point.starts_with(&place)).map(str::to_owned).collect();
    points.sort_unstable();
    points
}

fn unmount_below(folder: &Path) {
    for point in mounts_below(folder).iter().rev() {
        let _ = rustix::mount::unmount(point.as_str(), rustix::mount::UnmountFlags::DETACH);
    }
}
