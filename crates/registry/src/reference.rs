//! Reading image references.

use oci_client::Reference;

use crate::RegistryError;

/// Reads an image reference: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`.
///
/// The host defaults to `docker.io` and the tag to `latest`, as everywhere in
/// the container world. IPv6 hosts are written in brackets.
///
/// # Errors
/// [`RegistryError::Reference`] says what is wrong with the text.
pub fn parse(text: &str) -> Result<Reference, RegistryError> {
    let invalid = |reason: &str| RegistryError::Reference {
        text: text.to_owned(),
        reason: reason.to_owned(),
    };
    if text.contains("://") {
        return Err(invalid("it is a URL, leave out the part up to `://`"));
    }
    if text.starts_with('[') {
        return parse_ipv6(text).ok_or_else(|| invalid("the IPv6 host cannot be read"));
    }
    let repository = text.split('@').next().unwrap_or(text);
    text.parse().map_err(|error: oci_client::ParseError| {
        if repository.rsplit('/').next().is_some_and(|name| {
            name.split(':').next().is_some_and(|name| name.chars().any(char::is_uppercase))
        }) {
            invalid("names in a registry are lower case")
        } else {
            invalid(&error.to_string())
        }
    })
}

/// The grammar of the reference crate knows no bracketed hosts: the rest is
/// read with a stand-in host that is then replaced.
fn parse_ipv6(text: &str) -> Option<Reference> {
    let (host, rest) = text.split_once('/')?;
    let (address, port) = host.strip_prefix('[')?.split_once(']')?;
    address.parse::<std::net::Ipv6Addr>().ok()?;
    if !port.is_empty() {
        port.strip_prefix(':')?.parse::<u16>().ok()?;
    }
    let stand_in: Reference = format!("host.invalid/{rest}").parse().ok()?;
    Some(with_registry(&stand_in, host, stand_in.repository()))
}

/// The same tag and digest in another registry and repository.
pub(crate) fn with_registry(reference: &Reference, registry: &str, repository: &str) -> Reference {
    let (registry, repository) = (registry.to_owned(), repository.to_owned());
    match (reference.tag(), reference.digest()) {
        (Some(tag), Some(digest)) => {
            Reference::with_tag_and_digest(registry, repository, tag.into(), digest.into())
        }
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest.into()),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or("latest").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_means_docker_hub_and_the_latest_tag() {
        assert_eq!(parse("hello").unwrap().whole(), "docker.io/library/hello:latest");
    }

    #[test]
    fn host_port_tag_and_digest_are_understood() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let reference = parse(&format!("localhost:5000/team/app:v1@{digest}")).unwrap();
        assert_eq!(reference.registry(), "localhost:5000");
        assert_eq!(reference.repository(), "team/app");
        assert_eq!(reference.tag(), Some("v1"));
        assert_eq!(reference.digest(), Some(digest.as_str()));
    }

    #[test]
    fn an_ipv6_host_is_written_in_brackets() {
        let reference = parse("[::1]:5000/app:v2").unwrap();
        assert_eq!(reference.registry(), "[::1]:5000");
        assert_eq!(reference.whole(), "[::1]:5000/app:v2");
        assert!(parse("[nonsense]/app").is_err());
        assert!(parse("[::1]:99999/app").is_err());
    }

    #[test]
    fn a_url_is_refused_with_what_to_leave_out() {
        let error = parse("https://ghcr.io/me/app").unwrap_err().to_string();
        assert!(error.contains("leave out the part up to `://`"), "{error}");
    }

    #[test]
    fn an_upper_case_name_is_refused_as_such() {
        let error = parse("ghcr.io/me/App:v1").unwrap_err().to_string();
        assert!(error.contains("lower case"), "{error}");
        assert!(parse("ghcr.io/me/app:V1").is_ok());
    }
}
