//! Which credentials belong to which registry.

use std::fmt;
use std::path::PathBuf;

use crate::docker_config::{CredentialsError, DockerConfig};
use crate::endpoint::Endpoint;

/// A secret that does not show in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

/// Where user names and passwords come from.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// For the registry that the reference names, never for its mirrors.
    pub explicit: Option<(String, Password)>,
    /// Folder with docker's `config.json`, which `docker login` writes; a
    /// missing file means no credentials.
    pub docker_config: Option<PathBuf>,
}

/// What to show to one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Anonymous,
    Basic {
        user: String,
        password: Password,
    },
    /// An OAuth2 refresh token, to be exchanged at the registry's token service.
    IdentityToken(Password),
    /// A token to send as it is.
    RegistryToken(Password),
}

/// A credential and what became of the search for it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) credential: Credential,
    /// Why a configured source gave nothing; part of the advice when the
    /// registry then denies access.
    pub(crate) trouble: Option<String>,
}

impl Credentials {
    /// Looks for the credentials of one endpoint.
    pub(crate) async fn find(&self, endpoint: &Endpoint) -> Result<Found, CredentialsError> {
        if let Some((user, password)) = &self.explicit
            && !endpoint.is_mirror
        {
            let credential = Credential::Basic { user: user.clone(), password: password.clone() };
            return Ok(Found { credential, trouble: None });
        }
        match &self.docker_config {
            Some(folder) => DockerConfig::load(folder)?.find(&endpoint.authority).await,
            None => Ok(Found { credential: Credential::Anonymous, trouble: None }),
        }
    }
}

impl Credential {
    /// What to do when the registry denies access with this credential.
    pub(crate) fn advice(&self, registry: &str) -> String {
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        match self {
            Self::Anonymous => format!(
                "sign in with `docker login {registry}`, or pass --username and --password-stdin"
            ),
            Self::Basic { user, .. } => {
                format!("check the password of user {user} and what that user may do")
            }
            Self::IdentityToken(_) | Self::RegistryToken(_) => format!(
                "the stored token is not accepted, sign in again with `docker login {registry}`"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, parse_reference};

    #[tokio::test]
    async fn given_credentials_go_to_the_registry_and_not_to_its_mirror() {
        let credentials = Credentials {
            explicit: Some(("me".into(), Password::new("secret"))),
            docker_config: None,
        };
        let options = Options {
            mirrors: vec!["ghcr.io=mirror.local".parse().unwrap()],
            ..Options::default()
        };
        let reference = parse_reference("ghcr.io/me/app").unwrap();
        let find = async |endpoint| credentials.find(&endpoint).await.unwrap().credential;
        let mirror = find(Endpoint::mirrors(&reference, &options).remove(0)).await;
        let origin = find(Endpoint::origin(&reference, &options)).await;
        assert_eq!(mirror, Credential::Anonymous);
        assert!(matches!(origin, Credential::Basic { .. }));
    }

    #[test]
    fn a_password_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", Password::new("secret")).contains("secret"));
    }
}
