//! The webhook's certificate: self-signed, kept in a Secret, renewed long before it ends.

use anyhow::{Context, Result};
use fairlead_model::Time;
use fairlead_model::plan::MANAGER;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::cluster::is_answer;

/// The Secret's name.
pub const SECRET: &str = "fairlead-webhook";
/// Unix seconds after which the certificate is renewed.
const RENEW_AFTER: &str = "fairlead.dev/renew-after";
/// How long a certificate is valid, and after how long it is renewed.
const VALID_DAYS: i64 = 90;
const RENEW_DAYS: i64 = 60;
const DAY: i64 = 86_400;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The certificate before this one. It stays trusted, for replicas that still serve it.
const PREVIOUS: &str = "previous.crt";

/// A certificate with its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Served {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// What the API server should trust: this certificate and the one before.
    pub bundle: String,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Served([redacted])")
    }
}

/// Reads the certificate; makes it, or makes it anew, where it is missing, damaged or old. `names` are the hosts that
/// the API server may know it by.
pub async fn current(secrets: &Api<Secret>, names: &[String], now: Time) -> Result<Served> {
    loop {
        let found = secrets.get_opt(SECRET).await.with_context(|| format!("reading the Secret `{SECRET}`"))?;
        let served = found.as_ref().and_then(read);
        if let (Some(served), Some(found)) = (&served, &found)
            && !is_due(found, now)
        {
            return Ok(served.clone());
        }
        let secret = renewed(found, served, names, now)?;
        let done = match &secret.metadata.resource_version {
            Some(_) => secrets.replace(SECRET, &PostParams::default(), &secret).await,
            None => secrets.create(&PostParams::default(), &secret).await,
        };
        match done {
            Ok(_) => tracing::info!(secret = SECRET, valid_days = VALID_DAYS, "made the webhook's certificate"),
            // Another replica was first: take its.
            Err(error) if is_answer(&error, 409) => {}
            Err(error) => return Err(error).with_context(|| format!("writing the Secret `{SECRET}`")),
        }
    }
}

/// What a Secret holds, where it is whole.
#[must_use]
pub fn read(secret: &Secret) -> Option<Served> {
    let field = |name: &str| String::from_utf8(secret.data.as_ref()?.get(name)?.0.clone()).ok();
    let (certificate, key) = (field(CERTIFICATE)?, field(KEY)?);
    KeyPair::from_pem(&key).ok()?;
    let bundle = format!("{certificate}{}", field(PREVIOUS).unwrap_or_default());
    Some(Served { certificate, key, bundle })
}

fn is_due(secret: &Secret, now: Time) -> bool {
    let annotation = secret.metadata.annotations.as_ref().and_then(|all| all.get(RENEW_AFTER)?.parse::<u64>().ok());
    annotation.is_none_or(|after| now.unix_seconds() >= after)
}

fn renewed(found: Option<Secret>, last: Option<Served>, names: &[String], now: Time) -> Result<Secret> {
    let (certificate, key) = make(names, now).context("making the webhook's certificate")?;
    let mut secret = found.unwrap_or_else(|| Secret {
        metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    });
    let after = now.plus_seconds(RENEW_DAYS * DAY).unix_seconds().to_string();
    let meta = &mut secret.metadata;
    meta.annotations.get_or_insert_default().insert(RENEW_AFTER.to_owned(), after);
    meta.labels.get_or_insert_default().insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    let data = [(CERTIFICATE, Some(certificate)), (KEY, Some(key)), (PREVIOUS, last.map(|last| last.certificate))];
    let data = data.into_iter().filter_map(|(name, text)| Some((name.to_owned(), ByteString(text?.into_bytes()))));
    secret.data = Some(data.collect());
    Ok(secret)
}

fn make(names: &[String], now: Time) -> Result<(String, String)> {
    let mut params = CertificateParams::new(names).context("naming its hosts")?;
    params.distinguished_name.push(DnType::CommonName, "fairlead-webhook");
    let at = |seconds: i64| {
        let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.plus_seconds(seconds).unix_seconds());
        moment.into()
    };
    // From an hour ago, for an API server whose clock is behind.
    params.not_before = at(-3_600);
    params.not_after = at(VALID_DAYS * DAY);
    let key = KeyPair::generate().context("making its key")?;
    Ok((params.self_signed(&key).context("signing it")?.pem(), key.serialize_pem()))
}
