//! Random histories against a model so plain that it can be checked by reading: whom the rules keep out, no history
//! lets in, and whom they let in gets in.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_model::{Fact, World, access, plan, state};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use crate::cluster::{Cluster, binding, id, namespace, notebook, person, pod, profile, stateful_set};

const SPACES: [&str; 2] = ["team-a", "team-b"];
const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];
const NOTEBOOKS: [&str; 2] = ["ml", "gpu"];
const ROLES: [&str; 3] = ["view", "edit", "admin"];

/// One object appears or goes.
#[derive(Debug, Clone)]
enum Step {
    Profile(usize, usize, bool),
    Namespace(usize, usize, bool, bool),
    Binding(usize, usize, usize, usize, bool),
    Notebook(usize, usize, bool, bool),
    Set(usize, usize, bool),
    Pod(usize, usize, usize, usize, bool, bool),
    Switch(usize, bool),
    Key(usize, u8, bool),
    /// Everything is listed again, as after a watch broke.
    Relist,
}

fn step() -> impl Strategy<Value = Step> {
    let (space, who, book, role) = (0..2_usize, 0..3_usize, 0..2_usize, 0..3_usize);
    prop_oneof![
        (space.clone(), who.clone(), prop::bool::weighted(0.8)).prop_map(|(a, b, c)| Step::Profile(a, b, c)),
        (space.clone(), who.clone(), prop::bool::weighted(0.1), prop::bool::weighted(0.8))
            .prop_map(|(a, b, c, d)| Step::Namespace(a, b, c, d)),
        (space.clone(), who.clone(), role.clone(), role, prop::bool::weighted(0.7))
            .prop_map(|(a, b, c, d, e)| Step::Binding(a, b, c, d, e)),
        (space.clone(), book.clone(), prop::bool::weighted(0.1), prop::bool::weighted(0.8))
            .prop_map(|(a, b, c, d)| Step::Notebook(a, b, c, d)),
        (space.clone(), book.clone(), prop::bool::weighted(0.8)).prop_map(|(a, b, c)| Step::Set(a, b, c)),
        (space.clone(), prop::bool::weighted(0.1)).prop_map(|(a, b)| Step::Switch(a, b)),
        (who, 1..4_u8, prop::bool::weighted(0.7)).prop_map(|(a, b, c)| Step::Key(a, b, c)),
        Just(Step::Relist),
        (space.clone(), book, space, 1..3_usize, prop::bool::weighted(0.1), prop::bool::weighted(0.7))
            .prop_map(|(a, b, c, d, e, f)| Step::Pod(a, b, c, d, e, f)),
    ]
}

/// What there is, object by object, and nothing derived from it.
#[derive(Debug, Default)]
struct Plain {
    profiles: BTreeMap<usize, usize>,
    spaces: BTreeMap<usize, (usize, bool)>,
    bindings: BTreeMap<(usize, usize, usize), usize>,
    notebooks: BTreeMap<(usize, usize), bool>,
    sets: BTreeMap<(usize, usize), bool>,
    /// By namespace, notebook and number: the namespace whose set owns it, and whether it uses the host's network.
    pods: BTreeMap<(usize, usize, usize), (usize, bool)>,
    /// Where an admin of Fairlead switched SSH off.
    switches: BTreeSet<usize>,
    /// Whose each key is.
    keys: BTreeMap<u8, Option<usize>>,
}

/// All that anybody can see of a namespace: who is what in it, and of each notebook the line of each key, how it
/// stands, and who may reach what.
fn seen(world: &World, space: usize) -> String {
    let people: Vec<_> = world.people_of(&id(SPACES[space], "any").namespace).into_iter().collect();
    let notebook = |book: &str| {
        let id = id(SPACES[space], book);
        let decided: Vec<_> = PEOPLE.iter().map(|who| access::decide(world, &person(who), &id)).collect();
        let pods: Vec<_> = world.pods_of(&id).collect();
        let (text, state) = (plan::authorized_keys(world, &id), state::state(world, &id));
        format!("{:?} {state:?} {decided:?} {pods:?}\n{text}", world.notebook(&id))
    };
    format!("{people:?}\n{}", NOTEBOOKS.map(notebook).join("\n"))
}

