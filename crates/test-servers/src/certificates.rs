//! Certificates of an authority that nobody knows.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::server::folder;

/// An authority of one test, which signs certificates of servers and clients; its
/// files go with the value.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
    folder: TempDir,
}

/// A certificate and its key, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    ///
    /// Fails when its files cannot be written.
    pub fn new() -> Result<Self> {
        let folder = folder("authority")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "An authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = folder.path().join("authority.pem");
        fs::write(&certificate, params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), certificate, folder })
    }

    /// The file with its own certificate.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// A certificate for a server or a client with these host names and addresses;
    /// the first one names its files.
    ///
    /// # Errors
    ///
    /// Fails when a name is none, or the files cannot be written.
    pub fn issue(&self, names: &[&str]) -> Result<CertificateFiles> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let stem = self.folder.path().join(names.first().map_or("nobody", String::as_str));
        let files = CertificateFiles {
            certificate: stem.with_added_extension("pem"),
            key: stem.with_added_extension("key"),
        };
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "spinlet test");
        fs::write(&files.certificate, params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}
