//! What is known about the cluster and its people: plain data that changes by facts only.

mod fact;
mod picture;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::key::{Fingerprint, PublicKey};
use crate::name::{Label, NotebookId};
use crate::person::{Person, Role};
use crate::time::Time;

pub use fact::{
    DefaultSsh, Fact, Key, Kind, Member, Namespace, Notebook, Pod, Profile, Shown, StatefulSet, Switch, Uid,
};
pub use trouble::Trouble;

/// Everything a decision may depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Where SSH is on when nobody says anything.
    pub default_ssh: DefaultSsh,
    pub(crate) profiles: BTreeMap<Label, Profile>,
    pub(crate) namespaces: BTreeMap<Label, Namespace>,
    pub(crate) members: BTreeMap<Label, BTreeMap<String, Member>>,
    pub(crate) notebooks: BTreeMap<NotebookId, Notebook>,
    pub(crate) stateful_sets: BTreeMap<Uid, StatefulSet>,
    pub(crate) pods: BTreeMap<Label, BTreeMap<String, Pod>>,
    pub(crate) taken: BTreeMap<String, BTreeSet<IpAddr>>,
    pub(crate) keys: BTreeMap<Fingerprint, Key>,
    pub(crate) claims: BTreeMap<Fingerprint, Time>,
    troubles: BTreeMap<NotebookId, BTreeSet<Trouble>>,
    switched_off: BTreeSet<Label>,
    knows_keys: bool,
    knows_switches: bool,
    listings: BTreeMap<Kind, u64>,
}

