//! What the API server serves of the kinds of policies.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_model::world::MeshKind;
use kube::Client;
use kube::api::ApiResource;
use tokio::time::Instant;

use super::request::{PATIENCE, silent};
use crate::watch::{chain, mesh as watched};

/// The kinds, as they were found.
pub(super) struct Kinds {
    client: Client,
    resync: Duration,
    resources: BTreeMap<MeshKind, ApiResource>,
    /// Those that could not be found in this pass, and why: it asks once.
    unfound: BTreeMap<MeshKind, String>,
    /// Whether the API server knows `endPort`, and until when that is believed.
    end_port: Option<(bool, Instant)>,
}

impl Kinds {
    pub(super) fn new(client: &Client, resync: Duration) -> Self {
        Self { client: client.clone(), resync, resources: BTreeMap::new(), unfound: BTreeMap::new(), end_port: None }
    }

    /// What was not found is looked for again.
    pub(super) fn begin_pass(&mut self) {
        self.unfound.clear();
    }

    /// After a failure: the kind may be served in another version now.
    pub(super) fn forget(&mut self, kind: MeshKind) {
        self.resources.remove(&kind);
    }

    pub(super) fn is_unfound(&self, kind: MeshKind) -> bool {
        self.unfound.contains_key(&kind)
    }

    pub(super) async fn get(&mut self, kind: MeshKind) -> Result<ApiResource, String> {
        if let Some(resource) = self.resources.get(&kind) {
            return Ok(resource.clone());
        }
        if let Some(error) = self.unfound.get(&kind) {
            return Err(error.clone());
        }
        let error = match tokio::time::timeout(PATIENCE, watched::served(&self.client, kind)).await {
            Ok(Ok(Some(resource))) => {
                self.resources.insert(kind, resource.clone());
                return Ok(resource);
            }
            Ok(Ok(None)) => "the cluster has no such kind".to_owned(),
            Ok(Err(error)) => chain(&error),
            Err(_) => silent(),
        };
        tracing::warn!(kind = kind.plural(), error, "looking for the kind");
        self.unfound.insert(kind, error.clone());
        Err(error)
    }

    /// Whether the API server knows `endPort`, where that can be told: one that does not would leave the field out
    /// without a word, and so close ports.
    pub(super) async fn knows_end_port(&mut self) -> Option<bool> {
        let now = Instant::now();
        if self.end_port.is_none_or(|(_, until)| until <= now) {
            match tokio::time::timeout(PATIENCE, self.client.apiserver_version())
                .await
                .unwrap_or_else(|_| Err(kube::Error::Service(silent().into())))
            {
                Ok(version) => {
                    let knows = has_end_port(&version.git_version);
                    if !knows && self.end_port.is_none_or(|(before, _)| before) {
                        let version = version.git_version;
                        tracing::warn!(version, "no NetworkPolicy is written: this needs Kubernetes 1.22 (`endPort`)");
                    }
                    self.end_port = Some((knows, now + self.resync));
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "asking for the API server's version");
                }
            }
        }
        self.end_port.map(|(knows, _)| knows)
    }
}

/// `endPort` is there by default from 1.22 on. By the version as a whole: some builds leave its parts empty.
fn has_end_port(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    matches!((parts.next(), parts.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (1, 22))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_port_is_known_from_1_22_on() {
        for (version, knows) in [
            ("v1.20.2", false),
            ("v1.21.14-vendor.1", false),
            ("v1.22.0", true),
            ("v1.30.1+vendor1", true),
            ("v1.36.2", true),
            ("v2.0.0", true),
            ("v1", false),
            ("", false),
        ] {
            assert_eq!(has_end_port(version), knows, "{version}");
        }
    }
}
