//! The arguments of every command that talks to a registry.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use registry::{Credentials, Mirror, Options, Password, Registry, RetryPolicy};

use crate::environment::Environment;

/// How to reach a registry and who is asking.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Registry options")]
pub(crate) struct RegistryArguments {
    /// User name; without it, what `docker login` has stored is used
    #[arg(long, short, value_name = "NAME", requires = "secret")]
    username: Option<String>,

    /// Password or token; other users of this machine can see it, so better use
    /// --password-stdin
    #[arg(long, value_name = "TEXT", group = "secret", requires = "username")]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long, group = "secret", requires = "username", conflicts_with = "password")]
    password_stdin: bool,

    /// Use plain HTTP; registries on this machine need no such flag
    #[arg(long, short = 'k', visible_alias = "insecure")]
    plain_http: bool,

    /// Ask another registry first when pulling; may be repeated
    #[arg(long, value_name = "HOST=MIRROR")]
    mirror: Vec<Mirror>,

    /// Trust this certificate authority (PEM) besides the system's; may be repeated
    #[arg(long, value_name = "FILE")]
    ca_file: Vec<PathBuf>,
}

impl RegistryArguments {
    /// Access to registries as these arguments and the environment say.
    pub(crate) fn registry(&self, environment: &Environment) -> anyhow::Result<Registry> {
        let explicit = match &self.username {
            Some(name) => Some((name.clone(), self.secret()?)),
            None => None,
        };
        Ok(Registry::new(Options {
            plain_http: self.plain_http,
            ca_files: self.ca_file.clone(),
            mirrors: self.mirror.clone(),
            credentials: Credentials { explicit, docker_config: environment.docker_config.clone() },
            proxy: environment.proxy.clone(),
            retry: RetryPolicy::default(),
        }))
    }

    fn secret(&self) -> anyhow::Result<Password> {
        if let Some(password) = &self.password {
            return Ok(Password::new(password));
        }
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .read_to_string(&mut text)
            .context("cannot read the password from standard input")?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            bail!("standard input holds no password");
        }
        Ok(Password::new(password))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Probe {
        #[command(flatten)]
        registry: RegistryArguments,
    }

    fn parse(arguments: &[&str]) -> Result<RegistryArguments, clap::Error> {
        let arguments = std::iter::once(&"probe").chain(arguments);
        Probe::try_parse_from(arguments).map(|probe| probe.registry)
    }

    #[test]
    fn a_user_needs_a_password_and_the_other_way_round() {
        assert!(parse(&["--username", "me"]).is_err());
        assert!(parse(&["--password", "x"]).is_err());
        assert!(parse(&["-u", "me", "--password", "x"]).is_ok());
        assert!(parse(&["-u", "me", "--password-stdin"]).is_ok());
        assert!(parse(&["-u", "me", "--password", "x", "--password-stdin"]).is_err());
    }

    #[test]
    fn plain_http_has_the_names_people_try() {
        for flag in ["--plain-http", "--insecure", "-k"] {
            assert!(parse(&[flag]).unwrap().plain_http, "{flag}");
        }
    }

    #[test]
    fn a_mirror_that_cannot_be_read_is_a_usage_error() {
        assert!(parse(&["--mirror", "docker.io=mirror.local:5000"]).is_ok());
        let error = parse(&["--mirror", "docker.io"]).unwrap_err().to_string();
        assert!(error.contains("HOST=MIRROR"), "{error}");
    }
}
