//! What is known about the cluster and its people: plain data that changes by facts only.

mod changes;
mod fact;
mod keys;
mod mesh;
mod picture;
mod space;
mod taken;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::key::{Fingerprint, PublicKey};
use crate::name::{Label, NotebookId};
use crate::person::{Person, Role};
use crate::time::Time;

use keys::Keys;
use space::Space;
use taken::Taken;

pub use fact::{
    DefaultSsh, Fact, Key, Kind, Member, Namespace, Notebook, Pod, Profile, Shown, StatefulSet, Switch, Uid,
};
pub use mesh::{Mesh, MeshFact, MeshKind, Ours, Policy, Says};
pub use trouble::Trouble;

/// Everything a decision may depend on.
///
/// A copy shares all it has with its original until one of them changes, and then still all that did not: a snapshot
/// costs what has changed, and two of them say by what they share where nothing has. A fact that is known already
/// changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Where SSH is on when nobody says anything.
    pub default_ssh: DefaultSsh,
    /// What is known of each namespace.
    spaces: Arc<BTreeMap<Label, Arc<Space>>>,
    taken: Arc<Taken>,
    keys: Arc<Keys>,
    claims: Arc<BTreeMap<Fingerprint, Time>>,
    mesh: Arc<Mesh>,
    troubles: Arc<BTreeMap<NotebookId, BTreeSet<Trouble>>>,
    switched_off: Arc<BTreeSet<Label>>,
    knows_keys: bool,
    knows_switches: bool,
    listings: BTreeMap<Kind, u64>,
}

