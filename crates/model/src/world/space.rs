//! What is known of one namespace.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Kind, Member, Namespace, Notebook, Pod, Profile, StatefulSet, Uid};
use crate::name::{Label, NotebookId};

/// Everything in one namespace, and the Profile of its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) profile: Option<Profile>,
    pub(super) namespace: Option<Namespace>,
    pub(super) members: BTreeMap<String, Member>,
    pub(super) notebooks: BTreeMap<NotebookId, Notebook>,
    pub(super) stateful_sets: BTreeMap<Uid, StatefulSet>,
    pub(super) pods: BTreeMap<String, Pod>,
    /// The StatefulSets of each Notebook, by its UID.
    sets_of: BTreeMap<Uid, BTreeSet<Uid>>,
    /// The names of the Pods of each StatefulSet, by its UID.
    pods_of: BTreeMap<Uid, BTreeSet<String>>,
}

impl Space {
    /// Whether a fact says nothing new.
    pub(super) fn knows(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Profile(_, profile) => self.profile == *profile,
            Fact::Namespace(_, namespace) => self.namespace == *namespace,
            Fact::Member(_, name, member) => self.members.get(name) == member.as_ref(),
            Fact::Notebook(id, notebook) => self.notebooks.get(id) == notebook.as_ref(),
            Fact::StatefulSet(uid, set) => self.stateful_sets.get(uid) == set.as_ref(),
            Fact::Pod(_, name, pod) => self.pods.get(name) == pod.as_ref(),
            Fact::Taken(..)
            | Fact::Keys(..)
            | Fact::Troubles(_)
            | Fact::Switches(_)
            | Fact::Mesh(_)
            | Fact::All(..) => true,
        }
    }

    /// Takes up a fact about something in this namespace.
    pub(super) fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Profile(_, profile) => self.profile = profile,
            Fact::Namespace(_, namespace) => self.namespace = namespace,
            Fact::Member(_, name, member) => drop(put(&mut self.members, name, member)),
            Fact::Notebook(id, notebook) => drop(put(&mut self.notebooks, id, notebook)),
            Fact::StatefulSet(uid, set) => {
                let now = set.as_ref().map(|set| set.notebook.clone());
                let before = put(&mut self.stateful_sets, uid.clone(), set).map(|set| set.notebook);
                reindex(&mut self.sets_of, before, now, uid);
            }
            Fact::Pod(_, name, pod) => {
                let now = pod.as_ref().map(|pod| pod.stateful_set.clone());
                let before = put(&mut self.pods, name.clone(), pod).map(|pod| pod.stateful_set);
                reindex(&mut self.pods_of, before, now, name);
            }
            Fact::Taken(..)
            | Fact::Keys(..)
            | Fact::Troubles(_)
            | Fact::Switches(_)
            | Fact::Mesh(_)
            | Fact::All(..) => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.profile.is_none()
            && self.namespace.is_none()
            && self.members.is_empty()
            && self.notebooks.is_empty()
            && self.stateful_sets.is_empty()
            && self.pods.is_empty()
    }

    pub(super) fn has_stateful_set(&self, uid: &Uid) -> bool {
        self.stateful_sets.contains_key(uid)
    }

    /// All Pods of a notebook, the ending ones too.
    pub(super) fn pods_of(&self, id: &NotebookId) -> impl Iterator<Item = (&str, &Pod)> {
        let sets = self.notebooks.get(id).and_then(|notebook| self.sets_of.get(&notebook.uid));
        let names = sets.into_iter().flatten().filter_map(|set| self.pods_of.get(set)).flatten();
        names.filter_map(|name| self.pods.get_key_value(name)).map(|(name, pod)| (name.as_str(), pod))
    }

    /// The facts that what is here of a kind, and not in `listed`, is gone.
    pub(super) fn gone(&self, kind: Kind, name: &Label, listed: &BTreeSet<(&str, &str)>) -> Vec<Fact> {
        let there: Vec<Fact> = match kind {
            Kind::Profile => self.profile.iter().map(|_| Fact::Profile(name.clone(), None)).collect(),
            Kind::Namespace => self.namespace.iter().map(|_| Fact::Namespace(name.clone(), None)).collect(),
            Kind::Member => self.members.keys().map(|it| Fact::Member(name.clone(), it.clone(), None)).collect(),
            Kind::Notebook => self.notebooks.keys().map(|it| Fact::Notebook(it.clone(), None)).collect(),
            Kind::StatefulSet => self.stateful_sets.keys().map(|it| Fact::StatefulSet(it.clone(), None)).collect(),
            Kind::Pod => self.pods.keys().map(|it| Fact::Pod(name.clone(), it.clone(), None)).collect(),
            Kind::Node | Kind::Service => Vec::new(),
        };
        there.into_iter().filter(|fact| fact.object().is_none_or(|object| !listed.contains(&object))).collect()
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

/// Moves `what` from one owner to another.
fn reindex(index: &mut BTreeMap<Uid, BTreeSet<String>>, before: Option<Uid>, now: Option<Uid>, what: String) {
    if before == now {
        return;
    }
    if let Some(before) = before
        && let Some(all) = index.get_mut(&before)
    {
        all.remove(&what);
        if all.is_empty() {
            index.remove(&before);
        }
    }
    if let Some(now) = now {
        index.entry(now).or_default().insert(what);
    }
}
