//! What has to be done on a node, as a function of facts: no I/O.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{self, Runtime, RuntimeTableError};
use crate::facts::{CONFIG, ConfigFile, DROP_IN, FLATCAR_CONFIG, FLATCAR_SERVICE, K0S_DROP_INS};
use crate::service::know_ours;
use crate::{Distribution, Facts, HANDLERS, Restart, SHIM, template};

/// A configuration file and what it is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Write {
    /// Where, on the node.
    pub path: PathBuf,
    /// The whole content.
    pub text: String,
    /// Whether the file is there already.
    pub replaces: bool,
}

/// What an installation does, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Who configures containerd.
    pub distribution: Distribution,
    /// Where the shim goes; none where the operating system brings one.
    pub program: Option<PathBuf>,
    /// The configuration that changes; empty when it is right already.
    pub writes: Vec<Write>,
    /// How containerd learns of it; none when it knows already.
    pub restart: Option<Restart>,
}

/// Nothing can be installed on the node.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The operating system does not allow it.
    #[error("{distribution} does not allow another runtime to be installed: {instead}")]
    Unsupported {
        /// The operating system.
        distribution: Distribution,
        /// What to do.
        instead: &'static str,
    },
    /// The configuration cannot be edited.
    #[error("cannot add the handlers to {path}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: RuntimeTableError,
    },
    /// There is nothing to edit.
    #[error("{0} does not exist, although {1} writes it; is {1} installed completely?")]
    Absent(PathBuf, Distribution),
    /// Nothing that could be restarted.
    #[error(
        "containerd has to be restarted, but the node has none of the services that usually run \
         it for {0}; say how it is restarted (`spinlet install --restart COMMAND`)"
    )]
    NoService(Distribution),
}

/// Plans an installation.
///
/// # Errors
/// Fails when the node does not allow one, or its configuration contradicts it.
pub fn plan(facts: &Facts) -> Result<Plan, PlanError> {
    let distribution = facts.distribution;
    if distribution == Distribution::Talos && knows_first(facts) {
        // Its system extension registers that handler with a shim of its own.
        return Ok(Plan { distribution, program: None, writes: Vec::new(), restart: None });
    }
    refuse_unsupported(distribution)?;
    let program = Path::new(distribution.program_folder()).join(SHIM);
    let runtime = Runtime {
        program: program.display().to_string(),
        replaces_default: facts.version.major < 2,
    };
    let mut writes = changes(facts, &runtime)?;
    writes.retain(|write| !is_there_already(facts, write));
    let restart = restart(facts, &writes)?;
    Ok(Plan { distribution, program: Some(program), writes, restart })
}

/// Whether containerd has the handler that our RuntimeClass names.
fn knows_first(facts: &Facts) -> bool {
    HANDLERS.first().is_some_and(|first| facts.handlers.iter().any(|handler| handler == first))
}

fn restart(facts: &Facts, writes: &[Write]) -> Result<Option<Restart>, PlanError> {
    // A configuration that is right but not read yet is read at a restart, too.
    if writes.is_empty() && know_ours(&facts.handlers) {
        return Ok(None);
    }
    // k0s watches its folder and restarts containerd by itself.
    if writes.iter().any(|write| write.path.starts_with(K0S_DROP_INS)) {
        return Ok(Some(Restart::ByItself));
    }
    let service = facts.service.clone().ok_or(PlanError::NoService(facts.distribution))?;
    let reload = writes.iter().any(|write| is_of_systemd(&write.path));
    Ok(Some(Restart::Service { service, reload }))
}

/// Whether systemd reads a file.
pub(crate) fn is_of_systemd(path: &Path) -> bool {
    path.starts_with("/etc/systemd")
}

fn refuse_unsupported(distribution: Distribution) -> Result<(), PlanError> {
    let instead = match distribution {
        Distribution::Bottlerocket => "use nodes with another operating system",
        Distribution::Talos => {
            "add the system extension for Spin to the machine configuration; only the RuntimeClass \
             is needed then"
        }
        _ => return Ok(()),
    };
    Err(PlanError::Unsupported { distribution, instead })
}

/// What the files are to hold that register the handlers.
fn changes(facts: &Facts, runtime: &Runtime) -> Result<Vec<Write>, PlanError> {
    let one = |write: Write| vec![write];
    match facts.distribution {
        Distribution::K3s | Distribution::Rke2 => of_rancher(facts, runtime).map(one),
        Distribution::K0s if is_managed_by_k0s(&facts.source) => {
            let version = facts.rendered.as_ref().map_or(Ok(None), version_of)?;
            let path = Path::new(K0S_DROP_INS).join(DROP_IN);
            // k0s adds it to a list of its own.
            let runtime = Runtime { replaces_default: false, ..runtime.clone() };
            fragment(path, version.unwrap_or(default_version(facts)), &runtime).map(one)
        }
        Distribution::MicroK8s | Distribution::K0s if facts.source.text.is_none() => {
            Err(PlanError::Absent(facts.source.path.clone(), facts.distribution))
        }
        Distribution::Flatcar if facts.source.path == Path::new(FLATCAR_CONFIG) => {
            of_flatcar(facts, runtime)
        }
        _ => of_root_file(facts, runtime).map(one),
    }
}

fn is_managed_by_k0s(source: &ConfigFile) -> bool {
    let first = source.text.as_deref().and_then(|text| text.lines().next());
    first.is_some_and(|line| line.trim() == "# k0s_managed=true")
}

/// The version that a containerd without configuration is given one in.
fn default_version(facts: &Facts) -> u8 {
    if facts.version.major >= 2 { 3 } else { 2 }
}

