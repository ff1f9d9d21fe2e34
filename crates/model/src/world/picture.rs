//! The world as a list of facts, for a process that starts while the API server is away.

use std::collections::BTreeMap;

use super::space::Space;
use super::{Fact, Kind, World};
use crate::name::Label;

impl World {
    /// The complete list of each kind, one after the other: applied to any world, they make the cluster's part of it
    /// this one.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        Kind::ALL.into_iter().map(|kind| Fact::All(kind, self.facts_of(kind)))
    }

    /// Whether the cluster is the same in both: then their pictures are.
    #[must_use]
    pub fn same_cluster(&self, other: &Self) -> bool {
        self.spaces == other.spaces && self.taken == other.taken
    }

    fn facts_of(&self, kind: Kind) -> Vec<Fact> {
        if matches!(kind, Kind::Node | Kind::Service) {
            let taken = self.taken.of(kind);
            return taken.map(|(whose, addresses)| Fact::Taken(whose.clone(), addresses.clone())).collect();
        }
        self.spaces.iter().flat_map(|(name, space)| space.facts(kind, name)).collect()
    }
}

impl Space {
    fn facts(&self, kind: Kind, name: &Label) -> Vec<Fact> {
        match kind {
            Kind::Profile => self.profile.iter().map(|it| Fact::Profile(name.clone(), Some(it.clone()))).collect(),
            Kind::Namespace => {
                self.namespace.iter().map(|it| Fact::Namespace(name.clone(), Some(it.clone()))).collect()
            }
            Kind::Member => list(&self.members, |key, value| Fact::Member(name.clone(), key, value)),
            Kind::Notebook => list(&self.notebooks, Fact::Notebook),
            Kind::StatefulSet => list(&self.stateful_sets, Fact::StatefulSet),
            Kind::Pod => list(&self.pods, |key, value| Fact::Pod(name.clone(), key, value)),
            Kind::Node | Kind::Service => Vec::new(),
        }
    }
}

fn list<K: Clone, V: Clone>(map: &BTreeMap<K, V>, fact: impl Fn(K, Option<V>) -> Fact) -> Vec<Fact> {
    map.iter().map(|(key, value)| fact(key.clone(), Some(value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::{Member, Namespace, Notebook, Pod, Profile, Shown, StatefulSet, Switch, Trouble};
    use super::*;
    use crate::name::NotebookId;
    use crate::person::{Person, Role};
    use crate::time::Time;

    #[test]
    fn the_picture_of_a_world_makes_the_same_world_again() {
        let label = |text: &str| Label::parse(text).unwrap();
        let ann = Person::parse("ann@example.com").unwrap();
        let id = NotebookId::parse("team-a", "ml").unwrap();
        let taken = |whose: &str| Fact::Taken(whose.to_owned(), BTreeSet::from(["10.0.0.1".parse().unwrap()]));
        let shown = Shown { image: "any".to_owned(), gpus: 2, created: Time(7), ..Shown::default() };
        let mut world = World::default();
        for fact in [
            Fact::Profile(label("team-a"), Some(Profile { owner: Some(ann.clone()) })),
            Fact::Namespace(
                label("team-a"),
                Some(Namespace { owner: Some(ann.clone()), ssh: Switch::Enabled, created: Time(3) }),
            ),
            Fact::Member(label("team-a"), "b".to_owned(), Some(Member { person: ann, role: Role::Edit })),
            Fact::Notebook(
                id.clone(),
                Some(Notebook { uid: "n".to_owned(), stopped: false, ssh: Switch::Unset, shown }),
            ),
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
                    running: true,
                    mounted: BTreeMap::from([("ml".to_owned(), "fairlead-ml".to_owned())]),
                }),
            ),
            taken("node one"),
            taken("service team-a/ml"),
        ] {
            world.apply(fact);
        }
        let json = serde_json::to_string(&world.facts().collect::<Vec<_>>()).unwrap();
        let mut again = World::default();
        again.apply(Fact::Profile(label("gone"), Some(Profile { owner: None })));
        for fact in serde_json::from_str::<Vec<Fact>>(&json).unwrap() {
            again.apply(fact);
        }
        assert!(again.facts().eq(world.facts()));
        assert!(Kind::ALL.iter().all(|kind| (world.listings(*kind), again.listings(*kind)) == (0, 1)));
        assert!(!again.knows_keys());
        again.apply(Fact::Keys(Vec::new(), BTreeMap::new()));
        assert!(again.knows_keys());
    }

    #[test]
    fn rows_are_in_no_picture_and_replace_those_before() {
        let id = |name: &str| NotebookId::parse("team-a", name).unwrap();
        let label = |text: &str| Label::parse(text).unwrap();
        let mut world = World::default();
        assert!(!world.knows_switches());
        for (name, space) in [("ml", "team-a"), ("gpu", "team-b")] {
            world.apply(Fact::Troubles([(id(name), [Trouble::NoSshd].into())].into()));
            world.apply(Fact::Switches([label(space)].into()));
        }
        assert!(world.knows_switches());
        assert_eq!((world.troubles(&id("ml")).count(), world.troubles(&id("gpu")).count()), (0, 1));
        assert!(!world.is_switched_off(&label("team-a")) && world.is_switched_off(&label("team-b")));
        let mut again = World::default();
        world.facts().for_each(|fact| again.apply(fact));
        assert!(!again.knows_switches() && !again.is_switched_off(&label("team-b")));
        assert_eq!(again.troubles(&id("gpu")).count(), 0);
    }

    #[test]
    fn a_picture_of_an_older_server_is_read() {
        let json = r#"[{"Notebook":[{"namespace":"team-a","name":"ml"},{"uid":"n","stopped":false,"ssh":"Unset"}]},
            {"Namespace":["team-a",{"owner":null,"ssh":"Unset"}]},
            {"Pod":["team-a","ml-0",{"uid":"p","stateful_set":"s","ip":null,"ending":false,"mounted":{}}]}]"#;
        let facts: Vec<Fact> = serde_json::from_str(json).unwrap();
        let [Fact::Notebook(_, Some(notebook)), Fact::Namespace(_, Some(space)), Fact::Pod(_, _, Some(pod))] =
            &facts[..]
        else {
            panic!()
        };
        assert_eq!(space.created, Time(0));
        assert_eq!((&notebook.shown, pod.running), (&Shown::default(), false));
    }
}
