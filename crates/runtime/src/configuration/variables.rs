//! Providers of variables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use app::Problems;
use azure_identity::{Application, Identity};
use runtime_config::{AzureCloud, AzureSecret, VariablesProvider};
use variables::{AzureKeyVault, EnvironmentValues, Provider, Vault, read_dotenv, read_static};

use super::check;

/// Read in the working directory when nothing else is said, as Spin does.
const DOTENV: &str = ".env";

/// Those of the configuration in their order, then the environment, which is
/// always asked last.
pub(super) fn providers(
    configured: &[VariablesProvider],
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Vec<Provider> {
    let environment = Arc::new(environment.clone());
    let mut providers = Vec::new();
    for provider in configured {
        providers.push(match provider {
            VariablesProvider::Environment { prefix, dotenv_path } => {
                let dotenv = dotenv(dotenv_path.as_deref(), problems);
                let environment = Arc::clone(&environment);
                Provider::Environment(EnvironmentValues::new(environment, dotenv, prefix.clone()))
            }
            VariablesProvider::Static { values, path } => {
                Provider::Static(fixed(values, path.as_deref(), problems))
            }
            VariablesProvider::Vault { url, token, mount, prefix } => {
                check(token, "the token of Vault", problems);
                let vault = Vault::new(url, token.clone(), mount, prefix.as_deref());
                Provider::Remote(Arc::new(vault))
            }
            VariablesProvider::AzureKeyVault { vault_url, secret, cloud } => {
                let identity = identity(secret.as_ref(), *cloud, &environment, problems);
                Provider::Remote(Arc::new(AzureKeyVault::new(vault_url, identity)))
            }
        });
    }
    let usual = Path::new(DOTENV);
    let dotenv = dotenv(usual.is_file().then_some(usual), problems);
    providers.push(Provider::Environment(EnvironmentValues::new(environment, dotenv, None)));
    providers
}

fn dotenv(path: Option<&Path>, problems: &mut Problems) -> BTreeMap<String, String> {
    let read = path.map(read_dotenv).transpose();
    read.unwrap_or_else(|error| {
        problems.push(process_setup::chain(&error));
        None
    })
    .unwrap_or_default()
}

/// The values in the configuration win over those in the file.
fn fixed(
    values: &BTreeMap<String, String>,
    path: Option<&Path>,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let mut all = match path.map(read_static) {
        None => BTreeMap::new(),
        Some(Ok(found)) => found,
        Some(Err(error)) => {
            problems.push(process_setup::chain(&error));
            BTreeMap::new()
        }
    };
    all.extend(values.clone());
    all
}

fn identity(
    secret: Option<&AzureSecret>,
    cloud: AzureCloud,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Identity {
    let Some(AzureSecret { client_id, client_secret, tenant_id }) = secret else {
        return Identity::from_environment(environment);
    };
    check(client_secret, "the client_secret of Azure Key Vault", problems);
    let named = environment.get("AZURE_AUTHORITY_HOST").filter(|host| !host.is_empty());
    Identity::application(Application {
        authority: named.map_or(cloud.authority(), String::as_str).to_owned(),
        tenant_id: tenant_id.clone(),
        client_id: client_id.clone(),
        client_secret: client_secret.clone(),
    })
}
