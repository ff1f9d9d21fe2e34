//! The certificates of a lab: one authority, and what it signed for each component.
//!
//! Kubeconfigs carry their certificates inline, so that each is one file that can be copied.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

/// A lab's certificate authority and the folder its files are written to.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority in `dir`: `ca.crt`, `ca.key`, and `sa.key` with `sa.pub` for ServiceAccount tokens.
    pub fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making `{}`", dir.display()))?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = name("fairlead-lab-ca", None);
        let key = KeyPair::generate().context("making the authority's key")?;
        let issuer = CertifiedIssuer::self_signed(params, key).context("signing the authority's certificate")?;
        write(&dir.join("ca.crt"), &issuer.pem())?;
        write(&dir.join("ca.key"), &issuer.key().serialize_pem())?;
        let tokens = KeyPair::generate().context("making the token key")?;
        write(&dir.join("sa.key"), &tokens.serialize_pem())?;
        write(&dir.join("sa.pub"), &tokens.public_key_pem())?;
        Ok(Self { dir: dir.to_owned(), issuer })
    }

    /// Writes `NAME.crt` and `NAME.key` for a client or server called `common_name` in the group `organization`.
    pub fn issue(&self, file: &str, common_name: &str, organization: Option<&str>, hosts: &[&str]) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name, organization);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*host).try_into().with_context(|| format!("`{host}` is no host name"))?),
            });
        }
        let key = KeyPair::generate().with_context(|| format!("making the key of `{file}`"))?;
        let cert = params.signed_by(&key, &self.issuer).with_context(|| format!("signing `{file}`"))?;
        write(&self.dir.join(format!("{file}.crt")), &cert.pem())?;
        write(&self.dir.join(format!("{file}.key")), &key.serialize_pem())
    }

    /// Issues a client certificate and writes `NAME.kubeconfig` for `server`; returns the kubeconfig's path.
    pub fn kubeconfig(&self, file: &str, user: &str, group: Option<&str>, server: &str) -> Result<PathBuf> {
        self.issue(file, user, group, &[])?;
        let read = |name: String| -> Result<ByteString> {
            let path = self.dir.join(name);
            Ok(ByteString(fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?))
        };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {
                "server": server, "certificate-authority-data": read("ca.crt".to_owned())?}}],
            "users": [{"name": user, "user": {
                "client-certificate-data": read(format!("{file}.crt"))?,
                "client-key-data": read(format!("{file}.key"))?}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        });
        let path = self.dir.join(format!("{file}.kubeconfig"));
        write(&path, &serde_json::to_string_pretty(&config).context("writing a kubeconfig")?)?;
        Ok(path)
    }
}

fn name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(group) = organization {
        name.push(DnType::OrganizationName, group);
    }
    name
}

/// Writes a file that only its owner may read: most of them hold keys.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening `{}`", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing `{}`", path.display()))
}
