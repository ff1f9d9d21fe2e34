//! What is known about the cluster and its people: plain data that changes by facts only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::key::{Fingerprint, PublicKey};
use crate::name::{Label, NotebookId};
use crate::person::{Person, Role};
use crate::time::Time;

/// An object's UID in the cluster. Names come back after a deletion; UIDs do not.
pub type Uid = String;

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
    knows_keys: bool,
    listings: BTreeMap<Kind, u64>,
}

/// The admin's `--ssh`: whether notebooks and namespaces opt out, or in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DefaultSsh {
    /// On, unless `fairlead.dev/ssh: disabled` stands on the namespace or the notebook.
    #[default]
    OptOut,
    /// Off, unless `fairlead.dev/ssh: enabled` stands on one of them and `disabled` on neither.
    OptIn,
}

/// `fairlead.dev/ssh` as it stands on an object. A word that is neither counts as `disabled`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// Nothing stands there.
    #[default]
    Unset,
    /// `enabled`.
    Enabled,
    /// `disabled`, or a word nobody knows.
    Disabled,
}

/// A Kubeflow Profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// `spec.owner` where its kind is User.
    pub owner: Option<Person>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The annotation `owner`.
    pub owner: Option<Person>,
    /// The admin's switch: a profile's people have no right to change their namespace.
    pub ssh: Switch,
}

/// Somebody whom a RoleBinding lets into a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub person: Person,
    /// With which rights.
    pub role: Role,
}

/// A Notebook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notebook {
    /// Its UID.
    pub uid: Uid,
    /// Whether it has Kubeflow's annotation `kubeflow-resource-stopped`.
    pub stopped: bool,
    /// The switch of the profile's people.
    pub ssh: Switch,
}

/// A StatefulSet that a Notebook controls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatefulSet {
    /// Where it is.
    pub namespace: Label,
    /// The UID of the Notebook that controls it.
    pub notebook: Uid,
}

/// A Pod that a StatefulSet controls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its UID.
    pub uid: Uid,
    /// The UID of the StatefulSet that controls it.
    pub stateful_set: Uid,
    /// Its address, once it has one that can be a Pod's own.
    pub ip: Option<IpAddr>,
    /// Whether it is being deleted or has ended.
    pub ending: bool,
    /// Names of the Secrets that are mounted at [`crate::plan::MOUNT`], by container.
    pub mounted: BTreeMap<String, String>,
}

/// A confirmed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whose it is.
    pub person: Person,
    /// The key.
    pub public: PublicKey,
}

/// Something that was learnt. `None` where the object is gone or does not count. As JSON it is a piece of the picture
/// that a process begins from while the API server is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A Profile, by its name.
    Profile(Label, Option<Profile>),
    /// A namespace.
    Namespace(Label, Option<Namespace>),
    /// A RoleBinding, by namespace and name.
    Member(Label, String, Option<Member>),
    /// A Notebook.
    Notebook(NotebookId, Option<Notebook>),
    /// A StatefulSet, by UID.
    StatefulSet(Uid, Option<StatefulSet>),
    /// A Pod, by namespace and name.
    Pod(Label, String, Option<Pod>),
    /// Addresses that are a node's or a Service's, by whose they are.
    Taken(String, BTreeSet<IpAddr>),
    /// All confirmed keys, and the claimed ones with the end of each claim. They are rows, so no picture has them.
    #[serde(skip)]
    Keys(Vec<Key>, BTreeMap<Fingerprint, Time>),
    /// The complete list of a kind: what is not in it is gone.
    All(Kind, Vec<Fact>),
}