impl World {
    /// The only way a world changes.
    pub fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Taken(whose, addresses) => self.taken(whose, addresses),
            Fact::Keys(keys, claims) => {
                let keys = Keys::new(keys, &self.keys);
                set(&mut self.keys, keys);
                set(&mut self.claims, claims);
                self.knows_keys = true;
            }
            Fact::Troubles(troubles) => set(&mut self.troubles, troubles),
            Fact::Switches(off) => {
                set(&mut self.switched_off, off);
                self.knows_switches = true;
            }
            Fact::Mesh(fact) => self.mesh_fact(fact),
            Fact::All(kind, facts) => {
                self.forget_others(kind, &facts);
                *self.listings.entry(kind).or_default() += 1;
                for fact in facts {
                    self.apply(fact);
                }
            }
            of_space => self.apply_below(of_space),
        }
    }

    fn mesh_fact(&mut self, fact: MeshFact) {
        if matches!(fact, MeshFact::All(..)) {
            let mut mesh = Mesh::clone(&self.mesh);
            mesh.apply(fact);
            set(&mut self.mesh, mesh);
        } else if !self.mesh.knows(&fact) {
            Arc::make_mut(&mut self.mesh).apply(fact);
        }
    }

    /// A fact about something in one namespace.
    fn apply_below(&mut self, fact: Fact) {
        let Some(name) = self.space_of(&fact) else { return };
        let before = self.spaces.get(&name);
        if before.map_or_else(|| Space::default().knows(&fact), |space| space.knows(&fact)) {
            return;
        }
        let spaces = Arc::make_mut(&mut self.spaces);
        let space = Arc::make_mut(spaces.entry(name.clone()).or_default());
        space.apply(fact);
        if space.is_empty() {
            spaces.remove(&name);
        }
    }

    /// Where something is: a StatefulSet that has gone no longer says so.
    fn space_of(&self, fact: &Fact) -> Option<Label> {
        match fact {
            Fact::StatefulSet(uid, None) => {
                self.spaces.iter().find(|(_, space)| space.has_stateful_set(uid)).map(|(name, _)| name.clone())
            }
            other => other.namespace().cloned(),
        }
    }

    fn taken(&mut self, whose: String, addresses: BTreeSet<IpAddr>) {
        if !self.taken.knows(&whose, &addresses) {
            Arc::make_mut(&mut self.taken).put(whose, addresses);
        }
    }

    /// Forgets what of a kind is not listed in `facts`.
    fn forget_others(&mut self, kind: Kind, facts: &[Fact]) {
        let listed: BTreeSet<(&str, &str)> = facts.iter().filter_map(Fact::object).collect();
        let gone: Vec<Fact> = match kind {
            Kind::Node | Kind::Service => self.taken.gone(kind, &listed).collect(),
            _ => self.spaces.iter().flat_map(|(name, space)| space.gone(kind, name, &listed)).collect(),
        };
        for fact in gone {
            self.apply(fact);
        }
    }

    fn space(&self, namespace: &Label) -> Option<&Space> {
        self.spaces.get(namespace).map(AsRef::as_ref)
    }

    /// All notebooks, in order of namespace and name.
    pub fn notebooks(&self) -> impl Iterator<Item = (&NotebookId, &Notebook)> {
        self.spaces.values().flat_map(|space| &space.notebooks)
    }

    /// The notebooks of one namespace, in order of names.
    pub fn notebooks_in(&self, namespace: &Label) -> impl Iterator<Item = (&NotebookId, &Notebook)> {
        self.space(namespace).into_iter().flat_map(|space| &space.notebooks)
    }

    /// One notebook.
    #[must_use]
    pub fn notebook(&self, id: &NotebookId) -> Option<&Notebook> {
        self.space(&id.namespace)?.notebooks.get(id)
    }

    /// The Pods, not ending, that belong to a notebook by the chain of owners: Pod → StatefulSet → Notebook, by UID and
    /// all in one namespace. Labels say nothing: anybody in the namespace can write them.
    pub fn pods_of<'a>(&'a self, id: &'a NotebookId) -> impl Iterator<Item = (&'a str, &'a Pod)> {
        let space = self.space(&id.namespace);
        space.into_iter().flat_map(|space| space.pods_of(id)).filter(|(_, pod)| !pod.ending)
    }

    /// What a person is in a profile. The owner is whom Profile and namespace agree on; without a Profile nobody is
    /// anything.
    #[must_use]
    pub fn role(&self, person: &Person, namespace: &Label) -> Option<Role> {
        let space = self.space(namespace)?;
        let (profile, annotated) = (space.profile.as_ref()?, space.namespace.as_ref()?);
        if profile.owner.as_ref() == Some(person) && annotated.owner.as_ref() == Some(person) {
            return Some(Role::Owner);
        }
        space.members.values().filter(|member| &member.person == person).map(|member| member.role).max()
    }

    /// Gateways, and the policies of mesh and network.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The namespaces of all profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &Label> {
        self.spaces.iter().filter(|(_, space)| space.profile.is_some()).map(|(name, _)| name)
    }

    /// The profiles where a person has a role.
    pub fn namespaces_of<'a>(&'a self, person: &'a Person) -> impl Iterator<Item = &'a Label> {
        self.profiles().filter(|namespace| self.role(person, namespace).is_some())
    }

    /// The switch on a namespace.
    #[must_use]
    pub fn switch(&self, namespace: &Label) -> Switch {
        self.space(namespace).and_then(|space| space.namespace.as_ref()).map_or(Switch::Unset, |space| space.ssh)
    }

    /// Whether an address is a node's or a Service's.
    #[must_use]
    pub fn is_taken(&self, ip: IpAddr) -> bool {
        self.taken.contains(ip)
    }

    /// When a namespace was made, where that is known: what is older was somebody else's of the same name.
    #[must_use]
    pub fn made(&self, namespace: &Label) -> Option<Time> {
        let space = self.space(namespace)?.namespace.as_ref()?;
        Some(space.created).filter(|created| created.0 > 0)
    }

    /// Everybody with a role in a profile, each with the highest.
    #[must_use]
    pub fn people_of(&self, namespace: &Label) -> BTreeMap<&Person, Role> {
        let Some(space) = self.space(namespace) else { return BTreeMap::new() };
        let members = space.members.values().map(|member| &member.person);
        let owner = space.profile.as_ref().and_then(|profile| profile.owner.as_ref());
        members.chain(owner).filter_map(|person| Some((person, self.role(person, namespace)?))).collect()
    }

    /// Whom a confirmed key belongs to.
    #[must_use]
    pub fn person_of(&self, key: &Fingerprint) -> Option<&Person> {
        self.keys.person_of(key)
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
    pub fn keys_of(&self, person: &Person) -> impl Iterator<Item = &PublicKey> {
        self.keys.of(person)
    }

    /// Whether somebody claims this key and the claim still runs: then it may sign in, to confirm and for nothing else.
    #[must_use]
    pub fn is_claimed(&self, key: &Fingerprint, now: Time) -> bool {
        self.claims.get(key).is_some_and(|end| now < *end)
    }
}

/// Puts something in the place of what was shared, where it differs.
fn set<T: PartialEq>(place: &mut Arc<T>, value: T) {
    if **place != value {
        *place = Arc::new(value);
    }
}
