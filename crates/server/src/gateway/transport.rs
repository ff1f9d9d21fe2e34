//! How the gateway speaks SSH: its host key and certificate, which algorithms, which windows.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fairlead_model::identity::HostIdentity;
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use ssh_key::{Algorithm, Certificate, EcdsaCurve, HashAlg, PrivateKey};

use super::Limits;

/// What the gateway calls itself: no version, which would only help who looks for an old one.
const SERVER_ID: &str = "SSH-2.0-Fairlead";
/// 16 MiB in flight a channel keep a gigabit busy at 130 ms.
const WINDOW: u32 = 16 * 1024 * 1024;
/// The largest packet russh takes, 5 to 10 % less work a byte than its default of 32 KiB.
const PACKET: u32 = 256 * 1024;
/// Messages that wait for a notebook that does not read: at most 4 MiB of a client's data.
const CHANNEL_BUFFER: usize = 16;

/// Elliptic curves and their post-quantum hybrid only: a finite-field exchange costs a server ten times as much, which
/// is what a DHEat attack lives on. The last two names switch on strict key exchange, against Terrapin.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// The client's order decides. CTR is for clients of before 2013.
const CIPHERS: &[cipher::Name] =
    &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_128_CTR];

const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];

/// The host key's type, and those of keys that people sign in with: no RSA with SHA-1.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::SkEd25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::SkEcdsaSha2NistP256,
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// russh's configuration for new connections.
pub(super) fn config(identity: &HostIdentity, limits: &Limits) -> Result<Arc<Config>> {
    let key = PrivateKey::from_openssh(&identity.private).context("reading the gateway's host key")?;
    let certificate =
        Certificate::from_openssh(&identity.certificate).context("reading the gateway's host certificate")?;
    Ok(Arc::new(Config {
        server_id: SshId::Standard(Cow::Borrowed(SERVER_ID)),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // A delay after a refusal protects passwords. Here it would cost a second for each key of an agent.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        certificates: vec![certificate],
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: CHANNEL_BUFFER,
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Borrowed(KEYS),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
            host_key_certificates: Cow::Borrowed(&[]),
        },
        max_auth_attempts: limits.sign_in_attempts,
        // Keep-alives would reset it: it could never end a session that a client holds open.
        inactivity_timeout: None,
        keepalive_interval: Some(limits.keep_alive),
        keepalive_max: limits.keep_alive_count,
        nodelay: true,
        ..Config::default()
    }))
}
