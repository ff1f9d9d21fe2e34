//! Whether policies of the network and of the mesh let the gateway reach sshd: reads them, for `told` to say it.

mod authorization;
mod mesh;
mod network;
mod own;
mod peers;
mod told;
mod way;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use fairlead_model::NotebookId;
use fairlead_model::access::SSHD_PORT;
use fairlead_model::plan::mesh::{GATEWAY_LABEL, Mode};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::{Check, Finding};
use crate::watch::chain;
use mesh::{Guard, ROOT, Ruled};
use way::{Labels, Source};

const AUTHORIZATIONS: &str = "AuthorizationPolicy";
const PEERS: &str = "PeerAuthentication";

/// What counts for all notebooks: whether policies can be read, and those of the whole mesh.
pub(super) async fn look_at_installation(check: &Check) -> Vec<Finding> {
    let networks: Api<NetworkPolicy> = Api::all(check.client.clone());
    let mut findings = vec![match networks.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Finding::ok(
            "NetworkPolicies can be listed; those of a notebook are looked at with it, and a network plugin's own kinds \
             (of Cilium, Calico, AdminNetworkPolicy) are not",
        ),
        Err(error) => told::unlisted("NetworkPolicy", &error),
    }];
    let peers = mesh::list::<peers::Spec>(&check.client, PEERS, ROOT).await;
    let authorizations = mesh::list::<authorization::Spec>(&check.client, AUTHORIZATIONS, ROOT).await;
    if let (Ok(None), Ok(None)) = (&peers, &authorizations) {
        findings.push(Finding::ok("there is no mesh: the cluster has no policies of Istio"));
        return findings;
    }
    findings.push(own::look_at_installation(check).await);
    findings.push(match peers {
        Ok(policies) => told::peers_of_all(peers::judge(&policies.unwrap_or_default(), ROOT, &Labels::new())),
        Err(error) => told::unlisted(PEERS, &error),
    });
    findings.push(match authorizations {
        Ok(policies) => {
            let policies = policies.unwrap_or_default();
            let all: Vec<_> = policies.iter().filter(|policy| policy.is_for_all()).collect();
            told::authorizations_of_all(authorization::judge(&all, None, &sources(check).await))
        }
        Err(error) => told::unlisted(AUTHORIZATIONS, &error),
    });
    findings
}

/// What policies say to the gateway about one notebook's Pod. `greets` says that its sshd answers whoever runs this:
/// in one of Fairlead's own Pods that proves that nothing enforces what the policies say.
pub(super) async fn look_at_notebook(check: &Check, id: &NotebookId, name: &str, greets: bool) -> Vec<Finding> {
    let space = id.namespace.as_str();
    let pod = match Api::<Pod>::namespaced(check.client.clone(), space).get(name).await {
        Ok(pod) => pod,
        Err(error) => {
            let what = format!("no policy is looked at: reading the Pod `{name}`: {}", chain(&error));
            return vec![Finding::warn(what, format!("kubectl get pod -n {space} {name}"))];
        }
    };
    let sources = sources(check).await;
    let networks: Api<NetworkPolicy> = Api::namespaced(check.client.clone(), space);
    let mut findings = Vec::new();
    match networks.list(&ListParams::default()).await {
        Ok(policies) => {
            findings.push(told::networks(network::judge(&policies.items, &pod, &sources), id, &sources));
            findings.extend(own::network(check, id, &policies.items));
        }
        Err(error) => findings.push(told::unlisted("NetworkPolicy", &error)),
    }
    match mesh::guard(&pod) {
        Guard::Sidecar => {
            let of_mesh = look_at_mesh(check, id, &pod, &sources).await;
            if own::is_older(check, &pod) {
                findings.push(own::not_excluded());
                findings.extend(of_mesh.map(own::met_by_restart));
            } else {
                findings.extend(of_mesh);
            }
            if check.mesh.mode == Mode::Policies {
                findings.push(own::authorizations(check, id).await);
            }
        }
        guard => findings.push(told::guard(guard, name)),
    }
    let own = ip(&pod).and_then(own_address);
    if greets && own.is_some() && sources.iter().any(|source| source.ip == own) {
        findings = findings.into_iter().map(told::doubted).collect();
    }
    findings
}

/// What Istio's policies say to a Pod whose sidecar takes sshd's port.
async fn look_at_mesh(check: &Check, id: &NotebookId, pod: &Pod, sources: &[Source]) -> [Finding; 2] {
    let space = id.namespace.as_str();
    let peers = match list_with_root(check, PEERS, space).await {
        Ok(policies) => told::peers(peers::judge(&policies, space, pod.labels()), id),
        Err(error) => told::unlisted(PEERS, &error),
    };
    let authorizations = match list_with_root::<authorization::Spec>(check, AUTHORIZATIONS, space).await {
        Ok(policies) => {
            let applying: Vec<_> = policies.iter().filter(|policy| policy.applies(pod.labels())).collect();
            told::authorizations(authorization::judge(&applying, ip(pod), sources), id)
        }
        Err(error) => told::unlisted(AUTHORIZATIONS, &error),
    };
    [peers, authorizations]
}

async fn list_with_root<T>(check: &Check, kind: &str, namespace: &str) -> kube::Result<Vec<Ruled<T>>>
where
    T: DeserializeOwned + Default,
{
    let own = mesh::list(&check.client, kind, namespace).await?;
    let root = if namespace == ROOT { None } else { mesh::list(&check.client, kind, ROOT).await? };
    Ok(own.into_iter().chain(root).flatten().collect())
}

/// Fairlead's Pods; where none is seen, one that nothing is known of.
async fn sources(check: &Check) -> Vec<Source> {
    let namespaces: Api<Namespace> = Api::all(check.client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={}", check.namespace));
    let found = namespaces.list(&named).await.ok().and_then(|found| found.items.into_iter().next());
    let unknown = Source {
        namespace: check.namespace.clone(),
        namespace_labels: found.map(|namespace| namespace.labels().clone()),
        labels: None,
        ip: None,
    };
    let pods: Api<Pod> = Api::namespaced(check.client.clone(), &check.namespace);
    let labelled = ListParams::default().labels("app.kubernetes.io/name=fairlead");
    let mut pods = pods.list(&labelled).await.map(|found| found.items).unwrap_or_default();
    // Those without the label dial nobody: left from before, or not the manifests' own.
    let dials = |pod: &Pod| pod.labels().get(GATEWAY_LABEL).is_some_and(|word| word == "true");
    if pods.iter().any(dials) {
        pods.retain(dials);
    }
    let running = pods.into_iter().filter_map(|pod| {
        let ip = ip(&pod)?;
        Some(Source { labels: Some(pod.labels().clone()), ip: Some(ip), ..unknown.clone() })
    });
    let sources: Vec<Source> = running.collect();
    if sources.is_empty() { vec![unknown] } else { sources }
}

/// The address of a Pod that runs, or will.
fn ip(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    status.pod_ip.as_ref().filter(|_| !ended)?.parse().ok()
}

/// This machine's address on the way to another; nothing is sent.
fn own_address(to: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((to, SSHD_PORT)).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}
