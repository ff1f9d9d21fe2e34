//! Gateways and policies become facts. A policy that does not parse says nothing, to Istio as well.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{created, label};
use crate::access::SSHD_PORT;
use crate::plan::MANAGER;
use crate::plan::mesh::{self, Planned};
use crate::world::{Fact, MeshFact, MeshKind, Ours, Policy, Says};

/// A Pod that dials notebooks: from when it has an address until it has ended, since sessions go on while it is deleted.
#[must_use]
pub fn gateway(pod: &core::Pod) -> Option<MeshFact> {
    let name = pod.metadata.name.clone()?;
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let has_ended = matches!(phase, "Succeeded" | "Failed");
    let all = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|ip| ip.ip.as_str());
    let addresses = all.chain(status.and_then(|status| status.pod_ip.as_deref())).filter(|_| !has_ended);
    Some(MeshFact::Gateway(name, addresses.filter_map(|ip| ip.parse().ok()).collect()))
}

/// A policy from its metadata and the rest of it; `None` where its namespace can be no profile's.
#[must_use]
pub fn policy(kind: MeshKind, meta: &ObjectMeta, data: &Value) -> Option<MeshFact> {
    let (namespace, name) = (label(meta.namespace.as_deref())?, meta.name.clone()?);
    let spec = &data["spec"];
    let says = match kind {
        MeshKind::Gateway => return None,
        MeshKind::Authorization => Says::Authorization { allows_all: allows_all(meta, spec) },
        MeshKind::Peer => {
            Says::Peer { selector: selector(spec), strict: is_strict(&spec["mtls"]), created: created(meta) }
        }
        MeshKind::Network => Says::Network { inbound: is_inbound(spec) },
    };
    let policy = Policy { ours: ours(kind, &name, meta, spec), says };
    Some(MeshFact::Policy(kind, namespace, name, Some(policy)))
}

/// The fact that what a fact tells of is gone.
#[must_use]
pub fn gone(fact: MeshFact) -> MeshFact {
    match fact {
        MeshFact::Gateway(pod, _) => MeshFact::Gateway(pod, [].into()),
        MeshFact::Policy(kind, namespace, name, _) => MeshFact::Policy(kind, namespace, name, None),
        other @ (MeshFact::All(..) | MeshFact::Absent(_)) => other,
    }
}

impl From<MeshFact> for Fact {
    fn from(fact: MeshFact) -> Self {
        Self::Mesh(fact)
    }
}

/// By name, and by label or because Fairlead applied it: a stranger's policy with our label does not become ours, and
/// ours without it stays ours.
fn ours(kind: MeshKind, name: &str, meta: &ObjectMeta, spec: &Value) -> Option<Ours> {
    let label = |key| meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let is_labelled = label(mesh::MANAGED_BY) == Some(MANAGER);
    let mut managers = meta.managed_fields.iter().flatten();
    let is_applied =
        managers.any(|by| by.manager.as_deref() == Some(MANAGER) && by.operation.as_deref() == Some("Apply"));
    if !mesh::is_name(kind, name) || !(is_labelled || is_applied) {
        return None;
    }
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.kind == "Notebook").map(|owner| owner.uid.as_str());
    Some(Ours {
        uid: meta.uid.clone()?,
        version: meta.resource_version.clone()?,
        // Without the one label it is not as it should be, whatever the other one says.
        content: Planned::content_of(label(mesh::PART_OF).filter(|_| is_labelled), owner, spec),
    })
}

/// One with a target is for gateways and waypoints, and one that is tried out closes nothing.
fn allows_all(meta: &ObjectMeta, spec: &Value) -> bool {
    let is_allow = spec["action"].as_str().unwrap_or("ALLOW") == "ALLOW";
    let dry_run = meta.annotations.as_ref().and_then(|all| all.get("istio.io/dry-run")).is_some_and(|it| it == "true");
    let targets = !spec["targetRef"].is_null() || spec["targetRefs"].as_array().is_some_and(|all| !all.is_empty());
    is_allow && !dry_run && !targets && selector(spec).is_empty()
}

fn selector(spec: &Value) -> BTreeMap<String, String> {
    let labels = spec["selector"]["matchLabels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn is_strict(mtls: &Value) -> Option<bool> {
    mtls["mode"].as_str().filter(|mode| *mode != "UNSET").map(|mode| mode == "STRICT")
}

/// Without `policyTypes` a NetworkPolicy is about what comes in, whatever else.
fn is_inbound(spec: &Value) -> bool {
    let types = spec["policyTypes"].as_array().map_or(&[][..], Vec::as_slice);
    types.is_empty() || types.iter().any(|kind| kind == "Ingress")
}

/// sshd's port as policies of Istio write it.
pub(crate) fn port() -> String {
    SSHD_PORT.to_string()
}
