//! Istio's policies for sshd's port: who may dial it, and that they need no TLS of the mesh.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::mesh::{ALLOW, DENY, Notebooks, PEER_PREFIX, Planned, ROOT, Settings};
use crate::cidr::Cidr;
use crate::name::Label;
use crate::read::mesh::port;
use crate::time::Time;
use crate::world::{MeshKind, Policy, Says, World};

/// Who may dial sshd: the gateways where they are now, and who the admin named.
#[must_use]
pub fn allowed(world: &World, settings: &Settings) -> BTreeSet<Cidr> {
    world.mesh().gateways().into_iter().map(Cidr::from).chain(settings.direct.iter().copied()).collect()
}

/// The AuthorizationPolicies of a profile. ALLOW rules add up, so that one alone cannot say "only": the DENY does. The
/// ALLOW comes where somebody else's is for all Pods already; where none is, it would close every other port.
#[must_use]
pub fn authorizations(world: &World, namespace: &Label, allowed: &BTreeSet<Cidr>) -> Vec<Planned> {
    let of = |name: &str, spec: Value| Planned {
        kind: MeshKind::Authorization,
        namespace: namespace.clone(),
        name: name.to_owned(),
        owner: None,
        spec,
    };
    let allow = if is_closed(world, namespace) { allow(allowed) } else { None };
    allow.map(|spec| of(ALLOW, spec)).into_iter().chain([of(DENY, deny(allowed))]).collect()
}

/// Denies sshd's port to everybody else. No selector: notebooks have no label with a value in common.
#[must_use]
pub fn deny(allowed: &BTreeSet<Cidr>) -> Value {
    let mut rule = json!({"to": [{"operation": {"ports": [port()]}}]});
    // An empty list is no condition at all, so without an address the rule has no `from`: it denies everybody.
    if !allowed.is_empty() {
        rule["from"] = json!([{"source": {"notIpBlocks": texts(allowed)}}]);
    }
    json!({"action": "DENY", "rules": [rule]})
}

/// Allows sshd's port to them; `None` where they are nobody, since a rule without `from` would allow everybody.
#[must_use]
pub fn allow(allowed: &BTreeSet<Cidr>) -> Option<Value> {
    let rule = json!({"from": [{"source": {"ipBlocks": texts(allowed)}}], "to": [{"operation": {"ports": [port()]}}]});
    (!allowed.is_empty()).then(|| json!({"action": "ALLOW", "rules": [rule]}))
}

fn texts(blocks: &BTreeSet<Cidr>) -> Vec<String> {
    blocks.iter().map(ToString::to_string).collect()
}

/// Whether somebody's ALLOW is for all Pods of a namespace, there or in the root namespace.
fn is_closed(world: &World, namespace: &Label) -> bool {
    let root = Label::parse(ROOT).ok();
    let mut all = [Some(namespace), root.as_ref()]
        .into_iter()
        .flatten()
        .flat_map(|space| world.mesh().policies(MeshKind::Authorization, space));
    all.any(|(_, policy)| policy.ours.is_none() && policy.says == Says::Authorization { allows_all: true })
}

/// The PeerAuthentications of a profile: an exception for each notebook where strict TLS would keep the gateway out,
/// which has none. Of several policies that select a Pod Istio takes the oldest alone, so there is none where somebody
/// else's may select it: ours would not count, or theirs not any more.
#[must_use]
pub fn peers(world: &World, namespace: &Label, notebooks: &Notebooks) -> Vec<Planned> {
    if !is_strict(world, namespace) {
        return Vec::new();
    }
    let others: Vec<&BTreeMap<String, String>> = world
        .mesh()
        .policies(MeshKind::Peer, namespace)
        .filter(|(_, policy)| policy.ours.is_none())
        .filter_map(|(_, policy)| match &policy.says {
            Says::Peer { selector, .. } if !selector.is_empty() => Some(selector),
            _ => None,
        })
        .collect();
    let free = notebooks.iter().filter(|(id, _)| !others.iter().any(|selector| may_select(selector, id.name.as_str())));
    free.map(|(id, notebook)| Planned {
        kind: MeshKind::Peer,
        namespace: namespace.clone(),
        name: format!("{PEER_PREFIX}{}", id.name),
        owner: Some((id.name.clone(), notebook.uid.clone())),
        spec: json!({
            "selector": {"matchLabels": {"notebook-name": id.name.as_str()}},
            "mtls": {"mode": "UNSET"},
            "portLevelMtls": {port(): {"mode": "PERMISSIVE"}},
        }),
    })
    .collect()
}

/// Whether the Pods of a notebook may have these labels. Two are Kubeflow's own; others are whatever its people wrote.
fn may_select(selector: &BTreeMap<String, String>, notebook: &str) -> bool {
    ["notebook-name", "statefulset"].iter().all(|key| selector.get(*key).is_none_or(|value| value == notebook))
}

/// Whether all ports of a namespace are strict, by its own policy or the whole mesh's.
fn is_strict(world: &World, namespace: &Label) -> bool {
    let said = |space: &Label| -> Option<bool> {
        let whole = |(name, policy): (&'_ str, &Policy)| -> Option<(Time, String, Option<bool>)> {
            match &policy.says {
                Says::Peer { selector, strict, created } if selector.is_empty() => {
                    Some((*created, name.to_owned(), *strict))
                }
                _ => None,
            }
        };
        world.mesh().policies(MeshKind::Peer, space).filter_map(whole).min()?.2
    };
    let root = || Label::parse(ROOT).ok().and_then(|root| said(&root));
    said(namespace).or_else(root).unwrap_or(false)
}
