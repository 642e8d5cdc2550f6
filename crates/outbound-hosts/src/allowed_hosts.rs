//! `allowed_outbound_hosts`: which network destinations a component may reach.
//!
//! An entry is `<scheme>://<host>[:<port>]`:
//!
//! | part | forms |
//! |---|---|
//! | scheme | `*`, or ASCII letters |
//! | host | `*`; `*.suffix` (sub-domains only); `self` or `self.alt`; a name; an IP address; a network such as `10.0.0.0/8` |
//! | port | a number; `first..end` (half open); `*`; absent: the default of the scheme |
//!
//! An empty list denies everything.

use std::net::IpAddr;

use crate::address::{self, Network};

/// The suffix of the host names by which components of one app reach each other.
pub const CHAINING_SUFFIX: &str = ".spin.internal";

/// The host name that stands for the app itself.
pub const SELF_HOST: &str = "self.alt";

/// The entries of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<AllowedHost>,
}

/// One parsed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    scheme: SchemePattern,
    host: HostPattern,
    port: PortPattern,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SchemePattern {
    Any,
    Named(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// Lower-case, with the leading dot.
    Subdomains(String),
    App,
    /// Lower-case.
    Name(String),
    Address(IpAddr),
    Network(Network),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortPattern {
    Any,
    /// Half open; the end may be 65536.
    Range(u32, u32),
}

/// Where a component wants to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'a> {
    /// Scheme of the URL.
    pub scheme: &'a str,
    /// Host of the URL, as a URL parser leaves it; IPv6 with or without brackets.
    pub host: &'a str,
    /// Port of the URL if it has one.
    pub port: Option<u16>,
}

/// What an entry grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The entry names the address itself or its network, not a name or `*`.
    pub names_address: bool,
}

/// An entry that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("allowed_outbound_hosts entry {entry:?} {problem}")]
pub struct EntryError {
    entry: String,
    problem: EntryProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum EntryProblem {
    #[error("allows everything in the old way: use `*://*:*`")]
    AllowAll,
    #[error("must be of the form `scheme://host[:port]`")]
    Form,
    #[error("has the scheme {0:?}: use `*` or letters")]
    Scheme(String),
    #[error("has a list in braces: write one entry for each")]
    Braces,
    #[error("has a path; entries end after the port")]
    Path,
    #[error("has the host {0:?}: use a name, an address, a network, `*` or `*.suffix`")]
    Host(String),
    #[error("has the port {0:?}: use a number, `first..end` or `*`")]
    Port(String),
    #[error("needs a port, because its scheme has no default port")]
    PortMissing,
}

impl AllowedHosts {
    /// Parses all `entries`. `components` are the ids of all components of the
    /// app: `*.spin.internal` stands for them.
    ///
    /// An entry whose variables resolved to nothing (empty, `http://` or
    /// `https://`) grants nothing and is skipped.
    ///
    /// # Errors
    ///
    /// Every entry that breaks the grammar.
    pub fn parse<S: AsRef<str>>(
        entries: &[S],
        components: &[&str],
    ) -> Result<Self, Vec<EntryError>> {
        let mut parsed = Vec::new();
        let mut errors = Vec::new();
        for entry in entries.iter().map(AsRef::as_ref) {
            if matches!(entry, "" | "http://" | "https://") {
                continue;
            }
            match AllowedHost::parse(entry) {
                Ok(host) => host.expand_into(components, &mut parsed),
                Err(problem) => errors.push(EntryError { entry: entry.to_owned(), problem }),
            }
        }
        if errors.is_empty() { Ok(Self { entries: parsed }) } else { Err(errors) }
    }

    /// Whether nothing at all is allowed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The grant for `destination`, the most specific one if several entries
    /// match; none means denied.
    pub fn check(&self, destination: Destination<'_>) -> Option<Grant> {
        let host = Host::of(destination.host);
        let port = destination.port.or_else(|| default_port(destination.scheme));
        self.entries
            .iter()
            .filter(|entry| {
                entry.scheme.matches(destination.scheme)
                    && entry.host.matches(&host)
                    && entry.port.matches(port)
            })
            .map(|entry| Grant {
                names_address: matches!(
                    entry.host,
                    HostPattern::Address(_) | HostPattern::Network(_)
                ),
            })
            .max_by_key(|grant| grant.names_address)
    }

    /// Whether requests to the app itself, by relative URL or `self.alt`, are
    /// allowed.
    pub fn allows_self(&self, scheme: &str) -> bool {
        self.entries.iter().any(|entry| {
            entry.scheme.matches(scheme)
                && matches!(entry.host, HostPattern::App | HostPattern::Any)
        })
    }
}

impl AllowedHost {
    fn parse(entry: &str) -> Result<Self, EntryProblem> {
        if entry == "insecure:allow-all" {
            return Err(EntryProblem::AllowAll);
        }
        let (scheme, rest) = entry.split_once("://").ok_or(EntryProblem::Form)?;
        let scheme = SchemePattern::parse(scheme)?;
        if rest.contains(['{', '}']) {
            return Err(EntryProblem::Braces);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest)?;
        let host = HostPattern::parse(host)?;
        let port = match port {
            Some(port) => PortPattern::parse(port)?,
            // The app itself listens where it listens; its port is not written.
            None if host == HostPattern::App => PortPattern::Any,
            None => scheme.default_port()?,
        };
        Ok(Self { scheme, host, port })
    }

