//! Host keys and certificates of notebooks and gateway, derived: the same bytes at any time by any replica.

use hkdf::Hkdf;
use sha2::Sha256;
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

use crate::time::Time;

/// How long a host certificate is valid, in seconds.
const VALIDITY: u64 = 14 * 86_400;
/// A certificate begins this much before its window, for clocks that are behind.
const SKEW: u64 = 3_600;

/// The secret from which every host key is derived. It prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Master([u8; 32]);

/// The authority that clients trust. It prints as its public key.
#[derive(Clone)]
pub struct Authority(PrivateKey);

/// A host key with its certificate, in OpenSSH's formats.
#[derive(Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The private key's PEM.
    pub private: String,
    /// The public key's line.
    pub public: String,
    /// The certificate's line.
    pub certificate: String,
}

/// Why an identity could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// Not 32 bytes.
    #[error("the master secret must have 32 bytes")]
    Master,
    /// Not an unencrypted Ed25519 private key.
    #[error("the host CA must be an Ed25519 private key without a passphrase")]
    Authority,
    /// ssh-key refused what was derived.
    #[error("making a host certificate")]
    Certificate(#[source] ssh_key::Error),
}

impl Master {
    /// Of exactly 32 random bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadIdentity> {
        Ok(Self(bytes.try_into().map_err(|_| BadIdentity::Master)?))
    }

    /// 32 bytes for one purpose: HKDF-SHA256 with `fairlead/v1/PURPOSE` (RFC 5869).
    fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut out = [0; 32];
        // 32 bytes are one block of SHA-256, far below HKDF's limit of 255.
        let _ = Hkdf::<Sha256>::new(None, &self.0).expand(format!("fairlead/v1/{purpose}").as_bytes(), &mut out);
        out
    }
}

/// When the last certificate has ended that was made for a host key by now.
#[must_use]
pub fn last_certificate_ends(now: Time) -> Time {
    now.plus_seconds(VALIDITY.cast_signed())
}

impl Authority {
    /// From a private key file of OpenSSH.
    pub fn from_openssh(pem: &str) -> Result<Self, BadIdentity> {
        let key = PrivateKey::from_openssh(pem).map_err(|_| BadIdentity::Authority)?;
        match key.key_data() {
            KeypairData::Ed25519(_) => Ok(Self(key)),
            _ => Err(BadIdentity::Authority),
        }
    }

    /// A new one from 32 random bytes, as a private key file of OpenSSH.
    pub fn generate(random: &[u8; 32]) -> Result<String, BadIdentity> {
        Ok(private_key(random, "fairlead host CA")?
            .to_openssh(LineEnding::LF)
            .map_err(BadIdentity::Certificate)?
            .to_string())
    }

    /// The public key's line, for `@cert-authority`.
    #[must_use]
    pub fn public_line(&self) -> String {
        let mut key = self.0.public_key().clone();
        key.set_comment("");
        key.to_openssh().map(|line| line.trim_end().to_owned()).unwrap_or_default()
    }
}

/// A host's key and certificate. `subject` is unique and stays: a Notebook's UID, or `gateway`. The key changes with
/// `epoch` alone; the certificate also with its window: a new one every 7 days, valid for 14 and an hour, at a moment
/// that differs by subject.
pub fn host_identity(
    master: &Master,
    authority: &Authority,
    subject: &str,
    epoch: u64,
    principal: &str,
    now: Time,
) -> Result<HostIdentity, BadIdentity> {
    let key = private_key(&master.derive(&format!("host-key/{subject}/{epoch}")), "")?;
    let spread = u64::from_be_bytes(first_eight(&master.derive(&format!("spread/{subject}")))) % (VALIDITY / 2);
    let window = (now.unix_seconds() + spread) / (VALIDITY / 2);
    let start = (window * (VALIDITY / 2)).saturating_sub(spread);
    let nonce = master.derive(&format!("nonce/{subject}/{epoch}/{window}/{principal}"));
    let certify = || -> Result<String, ssh_key::Error> {
        let after = start.saturating_sub(SKEW);
        let mut builder = Builder::new(nonce.to_vec(), key.public_key().key_data().clone(), after, start + VALIDITY)?;
        builder.serial(window)?.key_id(principal)?.cert_type(CertType::Host)?.valid_principal(principal)?;
        builder.sign(&authority.0)?.to_openssh()
    };
    Ok(HostIdentity {
        private: key.to_openssh(LineEnding::LF).map_err(BadIdentity::Certificate)?.to_string(),
        public: key.public_key().to_openssh().map_err(BadIdentity::Certificate)?.trim_end().to_owned(),
        certificate: certify().map_err(BadIdentity::Certificate)?.trim_end().to_owned(),
    })
}

fn private_key(seed: &[u8; 32], comment: &str) -> Result<PrivateKey, BadIdentity> {
    let pair = Ed25519Keypair::from_seed(seed);
    PrivateKey::new(KeypairData::Ed25519(pair), comment).map_err(BadIdentity::Certificate)
}

fn first_eight(bytes: &[u8; 32]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[..8]);
    out
}

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Master([redacted])")
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.public_line())
    }
}

impl std::fmt::Debug for HostIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostIdentity({}, private: [redacted])", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn of(subject: &str, epoch: u64, now: Time) -> HostIdentity {
        let master = Master::from_bytes(&[7; 32]).unwrap();
        let authority = Authority::from_openssh(&Authority::generate(&[9; 32]).unwrap()).unwrap();
        host_identity(&master, &authority, subject, epoch, "ml.team-a.notebook", now).unwrap()
    }

    #[test]
    fn the_same_bytes_come_out_whenever_and_wherever_they_are_made() {
        let now = Time(1_795_000_000_000);
        assert_eq!(of("a", 0, now), of("a", 0, now.plus_seconds(1)));
        assert_eq!(of("a", 0, now).private, of("a", 0, now.plus_seconds(365 * DAY)).private);
        assert_ne!(of("a", 0, now).private, of("b", 0, now).private);
        assert_ne!(of("a", 0, now).private, of("a", 1, now).private);
    }

    #[test]
    fn a_certificate_is_replaced_at_half_time_and_never_out_of_its_window() {
        let mut last = None;
        let mut changes = 0;
        for half_day in 0..120 {
            let now = Time(1_795_000_000_000).plus_seconds(half_day * DAY / 2);
            let text = of("a", 0, now).certificate;
            let certificate = ssh_key::Certificate::from_openssh(&text).unwrap();
            let left = certificate.valid_before() - now.unix_seconds();
            assert!(certificate.valid_after() + SKEW <= now.unix_seconds());
            assert!((VALIDITY / 2..=VALIDITY).contains(&left), "{left}");
            assert!(certificate.valid_before() <= last_certificate_ends(now).unix_seconds());
            if last.replace(text.clone()).is_some_and(|before| before != text) {
                changes += 1;
            }
        }
        assert!((7..=9).contains(&changes), "{changes} changes in 60 days");
    }

    #[test]
    fn secrets_do_not_print() {
        let printed = format!("{:?} {:?}", Master::from_bytes(&[7; 32]).unwrap(), of("a", 0, Time(0)));
        assert!(!printed.contains("PRIVATE") && printed.contains("[redacted]"), "{printed}");
    }
}
