//! Public keys: data from strangers that ends up in every notebook's `authorized_keys`.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{EcdsaCurve, HashAlg};

/// The longest line that is looked at: an RSA key of 8192 bits with a comment is about 1.5 KiB.
const MAX_LINE: usize = 8192;
/// Bits of an RSA key: fewer are too weak, and of more the `rsa` crate verifies no signature (`RsaPublicKey::MAX_SIZE`).
const RSA_BITS: RangeInclusive<usize> = 3072..=8192;
/// RSA exponents that the `rsa` crate verifies with end before this many bits (`RsaPublicKey::MAX_PUB_EXPONENT`).
const RSA_EXPONENT_BITS: usize = 33;

/// A key's SHA-256 fingerprint as OpenSSH prints it: `SHA256:` and 43 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(String);

/// A vetted public key. Its text has a type and base64, made from the parsed key: nothing that was typed remains.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    line: String,
    fingerprint: Fingerprint,
}

/// Why a line is no key that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Nothing there.
    #[error("no key given\nhint: cat ~/.ssh/id_ed25519.pub")]
    Empty,
    /// A private key was pasted. It must be treated as lost.
    #[error(
        "this is a private key, which nobody else may ever see: make a new pair, and give the file that ends in .pub\nhint: ssh-keygen -t ed25519"
    )]
    Private,
    /// Too long, several lines, or control characters.
    #[error("a key is one line of at most {MAX_LINE} characters without control characters")]
    Line,
    /// Something before the type, as `command="…"` or `cert-authority`.
    #[error("options before the key are not taken: give the line as it stands in the .pub file")]
    Options,
    /// A certificate.
    #[error("this is a certificate, not a key: give the .pub file without `-cert` in its name")]
    Certificate,
    /// A type that is not taken.
    #[error(
        "keys of type `{0}` are not taken: use Ed25519, ECDSA, a security key, or RSA of 3072 to 8192 bits\nhint: ssh-keygen -t ed25519"
    )]
    Type(&'static str),
    /// An RSA key of the wrong size.
    #[error("an RSA key must have 3072 to 8192 bits, this one has {0}\nhint: ssh-keygen -t ed25519")]
    RsaSize(usize),
    /// An RSA key with an exponent that no signature is checked with.
    #[error("this RSA key has an unusual exponent: the usual one is 65537\nhint: ssh-keygen -t ed25519")]
    RsaExponent,
    /// Base64 or its contents do not parse.
    #[error("the key is damaged: copy the whole line of the .pub file")]
    Damaged,
}

impl PublicKey {
    /// One line of a `.pub` file: type, base64, and perhaps a comment, which comes back cleaned, at most 100 characters.
    pub fn parse(text: &str) -> Result<(Self, String), BadKey> {
        let line = text.trim_matches([' ', '\t', '\r', '\n']);
        if line.is_empty() {
            return Err(BadKey::Empty);
        }
        if line.contains("PRIVATE KEY-----") {
            return Err(BadKey::Private);
        }
        if line.len() > MAX_LINE || line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(BadKey::Line);
        }
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let (kind, base64) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        vet_type(kind)?;
        let key = ssh_key::PublicKey::from_openssh(&format!("{kind} {base64}")).map_err(|_| BadKey::Damaged)?;
        let comment = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(100).collect();
        Ok((Self::from_data(key.key_data())?, comment))
    }

    /// A key that a client offered.
    pub fn from_data(data: &KeyData) -> Result<Self, BadKey> {
        match data {
            KeyData::Ed25519(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {}
            KeyData::Ecdsa(key) => match key.curve() {
                EcdsaCurve::NistP256 | EcdsaCurve::NistP384 | EcdsaCurve::NistP521 => {}
            },
            KeyData::Rsa(key) => {
                let size = bits(key.n());
                if !RSA_BITS.contains(&size) {
                    return Err(BadKey::RsaSize(size));
                }
                if !(2..=RSA_EXPONENT_BITS).contains(&bits(key.e())) || !is_odd(key.e()) {
                    return Err(BadKey::RsaExponent);
                }
                if !is_odd(key.n()) {
                    return Err(BadKey::Damaged);
                }
            }
            _ => return Err(BadKey::Type("unknown")),
        }
        let plain = ssh_key::PublicKey::new(data.clone(), "");
        let line = plain.to_openssh().map_err(|_| BadKey::Damaged)?.trim_end().to_owned();
        Ok(Self { line, fingerprint: Fingerprint(plain.fingerprint(HashAlg::Sha256).to_string()) })
    }

    /// Type and base64, as in a `.pub` file without comment.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The SHA-256 fingerprint.
    #[must_use]
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The type's name, such as `ssh-ed25519`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }
}

impl Fingerprint {
    /// The form OpenSSH prints, or `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let base64 = text.strip_prefix("SHA256:")?;
        let fits = base64.len() == 43 && base64.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
        fits.then(|| Self(text.to_owned()))
    }

    /// The fingerprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn vet_type(kind: &str) -> Result<(), BadKey> {
    match kind {
        "ssh-ed25519"
        | "ssh-rsa"
        | "ecdsa-sha2-nistp256"
        | "ecdsa-sha2-nistp384"
        | "ecdsa-sha2-nistp521"
        | "sk-ssh-ed25519@openssh.com"
        | "sk-ecdsa-sha2-nistp256@openssh.com" => Ok(()),
        "ssh-dss" => Err(BadKey::Type("ssh-dss")),
        _ if kind.contains("-cert-v0") => Err(BadKey::Certificate),
        _ => Err(BadKey::Options),
    }
}

/// Bits of a number, without leading zeros.
fn bits(number: &ssh_key::Mpint) -> usize {
    let bytes = number.as_positive_bytes().unwrap_or_default();
    let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())..];
    bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize)
}

fn is_odd(number: &ssh_key::Mpint) -> bool {
    number.as_positive_bytes().and_then(<[u8]>::last).is_some_and(|last| last % 2 == 1)
}
