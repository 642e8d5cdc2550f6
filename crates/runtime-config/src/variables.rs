//! `[[variables_provider]]`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::{Reader, Secret};

/// Who has values for variables.
#[derive(Clone, PartialEq, Eq)]
pub enum VariablesProvider {
    /// `type = "env"`: the environment that configures the app.
    Environment {
        /// What stands before `_NAME`; none: `SPIN_VARIABLE`.
        prefix: Option<String>,
        /// A file of lines `NAME=value`, for what the environment lacks.
        dotenv_path: Option<PathBuf>,
    },
    /// `type = "static"`: values that do not change while the app runs.
    Static {
        /// Values by name.
        values: BTreeMap<String, String>,
        /// A TOML table or JSON object of strings; or a folder in which each file
        /// is a variable, as a mounted Secret is.
        path: Option<PathBuf>,
    },
    /// `type = "vault"`: the key-value engine, version 2, of HashiCorp Vault or
    /// OpenBao.
    Vault {
        /// `http://` or `https://`.
        url: String,
        /// The token.
        token: Secret,
        /// Where the engine is mounted.
        mount: String,
        /// What stands before the name in the path of a secret.
        prefix: Option<String>,
    },
    /// `type = "azure_key_vault"`.
    AzureKeyVault {
        /// `https://`, and `http://` for tests.
        vault_url: String,
        /// None: the identity of the workload.
        secret: Option<AzureSecret>,
        /// Who gives out tokens.
        cloud: AzureCloud,
    },
}

/// An application of Azure with its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureSecret {
    /// The application.
    pub client_id: String,
    /// Its password.
    pub client_secret: Secret,
    /// The tenant it belongs to.
    pub tenant_id: String,
}

/// The clouds of Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AzureCloud {
    /// `AzurePublicCloud`.
    #[default]
    Public,
    /// `AzureChina`.
    China,
    /// `AzureGermany`.
    Germany,
    /// `AzureGovernment`.
    Government,
}

impl AzureCloud {
    /// Where tokens are given out.
    pub fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::China => "https://login.chinacloudapi.cn",
            Self::Germany => "https://login.microsoftonline.de",
            Self::Government => "https://login.microsoftonline.us",
        }
    }
}

/// Both names of the key, in the order of the file within each.
pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<VariablesProvider> {
    let mut providers = reader.tables("variables_provider", provider);
    let older = reader.tables("config_provider", provider);
    if !providers.is_empty() && !older.is_empty() {
        reader.refuse("variables_provider and config_provider are two names of one key; use one");
    }
    providers.extend(older);
    providers
}

fn provider(reader: &mut Reader<'_>) -> Option<VariablesProvider> {
    match reader.kind(&["env", "static", "vault", "azure_key_vault"])?.as_str() {
        "env" => Some(VariablesProvider::Environment {
            prefix: reader.text("prefix"),
            dotenv_path: reader.path("dotenv_path"),
        }),
        "static" => Some(fixed(reader)),
        "vault" => vault(reader),
        _ => azure_key_vault(reader),
    }
}

fn fixed(reader: &mut Reader<'_>) -> VariablesProvider {
    let (values, path) = (reader.text_map("values"), reader.path("path"));
    if values.is_none() && path.is_none() {
        reader.refuse("values or path is missing");
    }
    for name in values.iter().flat_map(BTreeMap::keys) {
        if let Err(error) = app::template::check_variable_name(name) {
            reader.refuse(&error.to_string());
        }
    }
    VariablesProvider::Static { values: values.unwrap_or_default(), path }
}

fn vault(reader: &mut Reader<'_>) -> Option<VariablesProvider> {
    let url = reader.required_url("url", &["http", "https"]);
    let token = reader.required_secret("token");
    let mount = reader.required_text("mount");
    let prefix = reader.text("prefix").filter(|prefix| !prefix.is_empty());
    Some(VariablesProvider::Vault { url: url?, token: token?, mount: mount?, prefix })
}

fn azure_key_vault(reader: &mut Reader<'_>) -> Option<VariablesProvider> {
    let vault_url = reader.required_url("vault_url", &["https", "http"]);
    let given =
        (reader.text("client_id"), reader.secret("client_secret"), reader.text("tenant_id"));
    let secret = match given {
        (Some(client_id), Some(client_secret), Some(tenant_id)) => {
            Some(AzureSecret { client_id, client_secret, tenant_id })
        }
        (None, None, None) => None,
        _ => {
            reader.refuse("client_id, client_secret and tenant_id belong together");
            None
        }
    };
    let cloud = match reader.text("authority_host").as_deref() {
        None | Some("AzurePublicCloud") => AzureCloud::Public,
        Some("AzureChina") => AzureCloud::China,
        Some("AzureGermany") => AzureCloud::Germany,
        Some("AzureGovernment") => AzureCloud::Government,
        Some(other) => {
            reader.refuse(&format!(
                "there is no authority_host {other:?}; these exist: AzurePublicCloud, AzureChina, \
                 AzureGermany, AzureGovernment"
            ));
            AzureCloud::Public
        }
    };
    Some(VariablesProvider::AzureKeyVault { vault_url: vault_url?, secret, cloud })
}

impl fmt::Debug for VariablesProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { prefix, dotenv_path } => f
                .debug_struct("Environment")
                .field("prefix", prefix)
                .field("dotenv_path", dotenv_path)
                .finish(),
            // The values may be secret.
            Self::Static { values, path } => f
                .debug_struct("Static")
                .field("values", &values.keys().collect::<Vec<_>>())
                .field("path", path)
                .finish(),
            Self::Vault { url, token, mount, prefix } => f
                .debug_struct("Vault")
                .field("url", url)
                .field("token", token)
                .field("mount", mount)
                .field("prefix", prefix)
                .finish(),
            Self::AzureKeyVault { vault_url, secret, cloud } => f
                .debug_struct("AzureKeyVault")
                .field("vault_url", vault_url)
                .field("secret", secret)
                .field("cloud", cloud)
                .finish(),
        }
    }
}
