//! Where requests for a reference go: the registry itself or a mirror of it.

use std::net::IpAddr;
use std::str::FromStr;

use oci_client::Reference;

use crate::reference::with_registry;
use crate::{Options, RegistryError};

/// Whether a registry (`HOST` or `HOST:PORT`) is this machine.
pub fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A registry to ask in place of another: `HOST=[http[s]://]MIRROR[/PREFIX]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    host: String,
    authority: String,
    /// Put before every repository name, as pull-through caches want it.
    prefix: Option<String>,
    /// None: decided like that of any other registry.
    plain_http: Option<bool>,
}

impl FromStr for Mirror {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || RegistryError::Mirror { text: text.to_owned() };
        let (host, target) = text.split_once('=').ok_or_else(invalid)?;
        let (plain_http, target) = match target.split_once("://") {
            Some(("http", rest)) => (Some(true), rest),
            Some(("https", rest)) => (Some(false), rest),
            Some(_) => return Err(invalid()),
            None => (None, target),
        };
        let target = target.trim_end_matches('/');
        let (authority, prefix) = match target.split_once('/') {
            Some((authority, prefix)) => (authority, Some(prefix.to_owned())),
            None => (target, None),
        };
        let plain = |text: &str| {
            !text.is_empty() && !text.contains(['/', '@', '?', '#', '=']) && !text.contains(' ')
        };
        if !plain(host) || !plain(authority) || prefix.as_deref() == Some("") {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), authority: authority.to_owned(), prefix, plain_http })
    }
}

/// One place that can be asked for a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `HOST[:PORT]` as it appears in URLs.
    pub(crate) authority: String,
    /// The reference as that place understands it.
    pub(crate) reference: Reference,
    pub(crate) plain_http: bool,
    pub(crate) is_mirror: bool,
}

impl Endpoint {
    /// The registry that the reference names.
    pub(crate) fn origin(reference: &Reference, options: &Options) -> Self {
        let authority = reference.resolve_registry().to_owned();
        Self {
            plain_http: plain_http(&authority, options),
            authority,
            reference: reference.clone(),
            is_mirror: false,
        }
    }

    /// The mirrors of the registry that the reference names, in the order given.
    pub(crate) fn mirrors(reference: &Reference, options: &Options) -> Vec<Self> {
        options
            .mirrors
            .iter()
            .filter(|mirror| mirror.host == reference.registry())
            .map(|mirror| Self::mirror(mirror, reference, options))
            .collect()
    }

    fn mirror(mirror: &Mirror, reference: &Reference, options: &Options) -> Self {
        let repository = match &mirror.prefix {
            Some(prefix) => format!("{prefix}/{}", reference.repository()),
            None => reference.repository().to_owned(),
        };
        // The original host goes along as `ns`, so that one mirror can serve
        // several registries.
        let mut mirrored = with_registry(reference, reference.registry(), &repository);
        mirrored.set_mirror_registry(mirror.authority.clone());
        Self {
            authority: mirror.authority.clone(),
            reference: mirrored,
            plain_http: mirror.plain_http.unwrap_or_else(|| plain_http(&mirror.authority, options)),
            is_mirror: true,
        }
    }
}

fn plain_http(authority: &str, options: &Options) -> bool {
    options.plain_http || (is_loopback(authority) && options.ca_files.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_reference;

    fn options(mirrors: &[&str]) -> Options {
        Options {
            mirrors: mirrors.iter().map(|mirror| mirror.parse().unwrap()).collect(),
            ..Options::default()
        }
    }

    #[test]
    fn loopback_is_recognised_in_every_notation() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["ghcr.io", "10.0.0.1:5000", "localhost.example.com", "[fd00::1]:5000", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_and_for_those_who_ask() {
        let plain = |text: &str, options: &Options| {
            Endpoint::origin(&parse_reference(text).unwrap(), options).plain_http
        };
        let mut options = Options::default();
        assert!(plain("127.0.0.1:5000/app", &options));
        assert!(!plain("registry.example.com/app", &options));
        options.ca_files.push("/ca.pem".into());
        assert!(!plain("127.0.0.1:5000/app", &options), "a CA file asks for TLS");
        options.plain_http = true;
        assert!(plain("registry.example.com/app", &options));
    }

    #[test]
    fn a_mirror_stands_in_for_its_host_only() {
        let options = options(&["docker.io=http://10.0.0.5:5000", "ghcr.io=cache.example.com/gh"]);
        let mirrors = |text: &str| Endpoint::mirrors(&parse_reference(text).unwrap(), &options);
        let ghcr = mirrors("ghcr.io/me/app:v1");
        let [mirror] = ghcr.as_slice() else { panic!("{ghcr:?}") };
        assert_eq!(mirror.authority, "cache.example.com");
        assert_eq!(mirror.reference.repository(), "gh/me/app");
        assert_eq!(mirror.reference.tag(), Some("v1"));
        assert_eq!(mirror.reference.namespace(), Some("ghcr.io"));
        assert!(!mirror.plain_http);
        assert!(mirrors("hello")[0].plain_http);
        assert!(mirrors("quay.io/me/app").is_empty());
    }

    #[test]
    fn a_mirror_that_cannot_be_read_is_refused() {
        for text in ["ghcr.io", "=mirror", "ghcr.io=", "ghcr.io=ftp://x", "a/b=c", "a=user@host"] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
    }
}
