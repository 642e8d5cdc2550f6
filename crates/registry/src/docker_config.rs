//! Docker's `config.json`: credentials in the file, in a credential store, or
//! behind a helper program per registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Password;
use crate::credentials::{Credential, Found};

/// The key under which docker keeps the credentials of Docker Hub.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A helper may ask a person to unlock a key ring.
const HELPER_TIMEOUT: Duration = Duration::from_mins(1);

/// Stored credentials that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is there but cannot be opened; the text names it.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// The file is not what docker writes.
    #[error("{} is not a docker configuration: mend or remove it", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// An `auth` field that is not base64 of `user:password`.
    #[error(
        "{} holds unreadable credentials for {registry}: sign in again with `docker login {registry}`",
        .path.display()
    )]
    Auth {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
    },
    /// The helper configured for exactly this registry failed.
    #[error("credential helper {helper} gave no credentials for {registry}: {reason}")]
    Helper {
        /// Name of the program.
        helper: String,
        /// The registry.
        registry: String,
        /// What went wrong.
        reason: String,
    },
}

/// The part of docker's `config.json` that is about credentials.
#[derive(Debug, Default)]
pub struct DockerConfig {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Content {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What a helper program answers to `get`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl DockerConfig {
    /// Reads `config.json` in a folder; a missing file is an empty one.
    ///
    /// # Errors
    /// [`CredentialsError::Read`] and [`CredentialsError::Parse`] name the file.
    pub fn load(folder: &Path) -> Result<Self, CredentialsError> {
        let path = folder.join("config.json");
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, content: Content::default() });
            }
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_slice(&bytes) {
            Ok(content) => Ok(Self { path, content }),
            Err(source) => Err(CredentialsError::Parse { path, source }),
        }
    }

    /// Looks a registry up in docker's order: its own helper, the credential
    /// store, the file.
    pub(crate) async fn find(&self, registry: &str) -> Result<Found, CredentialsError> {
        if let Some(name) = lookup(&self.content.cred_helpers, registry) {
            let credential =
                ask(name, registry).await.map_err(|reason| CredentialsError::Helper {
                    helper: helper_program(name),
                    registry: registry.to_owned(),
                    reason,
                })?;
            let credential = credential.unwrap_or(Credential::Anonymous);
            return Ok(Found { credential, trouble: None });
        }
        // A store named in the file may be missing on this machine, and most
        // pulls need no credentials: not fatal, but worth telling on a denial.
        let mut trouble = None;
        if let Some(name) = &self.content.creds_store {
            match ask(name, registry).await {
                Ok(Some(credential)) => return Ok(Found { credential, trouble: None }),
                Ok(None) => {}
                Err(reason) => {
                    trouble = Some(format!("{} failed: {reason}", helper_program(name)));
                }
            }
        }
        let credential = match lookup(&self.content.auths, registry) {
            Some(entry) => entry.credential().ok_or_else(|| CredentialsError::Auth {
                path: self.path.clone(),
                registry: registry.to_owned(),
            })?,
            None => Credential::Anonymous,
        };
        Ok(Found { credential, trouble })
    }
}

impl Entry {
    /// None when the entry cannot be understood.
    fn credential(&self) -> Option<Credential> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Some(Credential::IdentityToken(Password::new(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Some(Credential::RegistryToken(Password::new(token)));
        }
        let (user, password) = match given(&self.auth) {
            Some(auth) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
                let text = String::from_utf8(bytes).ok()?;
                let (user, password) = text.split_once(':')?;
                (user.to_owned(), password.trim_end_matches('\0').to_owned())
            }
            None => match (given(&self.username), given(&self.password)) {
                (Some(user), Some(password)) => (user, password),
                // `docker login` leaves an empty entry when a store has the rest.
                _ => return Some(Credential::Anonymous),
            },
        };
        Some(Credential::Basic { user, password: Password::new(password) })
    }
}

/// Finds the entry of a registry among keys like `ghcr.io`,
/// `https://ghcr.io/v2/` or `https://index.docker.io/v1/`.
fn lookup<'a, V>(entries: &'a BTreeMap<String, V>, registry: &str) -> Option<&'a V> {
    let wanted = host_of(registry);
    entries
        .get(registry)
        .or_else(|| entries.iter().find(|(key, _)| host_of(key) == wanted).map(|(_, value)| value))
}

fn host_of(key: &str) -> &str {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest);
    match host.split('/').next().unwrap_or_default() {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        host => host,
    }
}

fn helper_program(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// Asks a helper program; none means that it knows nothing of the registry.
async fn ask(name: &str, registry: &str) -> Result<Option<Credential>, String> {
    // The name becomes part of a program name: it must not lead elsewhere.
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Err("its name is not that of a program".to_owned());
    }
    let server = if host_of(registry) == "index.docker.io" { DOCKER_HUB } else { registry };
    run(Command::new(helper_program(name)), server).await
}

