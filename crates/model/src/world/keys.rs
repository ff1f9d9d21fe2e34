//! The confirmed keys, by fingerprint and by person.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Key;
use crate::key::{Fingerprint, PublicKey};
use crate::person::Person;

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    people: BTreeMap<Fingerprint, Person>,
    of: BTreeMap<Person, Arc<BTreeMap<Fingerprint, PublicKey>>>,
}

impl Keys {
    /// These, with whatever is the same as in `before` shared with it. Of one that comes twice, the last counts.
    pub(super) fn new(keys: Vec<Key>, before: &Self) -> Self {
        let all: BTreeMap<Fingerprint, Key> =
            keys.into_iter().map(|key| (key.public.fingerprint().clone(), key)).collect();
        let mut of = BTreeMap::<Person, BTreeMap<Fingerprint, PublicKey>>::new();
        let mut people = BTreeMap::new();
        for (fingerprint, Key { person, public }) in all {
            people.insert(fingerprint.clone(), person.clone());
            of.entry(person).or_default().insert(fingerprint, public);
        }
        let share = |(person, keys)| {
            let shared = before.of.get(&person).filter(|known| ***known == keys).cloned();
            (person, shared.unwrap_or_else(|| Arc::new(keys)))
        };
        Self { people, of: of.into_iter().map(share).collect() }
    }

    pub(super) fn person_of(&self, key: &Fingerprint) -> Option<&Person> {
        self.people.get(key)
    }

    pub(super) fn of(&self, person: &Person) -> impl Iterator<Item = &PublicKey> {
        self.of.get(person).into_iter().flat_map(|keys| keys.values())
    }

    /// Whether a person has the same keys in both. Said by what they share, so it is quick.
    pub(super) fn same_of(&self, other: &Self, person: &Person) -> bool {
        match (self.of.get(person), other.of.get(person)) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs) || ours == theirs,
            (None, None) => true,
            _ => false,
        }
    }
}
