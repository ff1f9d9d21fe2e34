//! What is known of the gateways' addresses and of the policies of mesh and network. Nobody is let in by any of it: it
//! says which policies Fairlead has to write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::Uid;
use crate::name::Label;
use crate::time::Time;

/// What is followed for policies' sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MeshKind {
    /// Pods that dial notebooks.
    Gateway,
    /// Istio's AuthorizationPolicies.
    Authorization,
    /// Istio's PeerAuthentications.
    Peer,
    /// Kubernetes' NetworkPolicies.
    Network,
}

/// A policy, Fairlead's or somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What it is known by where Fairlead wrote it.
    pub ours: Option<Ours>,
    /// What it says.
    pub says: Says,
}

/// A policy that Fairlead wrote, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// Its UID.
    pub uid: Uid,
    /// Its `resourceVersion`.
    pub version: String,
    /// All of it that Fairlead writes, in the form of [`crate::plan::mesh::Planned::content`].
    pub content: Value,
}

/// As much of a policy as others of its kind have to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// An AuthorizationPolicy.
    Authorization {
        /// Whether it is an ALLOW for every Pod of its namespace: what no ALLOW opens there is closed.
        allows_all: bool,
    },
    /// A PeerAuthentication.
    Peer {
        /// The labels of its Pods; none for all of them.
        selector: BTreeMap<String, String>,
        /// Whether it makes all ports strict, where it says anything about that.
        strict: Option<bool>,
        /// When it was made: the oldest counts.
        created: Time,
    },
    /// A NetworkPolicy.
    Network {
        /// Whether it is about what comes in.
        inbound: bool,
    },
}

/// Something that was learnt; `None` where it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshFact {
    /// The addresses of a Pod that dials notebooks, by its name. None where it has none, or ends.
    Gateway(String, BTreeSet<IpAddr>),
    /// A policy, by kind, namespace and name.
    Policy(MeshKind, Label, String, Option<Policy>),
    /// The complete list of a kind.
    All(MeshKind, Vec<MeshFact>),
    /// The cluster has no such kind.
    Absent(MeshKind),
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mesh {
    gateways: BTreeMap<String, BTreeSet<IpAddr>>,
    policies: BTreeMap<(MeshKind, Label), BTreeMap<String, Policy>>,
    /// The kinds that have been looked for, and whether the cluster has them.
    listed: BTreeMap<MeshKind, bool>,
}

impl MeshKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Authorization, Self::Peer, Self::Network];

    /// What Kubernetes calls several of it.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Gateway => "pods",
            Self::Authorization => "authorizationpolicies",
            Self::Peer => "peerauthentications",
            Self::Network => "networkpolicies",
        }
    }
}

impl Mesh {
    /// Whether a fact says nothing new. Of a whole list that is not asked.
    pub(super) fn knows(&self, fact: &MeshFact) -> bool {
        match fact {
            MeshFact::Gateway(pod, addresses) => {
                self.gateways.get(pod) == Some(addresses).filter(|addresses| !addresses.is_empty())
            }
            MeshFact::Policy(kind, namespace, name, policy) => self.policy(*kind, namespace, name) == policy.as_ref(),
            MeshFact::Absent(kind) => self.listed.get(kind) == Some(&false),
            MeshFact::All(..) => false,
        }
    }

    pub(super) fn apply(&mut self, fact: MeshFact) {
        match fact {
            MeshFact::Gateway(pod, addresses) if addresses.is_empty() => drop(self.gateways.remove(&pod)),
            MeshFact::Gateway(pod, addresses) => drop(self.gateways.insert(pod, addresses)),
            MeshFact::Policy(kind, namespace, name, Some(policy)) => {
                self.policies.entry((kind, namespace)).or_default().insert(name, policy);
            }
            MeshFact::Policy(kind, namespace, name, None) => {
                if let Some(all) = self.policies.get_mut(&(kind, namespace)) {
                    all.remove(&name);
                }
            }
            MeshFact::All(kind, facts) => {
                self.forget(kind);
                self.listed.insert(kind, true);
                for fact in facts {
                    self.apply(fact);
                }
            }
            MeshFact::Absent(kind) => {
                self.forget(kind);
                self.listed.insert(kind, false);
            }
        }
    }

    fn forget(&mut self, kind: MeshKind) {
        if kind == MeshKind::Gateway {
            self.gateways.clear();
        }
        self.policies.retain(|(of, _), _| *of != kind);
    }

    /// Whether a kind has been looked for: before that nothing may be decided by what is missing.
    #[must_use]
    pub fn is_listed(&self, kind: MeshKind) -> bool {
        self.listed.contains_key(&kind)
    }

    /// Whether the cluster has a kind.
    #[must_use]
    pub fn is_served(&self, kind: MeshKind) -> bool {
        self.listed.get(&kind) == Some(&true)
    }

    /// The addresses of all gateways, in order.
    #[must_use]
    pub fn gateways(&self) -> BTreeSet<IpAddr> {
        self.gateways.values().flatten().copied().collect()
    }

    /// The policies of a kind in a namespace, by name.
    pub fn policies(&self, kind: MeshKind, namespace: &Label) -> impl Iterator<Item = (&str, &Policy)> {
        let found = self.policies.get(&(kind, namespace.clone()));
        found.into_iter().flatten().map(|(name, policy)| (name.as_str(), policy))
    }

    /// One policy.
    #[must_use]
    pub fn policy(&self, kind: MeshKind, namespace: &Label, name: &str) -> Option<&Policy> {
        self.policies.get(&(kind, namespace.clone()))?.get(name)
    }

    /// Everything that Fairlead wrote.
    pub fn ours(&self) -> impl Iterator<Item = (MeshKind, &Label, &str, &Ours)> {
        self.policies.iter().flat_map(|((kind, namespace), all)| {
            all.iter().filter_map(move |(name, policy)| Some((*kind, namespace, name.as_str(), policy.ours.as_ref()?)))
        })
    }
}
