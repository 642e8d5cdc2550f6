//! What is known about a node before anything is changed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::{Cri, CriError, Distribution, Root, Service, config};

/// What our file in a folder with drop-ins is called.
pub(crate) const DROP_IN: &str = "spinlet.toml";
/// The folder from which k0s reads drop-ins.
pub(crate) const K0S_DROP_INS: &str = "/etc/k0s/containerd.d";

/// Flatcar's own configuration, which is read as long as the service is not told
/// of another.
pub(crate) const FLATCAR_CONFIG: &str = "/usr/share/containerd/config.toml";
/// Tells Flatcar's service of another.
pub(crate) const FLATCAR_SERVICE: &str = "/etc/systemd/system/containerd.service.d/10-spinlet.conf";
/// The file that containerd reads unless it is told otherwise.
pub(crate) const CONFIG: &str = "/etc/containerd/config.toml";

/// A file as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigFile {
    /// Where it is on the node.
    pub path: PathBuf,
    /// What is in it; none when it does not exist.
    #[serde(skip)]
    pub text: Option<String>,
}

/// A version of containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Version {
    /// Reads `1.7.24`, `v2.4.2`, `2.0.0-rc.1` or `v2.1.5-k3s1`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().trim_start_matches('v').split(['.', '-', '+']);
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Everything that a plan depends on.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Who configures containerd.
    pub distribution: Distribution,
    /// Which containerd runs.
    pub version: Version,
    /// The file that the administrator or the distribution writes.
    pub source: ConfigFile,
    /// The file that containerd reads, where that is made from the source.
    pub rendered: Option<ConfigFile>,
    /// Files of ours that exist already in folders with drop-ins.
    pub drop_ins: Vec<ConfigFile>,
    /// How containerd is restarted; none when nothing on the node tells.
    pub service: Option<Service>,
    /// The handlers that containerd knows now.
    pub handlers: Vec<String>,
}

/// A fact could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file cannot be read; the source names it.
    #[error("cannot read the node's configuration")]
    Read(#[from] io::Error),
    /// containerd does not say what it knows.
    #[error("cannot tell what the node's containerd knows")]
    Containerd(#[from] CriError),
    /// A file is not text.
    #[error("{0} is not UTF-8 text; it cannot be a configuration of containerd")]
    NotText(PathBuf),
}

impl Facts {
    /// Asks the containerd at a socket, a path of this process, and reads the
    /// node's files. Where nothing can be installed nothing is asked.
    ///
    /// # Errors
    /// Fails when containerd does not answer, or a file is there but cannot be
    /// read.
    pub async fn gather(root: &Root, socket: &Path) -> Result<Self, FactsError> {
        if Distribution::of(root) == Distribution::Bottlerocket {
            return Self::read(root, Version { major: 2, minor: 0 }, Vec::new());
        }
        let mut cri = Cri::connect(socket).await?;
        let (version, handlers) = (cri.version().await?, cri.handlers().await?);
        Self::read(root, version, handlers)
    }

    /// Reads the files of a node whose containerd says its version and its
    /// handlers.
    ///
    /// # Errors
    /// Fails when a file is there but cannot be read.
    pub fn read(root: &Root, version: Version, handlers: Vec<String>) -> Result<Self, FactsError> {
        let distribution = Distribution::of(root);
        let (source, rendered) = files(root, distribution, version);
        let source = read(root, source)?;
        let rendered = rendered.map(|path| read(root, path)).transpose()?;
        Ok(Self {
            distribution,
            version,
            drop_ins: drop_ins(root, &source, rendered.as_ref())?,
            source,
            rendered,
            service: unit(root, distribution).map(Service::Unit),
            handlers,
        })
    }
}

fn read(root: &Root, path: PathBuf) -> Result<ConfigFile, FactsError> {
    let text = match root.read(&path)? {
        Some(bytes) => {
            Some(String::from_utf8(bytes).map_err(|_| FactsError::NotText(path.clone()))?)
        }
        None => None,
    };
    Ok(ConfigFile { path, text })
}

/// Our files in every folder from which drop-ins are read.
fn drop_ins(
    root: &Root,
    source: &ConfigFile,
    rendered: Option<&ConfigFile>,
) -> Result<Vec<ConfigFile>, FactsError> {
    let texts = [Some(source), rendered].into_iter().flatten();
    let texts = texts.filter_map(|file| file.text.as_deref());
    let documents = texts.filter_map(|text| config::parse(text).ok());
    let folders = documents.filter_map(|document| config::drop_in_folder(&document));
    let folders = folders.chain([PathBuf::from(K0S_DROP_INS)]);
    let files = folders.map(|folder| read(root, folder.join(DROP_IN)));
    files.filter(|file| file.as_ref().map_or(true, |file| file.text.is_some())).collect()
}

fn files(root: &Root, distribution: Distribution, version: Version) -> (PathBuf, Option<PathBuf>) {
    let rancher = |name: &str| {
        let folder = Path::new("/var/lib/rancher").join(name).join("agent/etc/containerd");
        let template = if version.major >= 2 { "config-v3.toml.tmpl" } else { "config.toml.tmpl" };
        (folder.join(template), Some(folder.join("config.toml")))
    };
    match distribution {
        Distribution::K3s => rancher("k3s"),
        Distribution::Rke2 => rancher("rke2"),
        Distribution::K0s => {
            let rendered = PathBuf::from("/run/k0s/containerd-cri.toml");
            let rendered = root.exists(&rendered).then_some(rendered);
            ("/etc/k0s/containerd.toml".into(), rendered)
        }
        Distribution::MicroK8s => {
            ("/var/snap/microk8s/current/args/containerd-template.toml".into(), None)
        }
        Distribution::Flatcar if !root.exists(Path::new(CONFIG)) => (FLATCAR_CONFIG.into(), None),
        _ => (CONFIG.into(), None),
    }
}

/// The first candidate of which the node has a unit file.
fn unit(root: &Root, distribution: Distribution) -> Option<String> {
    let candidates: &[&str] = match distribution {
        Distribution::K3s => &["k3s", "k3s-agent"],
        Distribution::Rke2 => &["rke2-server", "rke2-agent"],
        Distribution::K0s => &["k0scontroller", "k0sworker"],
        Distribution::MicroK8s => &["snap.microk8s.daemon-containerd"],
        _ => &["containerd"],
    };
    let folders = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    let present = candidates.iter().find(|unit| {
        let file = format!("{unit}.service");
        folders.iter().any(|folder| root.exists(&Path::new(folder).join(&file)))
    });
    present.map(|unit| (*unit).to_owned())
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "distribution   {}", self.distribution)?;
        writeln!(f, "containerd     {}", self.version)?;
        let state = if self.source.text.is_some() { "" } else { " (absent)" };
        writeln!(f, "configuration  {}{state}", self.source.path.display())?;
        if let Some(rendered) = &self.rendered {
            writeln!(f, "rendered as    {}", rendered.path.display())?;
        }
        for file in &self.drop_ins {
            writeln!(f, "drop-in        {}", file.path.display())?;
        }
        match &self.service {
            Some(service) => writeln!(f, "service        {service}")?,
            None => writeln!(f, "service        none of the usual ones")?,
        }
        write!(f, "handlers       {}", self.handlers.join(", "))
    }
}
