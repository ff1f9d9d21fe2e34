//! Which policies of mesh and network should exist: the shape of one, and all of them together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{MANAGER, network, policies};
use crate::access;
use crate::cidr::Cidr;
use crate::name::{Label, NotebookId};
use crate::world::{MeshKind, Notebook, Uid, World};

/// The AuthorizationPolicy that opens sshd's port to gateways.
pub const ALLOW: &str = "fairlead-ssh-allow";
/// The AuthorizationPolicy that closes it to everybody else.
pub const DENY: &str = "fairlead-ssh-deny";
/// The NetworkPolicy.
pub const NETWORK: &str = "fairlead-ssh";
/// What the name of each PeerAuthentication begins with.
pub const PEER_PREFIX: &str = "fairlead-";
/// The label on Pods that dial notebooks.
pub const GATEWAY_LABEL: &str = "fairlead.dev/gateway";
/// The label that says who writes an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label by which an uninstall finds everything.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// Istio's root namespace, whose policies count in all: what Kubeflow ships has it, and Istio unless told otherwise.
pub const ROOT: &str = "istio-system";

/// `--mesh`: how a sidecar lets gateways through to sshd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// By policies that Fairlead writes.
    Policies,
    /// Not at all: the port goes past it.
    #[default]
    Exclude,
    /// By whatever somebody else does.
    None,
}

/// What the admin set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--mesh`.
    pub mode: Mode,
    /// `--direct-cidrs`: who else may dial notebooks.
    pub direct: BTreeSet<Cidr>,
    /// `--network-policies`.
    pub network_policies: bool,
    /// The namespace that gateways are in.
    pub namespace: String,
}

/// A policy that should exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its kind.
    pub kind: MeshKind,
    /// Its namespace.
    pub namespace: Label,
    /// Its name.
    pub name: String,
    /// The Notebook that it goes with.
    pub owner: Option<(Label, Uid)>,
    /// What it says.
    pub spec: Value,
}

/// All policies that should exist, and where one that was asked for should not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The policies, by kind, namespace and name.
    pub policies: BTreeMap<(MeshKind, Label, String), Planned>,
    /// The namespaces without a NetworkPolicy, since another one is there, by its name.
    pub withheld: BTreeMap<Label, String>,
}

/// The notebooks with SSH in a profile.
pub(super) type Notebooks<'a> = Vec<(&'a NotebookId, &'a Notebook)>;

/// Which policies should exist. A kind that the cluster does not have is left out; so is one that has not been listed.
#[must_use]
pub fn plan(world: &World, settings: &Settings) -> Plan {
    let mut plan = Plan::default();
    let has = |kind| world.mesh().is_served(kind);
    let allowed = policies::allowed(world, settings);
    for (namespace, notebooks) in profiles(world) {
        let mut all = Vec::new();
        if settings.mode == Mode::Policies {
            if has(MeshKind::Authorization) && has(MeshKind::Gateway) {
                all.extend(policies::authorizations(world, namespace, &allowed));
            }
            if has(MeshKind::Peer) {
                all.extend(policies::peers(world, namespace, &notebooks));
            }
        }
        if settings.network_policies && has(MeshKind::Network) {
            match network::policy(world, namespace, settings) {
                Ok(policy) => all.push(policy),
                Err(other) => drop(plan.withheld.insert(namespace.clone(), other)),
            }
        }
        plan.policies.extend(all.into_iter().map(|it| ((it.kind, it.namespace.clone(), it.name.clone()), it)));
    }
    plan
}

/// Whether enough is known to write and remove policies of a kind: half of it would let the wrong ones in.
#[must_use]
pub fn is_known(world: &World, settings: &Settings, kind: MeshKind) -> bool {
    let gateways =
        kind != MeshKind::Authorization || settings.mode != Mode::Policies || world.mesh().is_listed(MeshKind::Gateway);
    gateways && world.mesh().is_listed(kind)
}

/// The profiles that have a notebook with SSH, and these notebooks.
fn profiles(world: &World) -> BTreeMap<&Label, Notebooks<'_>> {
    let mut profiles: BTreeMap<&Label, Notebooks> =
        world.profiles().filter(|name| name.as_str() != ROOT).map(|name| (name, Vec::new())).collect();
    for (id, notebook) in world.notebooks().filter(|(id, _)| access::enabled(world, id).is_ok()) {
        if let Some(notebooks) = profiles.get_mut(&id.namespace) {
            notebooks.push((id, notebook));
        }
    }
    profiles.retain(|_, notebooks| !notebooks.is_empty());
    profiles
}

/// Whether a policy of ours may have this name.
#[must_use]
pub fn is_name(kind: MeshKind, name: &str) -> bool {
    match kind {
        MeshKind::Gateway => false,
        MeshKind::Authorization => [ALLOW, DENY].contains(&name),
        MeshKind::Peer => name.starts_with(PEER_PREFIX),
        MeshKind::Network => name == NETWORK,
    }
}

impl Planned {
    /// What is compared to see whether somebody changed it.
    #[must_use]
    pub fn content(&self) -> Value {
        Self::content_of(Some(MANAGER), self.owner.as_ref().map(|(_, uid)| uid.as_str()), &self.spec)
    }

    pub(crate) fn content_of(part_of: Option<&str>, owner: Option<&str>, spec: &Value) -> Value {
        json!({"partOf": part_of, "owner": owner, "spec": spec})
    }

    /// The whole object, in a version of its kind's group.
    #[must_use]
    pub fn object(&self, version: &str) -> Value {
        let (group, kind) = (group(self.kind), kind(self.kind));
        let mut meta = json!({"name": self.name, "namespace": self.namespace.as_str(),
            "labels": {MANAGED_BY: MANAGER, PART_OF: MANAGER}});
        if let Some((name, uid)) = &self.owner {
            meta["ownerReferences"] = json!([{"apiVersion": "kubeflow.org/v1", "kind": "Notebook",
                "name": name.as_str(), "uid": uid}]);
        }
        json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": meta, "spec": self.spec})
    }
}

/// A kind's API group; empty for the core's.
#[must_use]
pub const fn group(kind: MeshKind) -> &'static str {
    match kind {
        MeshKind::Gateway => "",
        MeshKind::Authorization | MeshKind::Peer => "security.istio.io",
        MeshKind::Network => "networking.k8s.io",
    }
}

/// A kind's name.
#[must_use]
pub const fn kind(kind: MeshKind) -> &'static str {
    match kind {
        MeshKind::Gateway => "Pod",
        MeshKind::Authorization => "AuthorizationPolicy",
        MeshKind::Peer => "PeerAuthentication",
        MeshKind::Network => "NetworkPolicy",
    }
}
