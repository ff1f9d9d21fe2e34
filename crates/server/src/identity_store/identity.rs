//! CA and master secret as they are in memory, read from the Secret's fields.

use anyhow::{Context, Result};
use fairlead_model::client_config::{self, GATEWAY_ALIAS};
use fairlead_model::gateway_identity::GatewayIdentity;
use fairlead_model::identity::{Authority, HostIdentity, Master, host_identity};
use fairlead_model::{HostSuffix, PublicKey, Time};
use k8s_openapi::api::core::v1::Secret;

use super::{CA, MASTER, NEXT, REVOKED, new_secret};
use crate::random;

/// CA and master secret. It prints without what is secret.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Signs host certificates.
    pub authority: Authority,
    /// The CA to come, while a rotation is under way: clients should know it already.
    pub next: Option<Authority>,
    /// The public lines of CAs that clients should refuse: somebody else may have had them.
    pub revoked: Vec<String>,
    /// What host keys are derived from.
    pub master: Master,
}

impl Identity {
    /// The host identity of the gateway at a moment.
    pub fn gateway(&self, now: Time) -> Result<HostIdentity> {
        host_identity(&self.master, &self.authority, "gateway", 0, GATEWAY_ALIAS, now)
            .context("making the gateway's host identity")
    }

    /// What gateways need of it, at a moment.
    pub fn for_gateways(&self, now: Time) -> Result<GatewayIdentity> {
        let (authorities, revoked) = (self.public_lines(), self.revoked.clone());
        Ok(GatewayIdentity { host: self.gateway(now)?, authorities, revoked })
    }

    /// The public lines of all CAs that clients should trust now: one, and the next during a rotation.
    #[must_use]
    pub fn public_lines(&self) -> Vec<String> {
        std::iter::once(&self.authority).chain(&self.next).map(Authority::public_line).collect()
    }

    /// The lines of `known_hosts` for all of them, and for those to refuse.
    #[must_use]
    pub fn known_hosts(&self, suffix: &HostSuffix) -> String {
        let trusted = self.public_lines().into_iter().map(|line| client_config::known_hosts(suffix, &line));
        let revoked = self.revoked.iter().map(|line| client_config::revoked_authority(suffix, line));
        trusted.chain(revoked).collect()
    }

    /// Whether it says the same as another.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.public_lines() == other.public_lines() && self.revoked == other.revoked && self.master == other.master
    }

    pub(super) fn make() -> Result<Self> {
        let ca = Authority::generate(&random::bytes()?).context("making a host CA")?;
        Self::parse(&new_secret("", &ca, &random::bytes()?))
    }

    pub(super) fn parse(secret: &Secret) -> Result<Self> {
        let data = secret.data.as_ref();
        let field = |name: &str| data.and_then(|data| data.get(name)).map(|bytes| bytes.0.as_slice());
        let authority = |bytes: &[u8]| Authority::from_openssh(&String::from_utf8_lossy(bytes));
        Ok(Self {
            authority: authority(field(CA).unwrap_or_default()).context("reading `ca`")?,
            next: field(NEXT).map(authority).transpose().context("reading `ca-next`")?,
            revoked: revoked(field(REVOKED).unwrap_or_default()).context("reading `revoked`")?,
            master: Master::from_bytes(field(MASTER).unwrap_or_default()).context("reading `master`")?,
        })
    }
}

/// Public lines, which go into files of people's clients: whatever is none of these stays out.
fn revoked(bytes: &[u8]) -> Result<Vec<String>> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| Ok(PublicKey::parse(line)?.0.line().to_owned())).collect()
}