fn version_of(file: &ConfigFile) -> Result<Option<u8>, PlanError> {
    let Some(text) = &file.text else { return Ok(None) };
    let version = config::parse(text).and_then(|document| config::version(&document));
    version.map(Some).map_err(|source| PlanError::Config { path: file.path.clone(), source })
}

fn fragment(path: PathBuf, version: u8, runtime: &Runtime) -> Result<Write, PlanError> {
    match config::fragment(version, runtime) {
        Ok(text) => Ok(Write { path, text, replaces: false }),
        Err(source) => Err(PlanError::Config { path, source }),
    }
}

/// containerd's own file, edited in place, or a drop-in where it imports some and
/// containerd merges them: 1.7 would replace the whole section.
fn of_root_file(facts: &Facts, runtime: &Runtime) -> Result<Write, PlanError> {
    let path = facts.source.path.clone();
    let Some(text) = &facts.source.text else {
        return fragment(path, default_version(facts), runtime);
    };
    let failed = |source| PlanError::Config { path: path.clone(), source };
    let mut document = config::parse(text).map_err(failed)?;
    let version = config::version(&document).map_err(failed)?;
    if facts.version.major >= 2
        && let Some(folder) = config::drop_in_folder(&document)
    {
        // A drop-in is read in the version of the root file.
        let mut trial = document.clone();
        config::add(&mut trial, runtime).map_err(failed)?;
        return fragment(folder.join(DROP_IN), version, runtime);
    }
    config::add(&mut document, runtime).map_err(failed)?;
    Ok(Write { path, text: document.to_string(), replaces: true })
}

/// Flatcar reads a file that cannot be changed: a copy of it takes its place, and
/// the service is told so.
fn of_flatcar(facts: &Facts, runtime: &Runtime) -> Result<Vec<Write>, PlanError> {
    let own = of_root_file(facts, runtime)?;
    let config = Write { path: CONFIG.into(), replaces: false, ..own };
    let service = Write {
        path: FLATCAR_SERVICE.into(),
        text: format!("[Service]\nEnvironment=CONTAINERD_CONFIG={CONFIG}\n"),
        replaces: false,
    };
    Ok(vec![config, service])
}

/// k3s and RKE2: a drop-in where the rendered file imports them, else our part in
/// the template, which keeps what the distribution itself renders.
fn of_rancher(facts: &Facts, runtime: &Runtime) -> Result<Write, PlanError> {
    let rendered = facts.rendered.as_ref().and_then(|file| {
        let text = file.text.as_deref()?;
        Some((file.path.clone(), text))
    });
    let version = match &rendered {
        Some((path, text)) => {
            let failed = |source| PlanError::Config { path: path.clone(), source };
            let document = config::parse(text).map_err(failed)?;
            let version = config::version(&document).map_err(failed)?;
            refuse_detected(facts, &document, version, runtime).map_err(failed)?;
            if let Some(folder) = config::drop_in_folder(&document) {
                return fragment(folder.join(DROP_IN), version, runtime);
            }
            version
        }
        None => default_version(facts),
    };
    let path = facts.source.path.clone();
    let failed = |source| PlanError::Config { path: path.clone(), source };
    // It is added to the list that the distribution writes.
    let runtime = Runtime { replaces_default: false, ..runtime.clone() };
    let tables = config::fragment(version, &runtime).map_err(failed)?;
    let text = template::with(facts.source.text.as_deref(), tables_only(&tables));
    Ok(Write { path, text, replaces: facts.source.text.is_some() })
}

/// k3s registers `spin` by itself for a shim that it finds on its path: the same
/// table a second time would keep containerd from starting.
fn refuse_detected(
    facts: &Facts,
    rendered: &toml_edit::DocumentMut,
    version: u8,
    runtime: &Runtime,
) -> Result<(), RuntimeTableError> {
    let ours = facts.source.text.as_deref().is_some_and(template::is_in);
    let foreign = HANDLERS.iter().find_map(|handler| {
        let program = config::started_by(rendered, version, handler)?;
        (program != runtime.program).then(|| ((*handler).to_owned(), program))
    });
    match foreign {
        Some((handler, program)) if !ours => Err(RuntimeTableError::Foreign { handler, program }),
        _ => Ok(()),
    }
}

/// A fragment without its comment and its version, which the template's own part
/// has already.
fn tables_only(fragment: &str) -> &str {
    fragment.find("[plugins").map_or(fragment, |start| fragment.get(start..).unwrap_or(fragment))
}

fn is_there_already(facts: &Facts, write: &Write) -> bool {
    let mut files = facts.drop_ins.iter().chain([&facts.source]);
    files.any(|file| file.path == write.path && file.text.as_deref() == Some(write.text.as_str()))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.distribution)?;
        match &self.program {
            Some(program) => writeln!(f, "  put the shim at {}", program.display())?,
            None => writeln!(f, "  use the shim that the operating system brings")?,
        }
        for Write { path, replaces, .. } in &self.writes {
            let verb = if *replaces { "change" } else { "write" };
            let what = if is_of_systemd(path) {
                "the service reads that configuration".to_owned()
            } else {
                format!("handlers {}", HANDLERS.join(", "))
            };
            writeln!(f, "  {verb} {} ({what})", path.display())?;
        }
        if self.writes.is_empty() {
            writeln!(f, "  leave containerd's configuration: the handlers are in it")?;
        }
        match &self.restart {
            Some(Restart::Service { service, .. }) => {
                write!(f, "  restart containerd with {service}; pods keep running")
            }
            Some(Restart::ByItself) => {
                write!(f, "  wait until {} has restarted containerd", self.distribution)
            }
            None => write!(f, "  leave containerd running"),
        }
    }
}

#[cfg(test)]
mod tests;
