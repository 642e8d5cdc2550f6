//! What can go wrong between us and a registry, said so that it can be mended.

use std::path::PathBuf;

use oci_client::errors::{OciDistributionError, OciErrorCode};

use crate::CredentialsError;

/// A failed pull or push.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A text that is not an image reference.
    #[error("`{text}` is not an image reference like ghcr.io/me/app:v1: {reason}")]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that does not describe a mirror.
    #[error("`{text}` is not a mirror: write HOST=MIRROR, for example docker.io=mirror.local:5000")]
    Mirror {
        /// What was given.
        text: String,
    },
    /// A push needs a name to push to.
    #[error("`{reference}` names no tag: push to a tag, for example {suggestion}")]
    TagNeeded {
        /// The reference given.
        reference: String,
        /// One that would do.
        suggestion: String,
    },
    /// No connection, or one that broke or stalled.
    #[error(
        "registry {registry} cannot be reached for {reference}: {reason}; \
         check its address and port, and that it is running"
    )]
    Unreachable {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// The innermost cause.
        reason: String,
    },
    /// TLS was expected where plain HTTP is spoken.
    #[error(
        "registry {registry} does not speak TLS: for {reference} pass --plain-http \
         if it really serves plain HTTP"
    )]
    NoTls {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
    },
    /// Plain HTTP was expected where TLS is spoken.
    #[error(
        "registry {registry} speaks TLS only: for {reference} leave out --plain-http, \
         and name its certificate authority with --ca-file"
    )]
    TlsOnly {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
    },
    /// A certificate that no trusted authority has signed.
    #[error(
        "certificate of registry {registry} is not trusted for {reference}: {reason}; \
         name its certificate authority with --ca-file"
    )]
    Untrusted {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// What the check found.
        reason: String,
    },
    /// Missing, wrong or insufficient credentials.
    #[error("registry {registry} denies access to {reference}: {advice}")]
    Denied {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// What to do.
        advice: String,
    },
    /// No such repository or tag.
    #[error("{reference} does not exist in registry {registry}: check the name and the tag")]
    NotFound {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
    },
    /// The manifest names a blob that the registry does not have.
    #[error("registry {registry} lacks blob {digest} of {reference}: push the app again")]
    BlobMissing {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// Digest of the blob.
        digest: String,
    },
    /// Any other answer that is not a success.
    #[error("registry {registry} answered with status {code} for {reference}{}", said(.message))]
    Status {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// HTTP status.
        code: u16,
        /// What the registry said about it; may be empty.
        message: String,
    },
    /// An answer that the distribution specification does not allow.
    #[error("registry {registry} gave an unusable answer for {reference}: {reason}")]
    Protocol {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// What was wrong with it.
        reason: String,
    },
    /// A blob that ended too early.
    #[error(
        "blob {digest} of {reference} ended after {actual} of {expected} bytes \
         at registry {registry}: try again"
    )]
    BlobTruncated {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// Digest of the blob.
        digest: String,
        /// Size that the manifest tells.
        expected: u64,
        /// Bytes received.
        actual: u64,
    },
    /// A blob that is not what the manifest says.
    #[error(
        "registry {registry} served wrong content for blob {digest} of {reference} \
         ({reason}): push the app again, or ask whoever runs the registry"
    )]
    BlobCorrupt {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// Digest of the blob.
        digest: String,
        /// The digest or size found instead.
        reason: String,
    },
    /// A manifest whose digest is not the one in the reference.
    #[error("registry {registry} served a manifest for {reference} whose digest is {actual}")]
    ManifestDigest {
        /// Host and port.
        registry: String,
        /// What was wanted.
        reference: String,
        /// Digest of what was served.
        actual: String,
    },
    /// A manifest that is not one of an app.
    #[error("manifest of {reference} cannot be used: {reason}")]
    Manifest {
        /// What was wanted.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The client could not be set up.
    #[error("connection to registry {registry} cannot be prepared: {reason}")]
    Client {
        /// Host and port.
        registry: String,
        /// The innermost cause.
        reason: String,
    },
    /// A certificate file that holds no certificate.
    #[error("{} holds no PEM certificate: name the file of a certificate authority", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
    },
    /// Stored credentials could not be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The image layout that is pulled into cannot be written.
    #[error(transparent)]
    Layout(#[from] artifact::layout::LayoutError),
    /// A blob that is to be pushed cannot be read.
    #[error(transparent)]
    Blob(#[from] artifact::BlobError),
    /// A local file; the text names it.
    #[error(transparent)]
    Local(#[from] std::io::Error),
}

impl RegistryError {
    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BlobTruncated { .. } => true,
            Self::Status { code, .. } => matches!(code, 408 | 429 | 500..=599),
            _ => false,
        }
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// Turns failures of the client library into ours, with the names that belong
/// to the request.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) registry: String,
    pub(crate) reference: String,
    /// What to do when access is denied.
    pub(crate) advice: String,
    pub(crate) plain_http: bool,
}

impl Context {
    /// A failure of a request about the manifest, or about no blob in particular.
    pub(crate) fn failure(&self, error: OciDistributionError) -> RegistryError {
        match error {
            OciDistributionError::UnauthorizedError { .. } => self.denied(),
            OciDistributionError::AuthenticationFailure(body) => self.sign_in_failed(&body),
            OciDistributionError::RequestError(error) => match error.status() {
                Some(status) => self.status(status.as_u16(), ""),
                None => self.broken(&error),
            },
            OciDistributionError::IoError(error) => self.broken(&error),
            OciDistributionError::ServerError { code, message, .. } => self.status(code, &message),
            OciDistributionError::RegistryError { envelope, .. } => {
                let message =
                    envelope.errors.first().map_or(String::new(), |error| error.message.clone());
                match envelope.errors.first().map(|error| &error.code) {
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => self.denied(),
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::BlobUnknown
                        | OciErrorCode::NotFound,
                    ) => self.not_found(),
                    Some(OciErrorCode::Toomanyrequests) => self.status(429, &message),
                    _ => self.status(400, &message),
                }
            }
            other => self.protocol(&other.to_string()),
        }
    }

    /// A failure of a request about one blob.
    pub(crate) fn blob_failure(&self, digest: &str, error: OciDistributionError) -> RegistryError {
        match self.failure(error) {
            RegistryError::NotFound { registry, reference } => {
                RegistryError::BlobMissing { registry, reference, digest: digest.to_owned() }
            }
            other => other,
        }
    }

    /// A failure of the connection itself.
    pub(crate) fn broken(&self, error: &(dyn std::error::Error + 'static)) -> RegistryError {
        let (registry, reference) = (self.registry.clone(), self.reference.clone());
        match tls_failure(error) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                RegistryError::Untrusted { registry, reference, reason: format!("{reason:?}") }
            }
            Some(rustls::Error::InvalidMessage(_)) => RegistryError::NoTls { registry, reference },
            Some(other) => {
                RegistryError::Untrusted { registry, reference, reason: other.to_string() }
            }
            None => RegistryError::Unreachable { registry, reference, reason: root_cause(error) },
        }
    }

    pub(crate) fn protocol(&self, reason: &str) -> RegistryError {
        RegistryError::Protocol {
            registry: self.registry.clone(),
            reference: self.reference.clone(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn denied(&self) -> RegistryError {
        RegistryError::Denied {
            registry: self.registry.clone(),
            reference: self.reference.clone(),
            advice: self.advice.clone(),
        }
    }

    fn not_found(&self) -> RegistryError {
        RegistryError::NotFound {
            registry: self.registry.clone(),
            reference: self.reference.clone(),
        }
    }

    fn sign_in_failed(&self, body: &str) -> RegistryError {
        let message = registry_message(body);
        let advice = if message.is_empty() {
            self.advice.clone()
        } else {
            format!("{message}; {}", self.advice)
        };
        RegistryError::Denied {
            registry: self.registry.clone(),
            reference: self.reference.clone(),
            advice,
        }
    }

    /// An answer with a status that is not a success.
    pub(crate) fn status(&self, code: u16, body: &str) -> RegistryError {
        let (registry, reference) = (self.registry.clone(), self.reference.clone());
        match code {
            401 | 403 => self.denied(),
            404 => self.not_found(),
            // The second case is the answer to a HEAD request, which has no body.
            400 if self.plain_http && (body.contains("HTTPS server") || body.is_empty()) => {
                RegistryError::TlsOnly { registry, reference }
            }
            _ => {
                RegistryError::Status { registry, reference, code, message: registry_message(body) }
            }
        }
    }
}

/// The readable part of an error body: registries send a JSON list of errors,
/// token services a JSON object with `details` or `message`.
fn registry_message(body: &str) -> String {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(body) else {
        let line = body.lines().next().unwrap_or_default().trim();
        // An HTML page of some proxy says nothing in one line.
        return if line.starts_with('<') { String::new() } else { shortened(line) };
    };
    let candidates = [
        json.pointer("/errors/0/message"),
        json.pointer("/message"),
        json.pointer("/details"),
        json.pointer("/error_description"),
    ];
    candidates
        .into_iter()
        .flatten()
        .find_map(serde_json::Value::as_str)
        .map(shortened)
        .unwrap_or_default()
}

fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        // An `io::Error` hides the error it wraps from `source`.
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        }
    })
}

