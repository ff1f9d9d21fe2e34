//! Fairlead's own policies: whether they are in place, and for which gateways.

use std::collections::BTreeSet;

use fairlead_model::NotebookId;
use fairlead_model::access::SSHD_PORT;
use fairlead_model::cidr::Cidr;
use fairlead_model::plan::mesh::{ALLOW, DENY, GATEWAY_LABEL, Mode, NETWORK};
use fairlead_model::plan::policies;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::mesh::Ruled;
use super::{ip, mesh, network, told};
use crate::check::{Check, Finding, join};

/// What is done about the mesh, and for which gateways.
pub(super) async fn look_at_installation(check: &Check) -> Finding {
    match check.mesh.mode {
        Mode::Exclude => {
            Finding::ok(format!("new Pods have port {SSHD_PORT} excluded from sidecars (`--mesh exclude`)"))
        }
        Mode::None => Finding::ok("policies of the mesh are somebody else's work (`--mesh none`)"),
        Mode::Policies => match gateways(check).await {
            Err(error) => told::unlisted("Pod", &error),
            Ok(found) if found.is_empty() => Finding::warn(
                format!("no gateway has an address: policies close port {SSHD_PORT} to all but `--direct-cidrs`"),
                format!("kubectl get pods -n {} -l {GATEWAY_LABEL}=true -o wide", check.namespace),
            ),
            Ok(found) => {
                Finding::ok(format!("policies of the mesh are written for the gateways {}", join(found.iter())))
            }
        },
    }
}

/// Whether the AuthorizationPolicies in a notebook's namespace name the gateways as they are now.
pub(super) async fn authorizations(check: &Check, id: &NotebookId) -> Finding {
    let space = id.namespace.as_str();
    let (gateways, found) =
        tokio::join!(gateways(check), mesh::list::<Value>(&check.client, super::AUTHORIZATIONS, space));
    let (gateways, found) = match (gateways, found) {
        (Ok(gateways), Ok(found)) => (gateways, found.unwrap_or_default()),
        (Err(error), _) => return told::unlisted("Pod", &error),
        (_, Err(error)) => return told::unlisted(super::AUTHORIZATIONS, &error),
    };
    let allowed = gateways.iter().chain(&check.mesh.direct).copied().collect();
    let spec = |name: &str| found.iter().find(|policy| policy.name == name).map(|Ruled { spec, .. }| spec.clone());
    let (deny, allow) = (spec(DENY), spec(ALLOW));
    if deny.is_none() {
        let what =
            format!("there is no AuthorizationPolicy `{DENY}` in `{space}`: others in the mesh may dial sshd, too");
        return Finding::warn(what, log(check));
    }
    if deny != Some(policies::deny(&allowed)) || (allow.is_some() && allow != policies::allow(&allowed)) {
        let what =
            format!("Fairlead's AuthorizationPolicies in `{space}` do not name the gateways {}", join(gateways.iter()));
        return Finding::warn(what, log(check));
    }
    Finding::ok(format!("Fairlead's AuthorizationPolicies are in place, for the gateways {}", join(gateways.iter())))
}

/// Whether the NetworkPolicy is in place, where it is asked for.
pub(super) fn network(check: &Check, id: &NotebookId, all: &[NetworkPolicy]) -> Option<Finding> {
    if !check.mesh.network_policies {
        return None;
    }
    let mut others = all.iter().filter(|policy| !network::is_ours(policy) && network::is_inbound(policy));
    Some(match others.next() {
        Some(other) => Finding::ok(format!(
            "Fairlead's NetworkPolicy is not written beside `{}`, since it would open what that closes",
            other.name_any()
        )),
        None if all.iter().any(network::is_ours) => Finding::ok(format!("NetworkPolicy `{NETWORK}` is in place")),
        None => Finding::warn(format!("there is no NetworkPolicy `{NETWORK}` in `{}`", id.namespace), log(check)),
    })
}

/// What helps a Pod that was made before its port was to be excluded, whatever policies say to it now.
const RESTART: &str = "stop the notebook and start it again in the dashboard";

/// Whether a Pod, whose sidecar takes the port, was made before that was to be excluded.
pub(super) fn is_older(check: &Check, pod: &Pod) -> bool {
    check.mesh.mode == Mode::Exclude && !mesh::is_excluded(pod)
}

/// A Pod that was made before its port was to be excluded.
pub(super) fn not_excluded() -> Finding {
    let what = format!("`--mesh exclude`, and its Pod's sidecar takes port {SSHD_PORT}: it was made before");
    Finding::warn(what, RESTART)
}

/// The same finding, to be met by a restart and no policy: a new Pod's port goes past its sidecar.
pub(super) fn met_by_restart(finding: Finding) -> Finding {
    let fix = finding.fix.as_ref().map(|_| RESTART.to_owned());
    Finding { fix, ..finding }
}

/// The addresses that policies name.
async fn gateways(check: &Check) -> kube::Result<BTreeSet<Cidr>> {
    let pods: Api<Pod> = Api::namespaced(check.client.clone(), &check.namespace);
    let labelled = ListParams::default().labels(&format!("{GATEWAY_LABEL}=true"));
    let pods = pods.list(&labelled).await?.items;
    let stays = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && ip(pod).is_some());
    let ips = stays.flat_map(|pod| pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten()));
    Ok(ips.filter_map(|ip| ip.ip.parse().ok().map(|ip: std::net::IpAddr| Cidr::from(ip))).collect())
}

fn log(check: &Check) -> String {
    format!("kubectl logs -n {} -l app.kubernetes.io/name=fairlead --tail=-1 | grep polic", check.namespace)
}
