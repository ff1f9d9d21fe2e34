//! The NetworkPolicy that narrows sshd's port and leaves every other as it was.

use serde_json::{Value, json};

use super::mesh::{GATEWAY_LABEL, NETWORK, Planned, Settings};
use crate::access::SSHD_PORT;
use crate::name::Label;
use crate::world::{MeshKind, Says, World};

/// The NetworkPolicy of a profile, or the name of another about what comes in. Policies add up: beside one that closes
/// something, ours would open it again.
pub fn policy(world: &World, namespace: &Label, settings: &Settings) -> Result<Planned, String> {
    let mut others = world.mesh().policies(MeshKind::Network, namespace);
    let other = others.find(|(_, policy)| policy.ours.is_none() && policy.says == Says::Network { inbound: true });
    if let Some((name, _)) = other {
        return Err(name.to_owned());
    }
    Ok(Planned {
        kind: MeshKind::Network,
        namespace: namespace.clone(),
        name: NETWORK.to_owned(),
        owner: None,
        spec: spec(settings),
    })
}

/// For the Pods of all notebooks. A Pod that is selected is closed but for what is opened, so all other ports are.
#[must_use]
pub fn spec(settings: &Settings) -> Value {
    let gateways = json!({
        // From Kubernetes 1.22 on, which `endPort` needs anyway, every namespace has this label.
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.namespace}},
        "podSelector": {"matchLabels": {GATEWAY_LABEL: "true"}},
    });
    let direct = settings.direct.iter().map(|block| json!({"ipBlock": {"cidr": block.to_string()}}));
    let from: Vec<Value> = [gateways].into_iter().chain(direct).collect();
    let range = |protocol: &str, first: u16, last: u16| json!({"protocol": protocol, "port": first, "endPort": last});
    let others = [
        range("TCP", 1, SSHD_PORT - 1),
        range("TCP", SSHD_PORT + 1, u16::MAX),
        range("UDP", 1, u16::MAX),
        range("SCTP", 1, u16::MAX),
    ];
    json!({
        "podSelector": {"matchExpressions": [{"key": "notebook-name", "operator": "Exists"}]},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": from, "ports": [{"protocol": "TCP", "port": SSHD_PORT}]},
            {"ports": others},
        ],
    })
}
