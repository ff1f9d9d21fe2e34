//! What a gateway shows of itself and tells clients to trust, as files: the operator writes them into a Secret, and
//! gateways that may read no Secret find them mounted.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use ssh_key::certificate::CertType;
use ssh_key::{Certificate, HashAlg, PrivateKey, PublicKey};

use crate::client_config::{self, GATEWAY_ALIAS};
use crate::identity::HostIdentity;
use crate::name::HostSuffix;
use crate::plan::MANAGER;
use crate::time::Time;

/// The Secret's name.
pub const SECRET: &str = "fairlead-gateway";
/// The host key, as OpenSSH writes it.
const PRIVATE: &str = "ssh_host_ed25519_key";
/// Its public half.
const PUBLIC: &str = "ssh_host_ed25519_key.pub";
/// Its certificate.
const CERTIFICATE: &str = "ssh_host_ed25519_key-cert.pub";
/// The public lines of the CAs that clients should trust.
const AUTHORITIES: &str = "authorities";
/// The public lines of CAs that were withdrawn; may be empty or missing.
const REVOKED: &str = "revoked";

/// All files, in the order in which they are looked at.
pub const FILES: [&str; 5] = [PRIVATE, PUBLIC, CERTIFICATE, AUTHORITIES, REVOKED];

/// A gateway's host identity, and the host CAs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayIdentity {
    /// Host key and certificate.
    pub host: HostIdentity,
    /// Public lines of the CAs that clients should trust: one, and the next during a rotation.
    pub authorities: Vec<String>,
    /// Public lines of CAs that clients should believe no more.
    pub revoked: Vec<String>,
}

/// What is wrong with one of the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// It is not there.
    #[error("`{0}` is not there")]
    Missing(&'static str),
    /// It is not what it should be.
    #[error("`{0}` is {1}")]
    Wrong(&'static str, &'static str),
    /// The certificate's time has not come, or is over.
    #[error("`{CERTIFICATE}` is valid from {} to {}, and it is {} now, in seconds since 1970", .from, .to, .now)]
    Untimely {
        /// When it begins, as the others in seconds since 1970.
        from: u64,
        /// When it ends.
        to: u64,
        /// What the clock says.
        now: u64,
    },
}

impl GatewayIdentity {
    /// The Secret in Fairlead's own namespace.
    #[must_use]
    pub fn secret(&self, namespace: &str) -> Secret {
        let lines = |lines: &[String]| lines.iter().flat_map(|line| [line.trim_end(), "\n"]).collect::<String>();
        let one = |text: &str| lines(&[text.to_owned()]);
        let data = [
            (PRIVATE, one(&self.host.private)),
            (PUBLIC, one(&self.host.public)),
            (CERTIFICATE, one(&self.host.certificate)),
            (AUTHORITIES, lines(&self.authorities)),
            (REVOKED, lines(&self.revoked)),
        ];
        let labels = [("app.kubernetes.io/managed-by", MANAGER), ("app.kubernetes.io/part-of", "fairlead")];
        Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
                ..ObjectMeta::default()
            },
            data: Some(data.map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes()))).into()),
            ..Secret::default()
        }
    }

    /// From the files of that Secret: what does not belong together, or not to this moment, is none.
    pub fn read(files: &BTreeMap<&'static str, Vec<u8>>, now: Time) -> Result<Self, BadFile> {
        let text = |name: &'static str| {
            let bytes = files.get(name).ok_or(BadFile::Missing(name))?;
            std::str::from_utf8(bytes).map_err(|_| BadFile::Wrong(name, "not text"))
        };
        let private = text(PRIVATE)?;
        let key =
            PrivateKey::from_openssh(private).map_err(|_| BadFile::Wrong(PRIVATE, "no private key of OpenSSH"))?;
        let public = text(PUBLIC)?.trim_end();
        let shown = PublicKey::from_openssh(public).map_err(|_| BadFile::Wrong(PUBLIC, "no public key of OpenSSH"))?;
        if shown.key_data() != key.public_key().key_data() {
            return Err(BadFile::Wrong(PUBLIC, "the public half of another key"));
        }
        let authorities = public_lines(AUTHORITIES, text(AUTHORITIES)?)?;
        let revoked = match files.get(REVOKED) {
            Some(_) => public_lines(REVOKED, text(REVOKED)?)?,
            None => Vec::new(),
        };
        let certificate = text(CERTIFICATE)?.trim_end();
        check(certificate, &key, &authorities, now)?;
        let host = HostIdentity {
            private: private.to_owned(),
            public: public.to_owned(),
            certificate: certificate.to_owned(),
        };
        let lines = |keys: Vec<(String, PublicKey)>| keys.into_iter().map(|(line, _)| line).collect();
        Ok(Self { host, authorities: lines(authorities), revoked: lines(revoked) })
    }

    /// The lines of `known_hosts` for all of the CAs: what to trust, and what no more.
    #[must_use]
    pub fn known_hosts(&self, suffix: &HostSuffix) -> String {
        let trusted = self.authorities.iter().map(|line| client_config::known_hosts(suffix, line));
        let revoked = self.revoked.iter().map(|line| client_config::revoked_authority(suffix, line));
        trusted.chain(revoked).collect()
    }
}

