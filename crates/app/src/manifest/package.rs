//! Packages of registries, as manifests name them.

use std::fmt;

use semver::{Version, VersionReq};

use super::id;

/// The name of a package: `namespace:name`, both in lower-case kebab-case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageName {
    namespace: String,
    name: String,
}

impl PackageName {
    /// Whose package it is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name in the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_label = |text: &str| id::check(text, '-').is_ok() && text == text.to_lowercase();
        match text.split_once(':') {
            Some((namespace, name)) if is_label(namespace) && is_label(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!(
                "{text:?} is no package: it must be of the form `namespace:name`, in lower case"
            )),
        }
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)
    }
}

/// Checks the name of a registry.
pub(super) fn registry(text: String) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(text);
    }
    Err(format!("{text:?} is no registry: it must be of the form `HOST` or `HOST:PORT`"))
}

/// The version of a package that is a component: exactly this one.
pub(super) fn version(text: &str) -> Result<VersionReq, String> {
    let exact = Version::parse(text).and_then(|version| VersionReq::parse(&format!("={version}")));
    exact.map_err(|error| {
        format!("{text:?} is no version, which must be of the form 1.2.3: {error}")
    })
}

/// Which versions of a package may be a dependency.
pub(super) fn requirement(text: &str) -> Result<VersionReq, String> {
    VersionReq::parse(text).map_err(|error| {
        format!("{text:?} is no requirement for a version, such as =1.2.3 or >=1.2: {error}")
    })
}