    fn expand_into(self, components: &[&str], entries: &mut Vec<Self>) {
        match &self.host {
            HostPattern::Subdomains(suffix) if suffix == CHAINING_SUFFIX => {
                entries.extend(components.iter().map(|id| Self {
                    host: HostPattern::Name(format!(
                        "{}{CHAINING_SUFFIX}",
                        id.to_ascii_lowercase()
                    )),
                    ..self.clone()
                }));
            }
            _ => entries.push(self),
        }
    }
}

/// Host and port text of what follows `://`.
fn split_port(rest: &str) -> Result<(&str, Option<&str>), EntryProblem> {
    if let Some(inside) = rest.strip_prefix('[') {
        let (_, after) =
            inside.split_once(']').ok_or_else(|| EntryProblem::Host(rest.to_owned()))?;
        // A network may follow the bracket: `[fd00::]/8`.
        let at = after.find(':').map_or(rest.len(), |colon| rest.len() - after.len() + colon);
        let (host, port) = rest.split_at_checked(at).unwrap_or((rest, ""));
        return Ok((host, port.strip_prefix(':')));
    }
    // An IPv6 network without brackets has more than one colon and no port.
    if rest.parse::<IpAddr>().is_ok() || Network::parse(rest).is_some() {
        return Ok((rest, None));
    }
    Ok(match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    })
}

impl SchemePattern {
    fn parse(scheme: &str) -> Result<Self, EntryProblem> {
        match scheme {
            "*" => Ok(Self::Any),
            _ if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                Ok(Self::Named(scheme.to_owned()))
            }
            _ => Err(EntryProblem::Scheme(scheme.to_owned())),
        }
    }

    fn matches(&self, scheme: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(name) => name == scheme,
        }
    }

    fn default_port(&self) -> Result<PortPattern, EntryProblem> {
        let port = match self {
            Self::Any => None,
            Self::Named(name) => default_port(name),
        };
        let port = u32::from(port.ok_or(EntryProblem::PortMissing)?);
        Ok(PortPattern::Range(port, port + 1))
    }
}

/// The port a scheme stands for when a URL names none.
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        "redis" => Some(6379),
        "mqtt" => Some(1883),
        _ => None,
    }
}

impl HostPattern {
    fn parse(host: &str) -> Result<Self, EntryProblem> {
        let wrong = || EntryProblem::Host(host.to_owned());
        let lower = host.to_ascii_lowercase();
        match lower.as_str() {
            "*" => return Ok(Self::Any),
            "self" | SELF_HOST => return Ok(Self::App),
            "" => return Err(wrong()),
            _ => {}
        }
        let bare = lower.replace(['[', ']'], "");
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Address(address::canonical(address)));
        }
        if lower.contains('/') {
            return match Network::parse(&bare) {
                Some(network) => Ok(Self::Network(network)),
                // `a.test/path` is a mistake about paths, `10.0.0.0/99` about networks.
                None if bare.split('/').next().is_some_and(|ip| ip.parse::<IpAddr>().is_ok()) => {
                    Err(wrong())
                }
                None => Err(EntryProblem::Path),
            };
        }
        let allowed = |name: &str| {
            !name.is_empty() && !name.contains(['*', '?', '#', '@', ':', '[', ']', ' ', '\\', '%'])
        };
        match lower.strip_prefix("*.") {
            Some(suffix) if allowed(suffix) => Ok(Self::Subdomains(format!(".{suffix}"))),
            None if allowed(&lower) => Ok(Self::Name(lower)),
            _ => Err(wrong()),
        }
    }

    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Subdomains(suffix), Host::Name(name)) => {
                name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            (Self::Name(pattern), Host::Name(name)) => pattern == name,
            (Self::Address(pattern), Host::Address(address)) => pattern == address,
            (Self::Network(network), Host::Address(address)) => network.contains(*address),
            _ => false,
        }
    }
}

impl PortPattern {
    fn parse(port: &str) -> Result<Self, EntryProblem> {
        let wrong = || EntryProblem::Port(port.to_owned());
        let number = |text: &str| text.parse::<u16>().map(u32::from).map_err(|_| wrong());
        if port == "*" {
            return Ok(Self::Any);
        }
        if let Some((first, end)) = port.split_once("..") {
            let (first, end) = (number(first)?, number(end)?);
            return if first < end { Ok(Self::Range(first, end)) } else { Err(wrong()) };
        }
        let port = number(port)?;
        Ok(Self::Range(port, port + 1))
    }

    fn matches(self, port: Option<u16>) -> bool {
        match (self, port) {
            (Self::Any, _) => true,
            (Self::Range(first, end), Some(port)) => (first..end).contains(&u32::from(port)),
            (Self::Range(..), None) => false,
        }
    }
}

/// The host of a destination, in the form patterns compare with.
enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    fn of(host: &str) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(address) => Self::Address(address::canonical(address)),
            Err(_) => Self::Name(host.to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests;