async fn run(mut helper: Command, server: &str) -> Result<Option<Credential>, String> {
    let mut child = helper
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "it is not installed".to_owned(),
            _ => error.to_string(),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input tells why by its exit status.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    let output = tokio::time::timeout(HELPER_TIMEOUT, child.wait_with_output())
        .await
        .map_err(|_| format!("no answer within {} seconds", HELPER_TIMEOUT.as_secs()))?
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        if said.contains("credentials not found") || complaint.contains("credentials not found") {
            return Ok(None);
        }
        let line = complaint.lines().chain(said.lines()).find(|line| !line.trim().is_empty());
        return Err(line.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|_| "its answer is not the JSON object that docker expects".to_owned())?;
    let secret = Password::new(answer.secret);
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credential::IdentityToken(secret),
        _ => Credential::Basic { user: answer.username, password: secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> DockerConfig {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("config.json"), json).unwrap();
        DockerConfig::load(folder.path()).unwrap()
    }

    async fn find(json: &str, registry: &str) -> Credential {
        config(json).find(registry).await.unwrap().credential
    }

    fn basic(user: &str, password: &str) -> Credential {
        Credential::Basic { user: user.into(), password: Password::new(password) }
    }

    /// A helper played by a shell.
    async fn helper(script: &str) -> Result<Option<Credential>, String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "helper"]);
        run(shell, "ghcr.io").await
    }

    #[tokio::test]
    async fn a_missing_file_means_no_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let found = DockerConfig::load(folder.path()).unwrap().find("ghcr.io").await.unwrap();
        assert_eq!(found.credential, Credential::Anonymous);
    }

    #[tokio::test]
    async fn user_and_password_are_decoded_and_the_password_may_hold_colons() {
        // base64 of "me:pa:ss"
        let json = r#"{"auths": {"ghcr.io": {"auth": "bWU6cGE6c3M="}}}"#;
        assert_eq!(find(json, "ghcr.io").await, basic("me", "pa:ss"));
        assert_eq!(find(json, "quay.io").await, Credential::Anonymous);
    }

    #[tokio::test]
    async fn keys_may_be_urls_and_ports_are_told_apart() {
        let json = r#"{"auths": {
            "https://index.docker.io/v1/": {"username": "hub", "password": "1"},
            "https://registry.local:5000/v2/": {"username": "local", "password": "2"}}}"#;
        assert_eq!(find(json, "index.docker.io").await, basic("hub", "1"));
        assert_eq!(find(json, "registry.local:5000").await, basic("local", "2"));
        assert_eq!(find(json, "registry.local:5001").await, Credential::Anonymous);
    }

    #[tokio::test]
    async fn identity_tokens_come_before_the_password_beside_them() {
        let json = r#"{"auths": {"x.azurecr.io": {"auth": "MDA6", "identitytoken": "refresh"}}}"#;
        assert_eq!(
            find(json, "x.azurecr.io").await,
            Credential::IdentityToken(Password::new("refresh"))
        );
    }

    #[tokio::test]
    async fn an_unreadable_auth_field_names_file_and_registry() {
        let config = config(r#"{"auths": {"ghcr.io": {"auth": "%%%"}}}"#);
        let error = config.find("ghcr.io").await.unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("docker login ghcr.io"), "{error}");
    }

    #[test]
    fn a_broken_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("config.json"), "{").unwrap();
        let error = DockerConfig::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("config.json is not a docker configuration"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_store_is_no_error_but_is_remembered() {
        let config = config(r#"{"credsStore": "spinlet-no-such-store"}"#);
        let found = config.find("ghcr.io").await.unwrap();
        assert_eq!(found.credential, Credential::Anonymous);
        assert!(found.trouble.unwrap().contains("docker-credential-spinlet-no-such-store"));
    }

    #[tokio::test]
    async fn a_missing_helper_of_this_very_registry_is_an_error() {
        let config = config(r#"{"credHelpers": {"ghcr.io": "spinlet-no-such-helper"}}"#);
        let error = config.find("ghcr.io").await.unwrap_err().to_string();
        assert!(error.contains("docker-credential-spinlet-no-such-helper"), "{error}");
        assert!(error.contains("it is not installed"), "{error}");
        assert!(config.find("quay.io").await.is_ok());
    }

    #[tokio::test]
    async fn a_helper_name_cannot_lead_to_another_folder() {
        assert!(ask("../../bin/evil", "ghcr.io").await.is_err());
    }

    #[tokio::test]
    async fn a_helper_is_asked_for_the_server_on_its_input() {
        let script = r#"test "$1" = get || exit 9
            read -r server || true
            printf '{"ServerURL":"%s","Username":"me","Secret":"for-%s"}' "$server" "$server""#;
        assert_eq!(helper(script).await.unwrap(), Some(basic("me", "for-ghcr.io")));
    }

    #[tokio::test]
    async fn a_helper_may_answer_with_an_identity_token() {
        let script = r#"printf '{"Username":"<token>","Secret":"refresh"}'"#;
        assert_eq!(
            helper(script).await.unwrap(),
            Some(Credential::IdentityToken(Password::new("refresh")))
        );
    }

    #[tokio::test]
    async fn a_helper_without_credentials_is_told_from_one_that_fails() {
        let nothing = "echo 'credentials not found in native keychain'; exit 1";
        assert_eq!(helper(nothing).await, Ok(None));
        assert_eq!(
            helper("echo 'key ring is locked' >&2; exit 1").await,
            Err("key ring is locked".to_owned())
        );
        assert!(helper("echo nonsense").await.is_err());
    }
}