fn tls_failure<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let root = causes(error).last().map(ToString::to_string).unwrap_or_default();
    // "Connection refused (os error 111)": the number helps nobody.
    match root.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => root,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            registry: "localhost:5000".into(),
            reference: "localhost:5000/app:v1".into(),
            advice: "sign in".into(),
            plain_http: true,
        }
    }

    #[test]
    fn passing_failures_are_told_from_final_ones() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(context().status(code, "").is_passing(), "{code}");
        }
        for code in [400, 401, 403, 404, 405, 413] {
            assert!(!context().status(code, "").is_passing(), "{code}");
        }
    }

    #[test]
    fn the_registrys_own_words_are_passed_on() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"X","message":"quota exceeded"}]}"#, "quota exceeded"),
            (r#"{"details":"incorrect password"}"#, "incorrect password"),
            ("<html><body>502</body></html>", ""),
            ("upstream timed out\nmore", "upstream timed out"),
        ] {
            assert_eq!(registry_message(body), expected);
        }
    }

    #[test]
    fn plain_http_sent_to_a_tls_port_is_explained() {
        let error = context().status(400, "Client sent an HTTP request to an HTTPS server.\n");
        assert!(matches!(error, RegistryError::TlsOnly { .. }), "{error}");
    }

    #[test]
    fn a_refused_connection_reads_as_one_sentence() {
        let io = std::io::Error::from_raw_os_error(111);
        let text = context().broken(&io).to_string();
        assert_eq!(
            text,
            "registry localhost:5000 cannot be reached for localhost:5000/app:v1: \
             connection refused; check its address and port, and that it is running"
        );
    }
}