impl Plain {
    fn allows(&self, space: usize, book: usize, who: usize) -> bool {
        let Some(owner) = self.profiles.get(&space) else { return false };
        let Some((annotated, off)) = self.spaces.get(&space) else { return false };
        let owns = *owner == who && *annotated == who;
        // A binding counts where the role it grants is the one it is annotated with.
        let works = (1..3).any(|role| self.bindings.get(&(space, who, role)) == Some(&role));
        let runs = self.notebooks.get(&(space, book)) == Some(&false) && self.sets.contains_key(&(space, book));
        let pods = (1..3).filter(|number| self.pods.get(&(space, book, *number)) == Some(&(space, false))).count();
        (owns || works) && !off && !self.switches.contains(&space) && runs && pods == 1
    }
}

fn play(steps: &[Step]) -> (Cluster, Plain) {
    let (mut cluster, mut plain) = (Cluster::default(), Plain::default());
    play_on(&mut cluster, &mut plain, steps);
    (cluster, plain)
}

fn play_on(cluster: &mut Cluster, plain: &mut Plain, steps: &[Step]) {
    for step in steps {
        let (object, there): (Value, bool) = match *step {
            Step::Profile(space, who, there) => {
                set(&mut plain.profiles, space, there.then_some(who));
                (profile(SPACES[space], PEOPLE[who]), there)
            }
            Step::Namespace(space, who, off, there) => {
                set(&mut plain.spaces, space, there.then_some((who, off)));
                let labels = if off { json!({"fairlead.dev/ssh": "disabled"}) } else { json!({}) };
                (namespace(SPACES[space], PEOPLE[who], &labels), there)
            }
            Step::Binding(space, who, annotated, granted, there) => {
                set(&mut plain.bindings, (space, who, annotated), there.then_some(granted));
                let mut object = binding(SPACES[space], PEOPLE[who], ROLES[annotated]);
                object["roleRef"]["name"] = json!(format!("kubeflow-{}", ROLES[granted]));
                (object, there)
            }
            Step::Notebook(space, book, stopped, there) => {
                set(&mut plain.notebooks, (space, book), there.then_some(stopped));
                let annotations = if stopped { json!({"kubeflow-resource-stopped": "x"}) } else { json!({}) };
                (notebook(SPACES[space], NOTEBOOKS[book], &annotations), there)
            }
            Step::Set(space, book, there) => {
                set(&mut plain.sets, (space, book), there.then_some(true));
                (stateful_set(SPACES[space], NOTEBOOKS[book]), there)
            }
            Step::Pod(space, book, owner, number, host, there) => {
                set(&mut plain.pods, (space, book, number), there.then_some((owner, host)));
                let owner = format!("set-{}-{}", SPACES[owner], NOTEBOOKS[book]);
                let name = format!("{}-{number}", NOTEBOOKS[book]);
                let mut object = pod(SPACES[space], &name, &owner, &format!("10.1.{book}.{number}"));
                object["spec"]["hostNetwork"] = json!(host);
                (object, there)
            }
            Step::Switch(space, off) => {
                if off {
                    plain.switches.insert(space);
                } else {
                    plain.switches.remove(&space);
                }
                let off: Vec<&str> = plain.switches.iter().map(|space| SPACES[*space]).collect();
                cluster.switched_off(&off);
                continue;
            }
            Step::Key(who, number, there) => {
                // A key is one person's.
                plain.keys.insert(number, there.then_some(who));
                let keys = plain.keys.iter().filter_map(|(number, who)| Some((PEOPLE[(*who)?], *number)));
                cluster.keys(keys);
                continue;
            }
            Step::Relist => {
                let facts: Vec<Fact> = cluster.world.facts().collect();
                for fact in facts {
                    cluster.world.apply(fact);
                }
                continue;
            }
        };
        if there {
            cluster.see(&object)
        } else {
            cluster.lose(&object)
        };
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_histories_let_in_exactly_whom_the_rules_let_in(steps in prop::collection::vec(step(), 0..160)) {
        let (cluster, plain) = play(&steps);
        for (space, book, who) in (0..12).map(|n| (n / 6, n / 3 % 2, n % 3)) {
            let target = id(SPACES[space], NOTEBOOKS[book]);
            let decided = access::decide(&cluster.world, &person(PEOPLE[who]), &target);
            prop_assert_eq!(decided.is_ok(), plain.allows(space, book, who), "{} to {}: {:?}", PEOPLE[who], target, decided);
        }
    }

    #[test]
    fn what_a_history_left_is_what_its_objects_make_whatever_was_there(
        steps in prop::collection::vec(step(), 0..120), others in prop::collection::vec(step(), 0..40),
    ) {
        let world = play(&steps).0.world;
        let mut again = play(&others).0.world;
        world.facts().for_each(|fact| again.apply(fact));
        prop_assert!(again.same_cluster(&world), "{again:?}\nis not\n{world:?}");
    }

    #[test]
    fn where_two_snapshots_are_said_to_be_alike_they_are(
        steps in prop::collection::vec(step(), 0..80), more in prop::collection::vec(step(), 0..8),
    ) {
        let (mut cluster, mut plain) = play(&steps);
        let before = cluster.world.clone();
        play_on(&mut cluster, &mut plain, &more);
        let changed = cluster.world.changed_since(&before);
        for space in (0..SPACES.len()).filter(|space| !changed.contains(&id(SPACES[*space], "any").namespace)) {
            prop_assert_eq!(seen(&cluster.world, space), seen(&before, space));
        }
    }
}

type Change<'a> = &'a dyn Fn(&mut Cluster);

#[test]
fn a_change_is_of_one_namespace_or_of_its_people() {
    let mut cluster = Cluster::default();
    for (space, owner, other) in [("team-a", "alice", "bob"), ("team-b", "bob", "carol"), ("team-c", "carol", "dave")] {
        cluster.profile(space, owner).see(&binding(space, other, "edit")).notebook(space, "ml", "10.1.0.1");
    }
    cluster.switched_off(&[]).keys([("alice", 1), ("bob", 2)].into_iter());
    let changes = |cluster: &mut Cluster, change: &dyn Fn(&mut Cluster)| {
        let before = cluster.world.clone();
        change(cluster);
        let changed = cluster.world.changed_since(&before);
        changed.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let moved = pod("team-b", "ml-0", "set-team-b-ml", "10.1.0.9");
    let service =
        json!({"kind": "Service", "metadata": {"name": "s", "namespace": "x"}, "spec": {"clusterIPs": ["10.1.0.9"]}});
    let all: [(&str, Change<'_>); 10] = [
        ("team-b", &|cluster| {
            cluster.see(&moved);
        }),
        // Known already, or listed again.
        ("", &|cluster| {
            cluster.see(&moved);
        }),
        ("", &|cluster| play_on(cluster, &mut Plain::default(), &[Step::Relist])),
        // A key: where its person works.
        ("team-a team-b", &|cluster| cluster.keys([("alice", 1), ("bob", 2), ("bob", 3)].into_iter())),
        ("team-a", &|cluster| cluster.keys([("bob", 2), ("bob", 3)].into_iter())),
        ("", &|cluster| cluster.keys([("bob", 2), ("bob", 3)].into_iter())),
        ("team-c", &|cluster| {
            cluster.lose(&binding("team-c", "dave", "edit"));
        }),
        ("team-a", &|cluster| {
            cluster.switched_off(&["team-a"]);
        }),
        // A Pod with the address of a Service.
        ("team-b", &|cluster| {
            cluster.see(&service);
        }),
        ("team-c", &|cluster| {
            cluster.see(&notebook("team-c", "new", &json!({})));
        }),
    ];
    for (number, (expected, change)) in all.into_iter().enumerate() {
        assert_eq!(changes(&mut cluster, change), expected, "change {number}");
    }
}

#[test]
fn histories_do_let_people_in() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let histories = prop::collection::vec(step(), 100..200);
    let mut let_in = 0;
    for _ in 0..300 {
        let steps = histories.new_tree(&mut runner).unwrap().current();
        let plain = play(&steps).1;
        let_in += (0..12).filter(|n| plain.allows(n / 6, n / 3 % 2, n % 3)).count();
    }
    assert!(let_in > 100, "only {let_in} of 3600 are let in: the histories prove nothing");
}
