//! Random histories against a model so plain that it can be checked by reading: whom the rules keep out, no history
//! lets in, and whom they let in gets in.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_model::access;
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
        };
        if there {
            cluster.see(&object)
        } else {
            cluster.lose(&object)
        };
    }
    (cluster, plain)
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