/// Whether a certificate is a host's, of this key, by one of these CAs, for gateways and for now.
fn check(certificate: &str, key: &PrivateKey, authorities: &[(String, PublicKey)], now: Time) -> Result<(), BadFile> {
    let wrong = |what| Err(BadFile::Wrong(CERTIFICATE, what));
    let Ok(read) = Certificate::from_openssh(certificate) else { return wrong("no certificate of OpenSSH") };
    let (from, to, now) = (read.valid_after(), read.valid_before(), now.unix_seconds());
    if read.public_key() != key.public_key().key_data() {
        return wrong("the certificate of another key");
    }
    if read.cert_type() != CertType::Host || !read.valid_principals().iter().any(|name| name == GATEWAY_ALIAS) {
        return wrong("no certificate for gateways");
    }
    if !(from..to).contains(&now) {
        return Err(BadFile::Untimely { from, to, now });
    }
    let known: Vec<_> = authorities.iter().map(|(_, authority)| authority.fingerprint(HashAlg::Sha256)).collect();
    match read.validate_at(now, &known) {
        Ok(()) => Ok(()),
        Err(_) => wrong("signed by none of the CAs in `authorities`"),
    }
}

fn public_lines(name: &'static str, text: &str) -> Result<Vec<(String, PublicKey)>, BadFile> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let read = |line: &str| Some((line.trim_end().to_owned(), PublicKey::from_openssh(line).ok()?));
    let keys: Option<Vec<_>> = lines.map(read).collect();
    keys.ok_or(BadFile::Wrong(name, "no list of public keys"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Authority, Master, host_identity};

    const NOW: Time = Time(1_795_000_000_000);
    const DAY: i64 = 86_400;

    fn authority(seed: u8) -> Authority {
        Authority::from_openssh(&Authority::generate(&[seed; 32]).unwrap()).unwrap()
    }

    fn identity(subject: &str, principal: &str) -> GatewayIdentity {
        let master = Master::from_bytes(&[7; 32]).unwrap();
        let host = host_identity(&master, &authority(9), subject, 0, principal, NOW).unwrap();
        let authorities = vec![authority(9).public_line(), authority(10).public_line()];
        GatewayIdentity { host, authorities, revoked: vec![authority(11).public_line()] }
    }

    fn files(identity: &GatewayIdentity) -> BTreeMap<&'static str, Vec<u8>> {
        let data = identity.secret("fairlead-system").data.unwrap();
        FILES.map(|name| (name, data[name].0.clone())).into()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = identity("gateway", GATEWAY_ALIAS);
        assert_eq!(GatewayIdentity::read(&files(&written), NOW), Ok(written.clone()));
        assert_eq!(written.secret("fairlead-system").data.unwrap().len(), FILES.len());
        let none = GatewayIdentity { revoked: Vec::new(), ..written };
        assert_eq!(GatewayIdentity::read(&files(&none), NOW), Ok(none.clone()));
        let mut without = files(&none);
        without.remove(REVOKED);
        assert_eq!(GatewayIdentity::read(&without, NOW), Ok(none));
    }

    #[test]
    fn what_does_not_belong_together_is_refused_by_the_file_that_is_wrong() {
        let (good, other) = (identity("gateway", GATEWAY_ALIAS), identity("another", GATEWAY_ALIAS));
        let foreign = identity("gateway", "ml.team-a.notebook");
        let stranger = GatewayIdentity { authorities: vec![authority(12).public_line()], ..good.clone() };
        let garbage = |name: &'static str| (name, b"\xff\xfe".to_vec());
        let take = |name: &'static str, from: &GatewayIdentity| (name, files(from)[name].clone());
        for ((name, bytes), said) in [
            (garbage(PRIVATE), "`ssh_host_ed25519_key` is not text"),
            (take(PUBLIC, &other), "`ssh_host_ed25519_key.pub` is the public half of another key"),
            (take(CERTIFICATE, &other), "`ssh_host_ed25519_key-cert.pub` is the certificate of another key"),
            (take(CERTIFICATE, &foreign), "`ssh_host_ed25519_key-cert.pub` is no certificate for gateways"),
            (take(AUTHORITIES, &stranger), "`ssh_host_ed25519_key-cert.pub` is signed by none of the CAs"),
            ((PRIVATE, b"x".to_vec()), "`ssh_host_ed25519_key` is no private key"),
            ((PUBLIC, b"x".to_vec()), "`ssh_host_ed25519_key.pub` is no public key"),
            ((CERTIFICATE, b"x".to_vec()), "`ssh_host_ed25519_key-cert.pub` is no certificate"),
            ((AUTHORITIES, b"x".to_vec()), "`authorities` is no list of public keys"),
            ((REVOKED, b"x".to_vec()), "`revoked` is no list of public keys"),
        ] {
            let mut files = files(&good);
            files.insert(name, bytes);
            let error = GatewayIdentity::read(&files, NOW).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}, not {said}");
        }
        for name in FILES.iter().filter(|name| **name != REVOKED) {
            let mut files = files(&good);
            files.remove(name);
            assert_eq!(GatewayIdentity::read(&files, NOW), Err(BadFile::Missing(name)));
        }
    }

    #[test]
    fn a_certificate_counts_in_its_time_alone() {
        let files = files(&identity("gateway", GATEWAY_ALIAS));
        for days in [-30, 30] {
            let error = GatewayIdentity::read(&files, NOW.plus_seconds(days * DAY)).unwrap_err();
            assert!(matches!(error, BadFile::Untimely { .. }), "{error}");
        }
    }
}