impl World {
    /// The only way a world changes.
    pub fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Profile(name, profile) => put(&mut self.profiles, name, profile),
            Fact::Namespace(name, namespace) => put(&mut self.namespaces, name, namespace),
            Fact::Member(namespace, name, member) => put_below(&mut self.members, namespace, name, member),
            Fact::Notebook(id, notebook) => put(&mut self.notebooks, id, notebook),
            Fact::StatefulSet(uid, set) => put(&mut self.stateful_sets, uid, set),
            Fact::Pod(namespace, name, pod) => put_below(&mut self.pods, namespace, name, pod),
            Fact::Taken(whose, addresses) => put(&mut self.taken, whose, Some(addresses).filter(|all| !all.is_empty())),
            Fact::Keys(keys, claims) => {
                self.keys = keys.into_iter().map(|key| (key.public.fingerprint().clone(), key)).collect();
                self.claims = claims;
                self.knows_keys = true;
            }
            Fact::Troubles(troubles) => self.troubles = troubles,
            Fact::Switches(off) => {
                self.switched_off = off;
                self.knows_switches = true;
            }
            Fact::All(kind, facts) => {
                self.forget(kind);
                *self.listings.entry(kind).or_default() += 1;
                for fact in facts {
                    self.apply(fact);
                }
            }
        }
    }

    fn forget(&mut self, kind: Kind) {
        match kind {
            Kind::Profile => self.profiles.clear(),
            Kind::Namespace => self.namespaces.clear(),
            Kind::Member => self.members.clear(),
            Kind::Notebook => self.notebooks.clear(),
            Kind::StatefulSet => self.stateful_sets.clear(),
            Kind::Pod => self.pods.clear(),
            Kind::Node => self.taken.retain(|whose, _| !whose.starts_with("node ")),
            Kind::Service => self.taken.retain(|whose, _| !whose.starts_with("service ")),
        }
    }

    /// All notebooks, in order of namespace and name.
    pub fn notebooks(&self) -> impl Iterator<Item = (&NotebookId, &Notebook)> {
        self.notebooks.iter()
    }

    /// One notebook.
    #[must_use]
    pub fn notebook(&self, id: &NotebookId) -> Option<&Notebook> {
        self.notebooks.get(id)
    }

    /// The Pods, not ending, that belong to a notebook by the chain of owners: Pod → StatefulSet → Notebook, by UID and
    /// all in one namespace. Labels say nothing: anybody in the namespace can write them.
    pub fn pods_of<'a>(&'a self, id: &'a NotebookId) -> impl Iterator<Item = (&'a str, &'a Pod)> {
        let notebook = self.notebooks.get(id);
        let of_notebook = move |pod: &Pod| {
            let set = self.stateful_sets.get(&pod.stateful_set);
            let ours = |set: &StatefulSet| {
                set.namespace == id.namespace && notebook.is_some_and(|notebook| notebook.uid == set.notebook)
            };
            !pod.ending && set.is_some_and(ours)
        };
        let pods = self.pods.get(&id.namespace).into_iter().flatten();
        pods.filter(move |(_, pod)| of_notebook(pod)).map(|(name, pod)| (name.as_str(), pod))
    }

    /// What a person is in a profile. The owner is whom Profile and namespace agree on; without a Profile nobody is
    /// anything.
    #[must_use]
    pub fn role(&self, person: &Person, namespace: &Label) -> Option<Role> {
        let (profile, space) = (self.profiles.get(namespace)?, self.namespaces.get(namespace)?);
        if profile.owner.as_ref() == Some(person) && space.owner.as_ref() == Some(person) {
            return Some(Role::Owner);
        }
        let members = self.members.get(namespace).into_iter().flat_map(BTreeMap::values);
        members.filter(|member| &member.person == person).map(|member| member.role).max()
    }

    /// The namespaces of all profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &Label> {
        self.profiles.keys()
    }

    /// The profiles where a person has a role.
    pub fn namespaces_of<'a>(&'a self, person: &'a Person) -> impl Iterator<Item = &'a Label> {
        self.profiles.keys().filter(|namespace| self.role(person, namespace).is_some())
    }

    /// When a namespace was made, where that is known: what is older was somebody else's of the same name.
    #[must_use]
    pub fn made(&self, namespace: &Label) -> Option<Time> {
        self.namespaces.get(namespace).map(|space| space.created).filter(|created| created.0 > 0)
    }

    /// Everybody with a role in a profile, each with the highest.
    #[must_use]
    pub fn people_of(&self, namespace: &Label) -> BTreeMap<&Person, Role> {
        let members = self.members.get(namespace).into_iter().flat_map(BTreeMap::values).map(|member| &member.person);
        let owner = self.profiles.get(namespace).and_then(|profile| profile.owner.as_ref());
        members.chain(owner).filter_map(|person| Some((person, self.role(person, namespace)?))).collect()
    }

    /// Whom a confirmed key belongs to.
    #[must_use]
    pub fn person_of(&self, key: &Fingerprint) -> Option<&Person> {
        self.keys.get(key).map(|key| &key.person)
    }

    /// Whether the rows have been read: before that there are no keys, and nobody's may be taken away.
    #[must_use]
    pub const fn knows_keys(&self) -> bool {
        self.knows_keys
    }

    /// What was found to be wrong with a notebook, beyond what its objects show.
    pub fn troubles(&self, id: &NotebookId) -> impl Iterator<Item = Trouble> {
        self.troubles.get(id).into_iter().flatten().copied()
    }

    /// Whether an admin of Fairlead switched SSH off in a namespace.
    #[must_use]
    pub fn is_switched_off(&self, namespace: &Label) -> bool {
        self.switched_off.contains(namespace)
    }

    /// Whether it has been read where SSH is switched off: before that nobody may be let in.
    #[must_use]
    pub const fn knows_switches(&self) -> bool {
        self.knows_switches
    }

    /// How many complete lists of a kind have been applied: so whoever sent one sees when it counts.
    #[must_use]
    pub fn listings(&self, kind: Kind) -> u64 {
        self.listings.get(&kind).copied().unwrap_or(0)
    }

    /// All confirmed keys of a person, by fingerprint.
    pub fn keys_of<'a>(&'a self, person: &'a Person) -> impl Iterator<Item = &'a PublicKey> {
        self.keys.values().filter(move |key| &key.person == person).map(|key| &key.public)
    }

    /// Whether somebody claims this key and the claim still runs: then it may sign in, to confirm and for nothing else.
    #[must_use]
    pub fn is_claimed(&self, key: &Fingerprint, now: Time) -> bool {
        self.claims.get(key).is_some_and(|end| now < *end)
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn put_below<V>(map: &mut BTreeMap<Label, BTreeMap<String, V>>, namespace: Label, name: String, value: Option<V>) {
    match value {
        Some(value) => drop(map.entry(namespace).or_default().insert(name, value)),
        None => {
            if let Some(below) = map.get_mut(&namespace) {
                below.remove(&name);
                if below.is_empty() {
                    map.remove(&namespace);
                }
            }
        }
    }
}