/// What [`Fact::All`] lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Profiles.
    Profile,
    /// Namespaces.
    Namespace,
    /// RoleBindings.
    Member,
    /// Notebooks.
    Notebook,
    /// StatefulSets.
    StatefulSet,
    /// Pods.
    Pod,
    /// Nodes.
    Node,
    /// Services.
    Service,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Profile,
        Self::Namespace,
        Self::Member,
        Self::Notebook,
        Self::StatefulSet,
        Self::Pod,
        Self::Node,
        Self::Service,
    ];

    /// What Kubernetes calls several of it.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Profile => "profiles",
            Self::Namespace => "namespaces",
            Self::Member => "rolebindings",
            Self::Notebook => "notebooks",
            Self::StatefulSet => "statefulsets",
            Self::Pod => "pods",
            Self::Node => "nodes",
            Self::Service => "services",
        }
    }
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
            Fact::All(kind, facts) => {
                self.forget(kind);
                *self.listings.entry(kind).or_default() += 1;
                for fact in facts {
                    self.apply(fact);
                }
            }
        }
    }

    /// The complete list of each kind: applied to any world, they make the cluster's part of it this one.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        Kind::ALL.into_iter().map(|kind| Fact::All(kind, self.facts_of(kind))).collect()
    }

    fn facts_of(&self, kind: Kind) -> Vec<Fact> {
        let taken = |prefix: &str| {
            let whose = self.taken.iter().filter(|(whose, _)| whose.starts_with(prefix));
            whose.map(|(whose, addresses)| Fact::Taken(whose.clone(), addresses.clone())).collect()
        };
        match kind {
            Kind::Profile => list(&self.profiles, Fact::Profile),
            Kind::Namespace => list(&self.namespaces, Fact::Namespace),
            Kind::Member => list_below(&self.members, Fact::Member),
            Kind::Notebook => list(&self.notebooks, Fact::Notebook),
            Kind::StatefulSet => list(&self.stateful_sets, Fact::StatefulSet),
            Kind::Pod => list_below(&self.pods, Fact::Pod),
            Kind::Node => taken("node "),
            Kind::Service => taken("service "),
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

fn list<K: Clone, V: Clone>(map: &BTreeMap<K, V>, fact: impl Fn(K, Option<V>) -> Fact) -> Vec<Fact> {
    map.iter().map(|(key, value)| fact(key.clone(), Some(value.clone()))).collect()
}

fn list_below<V: Clone>(
    map: &BTreeMap<Label, BTreeMap<String, V>>,
    fact: impl Fn(Label, String, Option<V>) -> Fact,
) -> Vec<Fact> {
    let all = map.iter().flat_map(|(namespace, below)| below.iter().map(move |(name, value)| (namespace, name, value)));
    all.map(|(namespace, name, value)| fact(namespace.clone(), name.clone(), Some(value.clone()))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_of_a_world_makes_the_same_world_again() {
        let label = |text: &str| Label::parse(text).unwrap();
        let ann = Person::parse("ann@example.com").unwrap();
        let id = NotebookId::parse("team-a", "ml").unwrap();
        let taken = |whose: &str| Fact::Taken(whose.to_owned(), BTreeSet::from(["10.0.0.1".parse().unwrap()]));
        let mut world = World::default();
        for fact in [
            Fact::Profile(label("team-a"), Some(Profile { owner: Some(ann.clone()) })),
            Fact::Namespace(label("team-a"), Some(Namespace { owner: Some(ann.clone()), ssh: Switch::Enabled })),
            Fact::Member(label("team-a"), "b".to_owned(), Some(Member { person: ann, role: Role::Edit })),
            Fact::Notebook(id, Some(Notebook { uid: "n".to_owned(), stopped: false, ssh: Switch::Unset })),
            Fact::StatefulSet(
                "s".to_owned(),
                Some(StatefulSet { namespace: label("team-a"), notebook: "n".to_owned() }),
            ),
            Fact::Pod(
                label("team-a"),
                "ml-0".to_owned(),
                Some(Pod {
                    uid: "p".to_owned(),
                    stateful_set: "s".to_owned(),
                    ip: Some("10.1.0.2".parse().unwrap()),
                    ending: false,
                    mounted: BTreeMap::from([("ml".to_owned(), "fairlead-ml".to_owned())]),
                }),
            ),
            taken("node one"),
            taken("service team-a/ml"),
        ] {
            world.apply(fact);
        }
        let json = serde_json::to_string(&world.facts()).unwrap();
        let mut again = World::default();
        again.apply(Fact::Profile(label("gone"), Some(Profile { owner: None })));
        for fact in serde_json::from_str::<Vec<Fact>>(&json).unwrap() {
            again.apply(fact);
        }
        assert_eq!(again.facts(), world.facts());
        assert!(Kind::ALL.iter().all(|kind| (world.listings(*kind), again.listings(*kind)) == (0, 1)));
        assert!(!again.knows_keys());
        again.apply(Fact::Keys(Vec::new(), BTreeMap::new()));
        assert!(again.knows_keys());
    }
}
