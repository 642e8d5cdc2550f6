//! The runtime configuration of an app: found, read, and turned into what the
//! host needs.

mod network;
mod storage;
mod variables;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use app::Problems;
use control::RunSpec;
use fs_err::File;
use host::HostSettings;
use llm::{Protocol, RemoteModels};
use runtime_config::{LlmApi, LlmCompute, MAX_SIZE, RuntimeConfig, Secret};

use crate::RuntimeError;
use crate::state_dir::StateDir;

/// The variable that names a configuration, in a container and for a command
/// line.
const VARIABLE: &str = "RUNTIME_CONFIG_FILE";

/// Where a container has it otherwise, if it has one.
const IN_CONTAINER: &str = "/runtime-config.toml";

/// The runtime configuration of an app; an empty one where there is none.
#[derive(Debug, Default)]
pub struct Configuration {
    config: RuntimeConfig,
}

impl Configuration {
    /// Reads the configuration of what is run, once its container is entered.
    ///
    /// # Errors
    ///
    /// The file that the environment names cannot be read, or a file says what
    /// cannot be used.
    pub fn read(spec: &RunSpec) -> Result<Self, RuntimeError> {
        let Some(path) = find(spec) else { return Ok(Self::default()) };
        let text = read_text(&path).map_err(RuntimeError::ReadConfiguration)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let config = RuntimeConfig::parse(&text, folder)
            .map_err(|source| RuntimeError::Configuration { path: path.clone(), source })?;
        Ok(Self { config })
    }

    /// What it says.
    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    /// `settings`, with what the configuration says. The environment wins where
    /// both say something.
    ///
    /// # Errors
    ///
    /// All files it names that cannot be used.
    pub fn apply(
        &self,
        settings: HostSettings,
        state_dir: &StateDir,
    ) -> Result<HostSettings, RuntimeError> {
        let mut problems = Problems::default();
        let environment = &settings.environment;
        let providers =
            variables::providers(&self.config.variables_providers, environment, &mut problems);
        let storage = storage::settings(&self.config, state_dir, environment, &mut problems);
        let models = models(self.config.llm_compute.as_ref(), &mut problems);
        let max_instance_memory = settings.max_instance_memory.or(self.config.max_instance_memory);
        let outbound = network::settings(&self.config, &mut problems);
        problems
            .into_result(HostSettings {
                providers,
                storage,
                models,
                outbound,
                max_instance_memory,
                ..settings
            })
            .map_err(RuntimeError::ConfiguredFiles)
    }
}

fn find(spec: &RunSpec) -> Option<PathBuf> {
    let named = spec.environment.get(VARIABLE).filter(|path| !path.is_empty());
    if let Some(path) = named {
        return Some(PathBuf::from(path));
    }
    // A mount of a Secret that does not exist can leave an empty folder there.
    let usual = Path::new(IN_CONTAINER);
    (spec.sandbox.is_some() && usual.is_file()).then(|| usual.to_owned())
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SIZE {
        let reason = format!("{} has more than {MAX_SIZE} bytes", path.display());
        return Err(io::Error::other(reason));
    }
    Ok(text)
}

fn models(configured: Option<&LlmCompute>, problems: &mut Problems) -> Option<Arc<RemoteModels>> {
    let Some(LlmCompute::Remote { url, auth_token, api }) = configured else { return None };
    check(auth_token, "[llm_compute]", problems);
    let protocol = match api {
        LlmApi::Spin => Protocol::Spin,
        LlmApi::OpenAi => Protocol::OpenAi,
    };
    match url.parse() {
        Ok(url) => Some(Arc::new(RemoteModels::new(url, auth_token.clone(), protocol))),
        Err(error) => {
            problems.push(format!("[llm_compute]: url: {error}"));
            None
        }
    }
}

/// Reports a secret whose file cannot be read, before anybody needs it.
fn check(secret: &Secret, place: &str, problems: &mut Problems) {
    if let Err(error) = secret.reveal() {
        problems.push(format!("{place}: {}", process_setup::chain(&error)));
    }
}

#[cfg(test)]
mod tests;
