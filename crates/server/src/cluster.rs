//! The way to the API server: a client that fails rather than waits, and the kinds that no library knows.

use anyhow::{Context, Result};
use kube::api::{ApiResource, GroupVersionKind};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, discovery};

use crate::settings::Cluster;

/// A kind of kubeflow.org, which may come after Fairlead, in one of several versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KubeflowKind {
    /// Its name.
    pub kind: &'static str,
    /// The versions that are understood, the best first.
    pub versions: &'static [&'static str],
}

/// Notebooks: upstream stores v1, and old installations serve v1beta1 alone.
pub const NOTEBOOK: KubeflowKind = KubeflowKind { kind: "Notebook", versions: &["v1", "v1beta1"] };
/// Profiles.
pub const PROFILE: KubeflowKind = KubeflowKind { kind: "Profile", versions: &["v1", "v1beta1"] };

/// A client by the kubeconfig of the settings, else by the Pod's ServiceAccount or the usual kubeconfig.
///
/// Without kube's own retries: they wait in silence for as long as a starting API server says (ten seconds and more),
/// and everything here that has to try again does so by itself.
pub async fn connect(cluster: &Cluster) -> Result<Client> {
    let mut config = match &cluster.kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).with_context(|| format!("reading `{}`", path.display()))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(read, &options).await.context("using the kubeconfig")?
        }
        None => {
            Config::infer().await.context("finding a cluster: neither a ServiceAccount nor a kubeconfig is here")?
        }
    };
    config.default_retry = false;
    Client::try_from(config).context("making a client for the API server")
}

/// The best served version of a kind of Kubeflow's; `None` where the API server has none of it.
pub async fn served(client: &Client, kind: KubeflowKind) -> kube::Result<Option<ApiResource>> {
    served_in(client, "kubeflow.org", kind.kind, kind.versions).await
}

/// The first of these versions of a kind that the API server has.
pub async fn served_in(
    client: &Client,
    group: &str,
    kind: &str,
    versions: &[&str],
) -> kube::Result<Option<ApiResource>> {
    for version in versions {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        match discovery::pinned_kind(client, &gvk).await {
            Ok((resource, _)) => return Ok(Some(resource)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether an error says that there is no such kind or object.
#[must_use]
pub fn is_absent(error: &kube::Error) -> bool {
    use kube::error::DiscoveryError::{MissingApiGroup, MissingKind, MissingResource};
    match error {
        kube::Error::Api(answer) => answer.code == 404,
        kube::Error::Discovery(MissingApiGroup(_) | MissingKind(_) | MissingResource(_)) => true,
        _ => false,
    }
}

/// Whether an error is the API server's answer `code`.
#[must_use]
pub fn is_answer(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(answer) if answer.code == code)
}
